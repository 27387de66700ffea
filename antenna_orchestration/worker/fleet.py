"""Several workers on one host, a process each: one for every GPU."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from antenna_orchestration import errors, kernel

_COUNT: Final = "import torch; print(torch.cuda.device_count())"

_UUID: Final = ("GPU-", "MIG-")
_VISIBLE: Final = "CUDA_VISIBLE_DEVICES"


class Gpu(NamedTuple):
    """What one worker of a fleet gets."""

    # As `--device` takes it.
    device: str
    # The only card or slice of a card that its processes see, by UUID; None for all that there are.
    visible: str | None = None

    @property
    def prefix(self) -> list[str]:
        """Words before a worker's command line."""
        return [] if self.visible is None else ["env", f"{_VISIBLE}={self.visible}"]


def gpus(text: str) -> list[Gpu]:
    """The devices that `--gpus` names: `all`, numbers such as `0,2`, or UUIDs as `nvidia-smi -L` prints them.

    A process can use one slice of a divided card (MIG) and sees no other, so slices go by UUID, also with `all`. Raises
    `InvalidSetting` for another text, for a GPU that is not there, and for `all` on a host without any.
    """
    names = [part.strip() for part in text.split(",")]
    by_uuid = all(name.startswith(_UUID) for name in names)
    if text != "all" and (not (by_uuid or all(name.isdecimal() for name in names)) or len(set(names)) != len(names)):
        raise errors.InvalidSetting(f"--gpus {text}: all, or different numbers such as 0,2, or different UUIDs")
    listed = _listed() if text == "all" or by_uuid else {}
    if by_uuid:
        known = {uuid for card, slices in listed.items() for uuid in (card, *slices)}
        if missing := [name for name in names if known and name not in known]:
            raise errors.InvalidSetting(f"--gpus {text}: there is no {missing[0]}; nvidia-smi -L lists those there are")
        # A card that is divided stands for its slices.
        parts = [part for name in names for part in listed.get(name) or [name]]
        return [Gpu("cuda:0", part) for part in dict.fromkeys(parts)]
    if text == "all" and (slices := _slices(listed)):
        return [Gpu("cuda:0", name) for name in slices]
    found = _count()
    if not found:
        raise errors.InvalidSetting(f"--gpus {text}: torch finds no GPU here; without --gpus a worker takes the CPU")
    if text == "all":
        return [Gpu(f"cuda:{number}") for number in range(found)]
    if missing := [name for name in names if int(name) >= found]:
        raise errors.InvalidSetting(f"--gpus {text}: there is no GPU {missing[0]}; torch finds {found}")
    return [Gpu(f"cuda:{int(name)}") for name in names]


def _slices(listed: Mapping[str, Sequence[str]]) -> list[str]:
    """The slices of divided cards, and the cards beside them that are whole; none where no card is divided."""
    if (visible := os.environ.get(_VISIBLE)) is not None:
        # A scheduler says what is ours.
        return [name.strip() for name in visible.split(",")] if "MIG-" in visible else []
    if not any(listed.values()):
        return []
    # Of a card that may be divided and has no slices, nobody can use anything.
    divided = _smi("--query-gpu=uuid,mig.mode.current", "--format=csv,noheader").splitlines()
    unusable = {line.partition(",")[0].strip() for line in divided if line.endswith("Enabled")}
    whole = {card: [card] for card in listed if card not in unusable}
    return [uuid for card, slices in listed.items() for uuid in slices or whole.get(card, [])]


def _listed() -> dict[str, list[str]]:
    """UUIDs of cards, and of the slices of each; empty without NVIDIA's driver."""
    cards: dict[str, list[str]] = {}
    for uuid in re.findall(r"\(UUID: ([^)]+)\)", _smi("-L")):
        if uuid.startswith("MIG-") and cards:
            next(reversed(cards.values())).append(uuid)
        else:
            cards[uuid] = []
    return cards


def _smi(*arguments: str) -> str:
    """What `nvidia-smi` prints; nothing where there is none."""
    try:
        done = subprocess.run(["nvidia-smi", *arguments], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


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
