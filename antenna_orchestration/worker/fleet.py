"""Several workers on one host, a process each: one for every GPU."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from antenna_orchestration import errors, kernel

_COUNT: Final = "import torch; print(torch.cuda.device_count())"


def gpus(text: str) -> list[str]:
    """The devices that `--gpus` names: `all`, or numbers such as `0,2`.

    Raises `InvalidSetting` for another text, for a GPU that is not there, and for `all` on a host without any.
    """
    numbers = [part.strip() for part in text.split(",")]
    if text != "all" and (not all(number.isdecimal() for number in numbers) or len(set(numbers)) != len(numbers)):
        raise errors.InvalidSetting(f"--gpus {text}: all, or different numbers such as 0,2")
    found = _count()
    if not found:
        raise errors.InvalidSetting(f"--gpus {text}: torch finds no GPU here; without --gpus a worker takes the CPU")
    if text == "all":
        return [f"cuda:{number}" for number in range(found)]
    if missing := [number for number in numbers if int(number) >= found]:
        raise errors.InvalidSetting(f"--gpus {text}: there is no GPU {missing[0]}; torch finds {found}")
    return [f"cuda:{int(number)}" for number in numbers]


def _count() -> int:
    """GPUs as torch numbers them; asked in a process of its own, because this one stays free of torch."""
    done = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise errors.InternalError(f"torch does not say which GPUs there are: {reason}")
    return int(done.stdout)


def threads_each(workers: int, *, wanted: int, cpus: int) -> int:
    """CPU threads of each of so many workers: as many as the setting wants, else an equal share of the CPUs."""
    return wanted or max(1, cpus // workers)


async def run(commands: Sequence[Sequence[str]], *, environment: Mapping[str, str] | None = None) -> int:
    """Run a worker by each command line until all have left; the first exit code that is not 0, or 0.

    `environment` is set for each, beside what this process has.

    SIGTERM and SIGINT are passed on each time they come, so that a second one makes the workers leave at once, too.
    When one worker ends in failure the others are asked to leave: whoever restarts the service restarts all. A worker
    whose card was lost costs the others nothing: they go on. None outlives this process.
    """
    # A session of their own: Ctrl-C would otherwise reach them twice, from the terminal and from here.
    variables = {**os.environ, **(environment or {})}
    with_us = partial(kernel.die_with_parent, os.getpid(), signal.SIGTERM)
    workers = [
        await asyncio.create_subprocess_exec(*command, start_new_session=True, preexec_fn=with_us, env=variables)
        for command in commands
    ]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _pass_on, workers, number)
    code = 0
    try:
        for ending in asyncio.as_completed([worker.wait() for worker in workers]):
            ended = await ending
            if ended and code in (0, errors.DeviceGone.exit_code):
                code = ended if ended > 0 else 128 - ended
                if code != errors.DeviceGone.exit_code:
                    _pass_on(workers, signal.SIGTERM)
    finally:
        _pass_on(workers, signal.SIGKILL)
    return code


def _pass_on(workers: Iterable[Process], number: signal.Signals) -> None:
    for worker in workers:
        if worker.returncode is None:
            worker.send_signal(number)
