"""A worker in a process of its own, to be watched, signalled and killed. `python -m` runs one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker import main
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary
from tests import forked, waiting

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """One worker. Made by `started`."""

    def __init__(self, process: forked.Forked | subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self._log.read_text()

    def device_pid(self) -> int:
        """Its device process, as soon as there is one."""
        children = waiting.wait_until(
            lambda: psutil.Process(self.pid).children(), description=f"a device process of {self.pid}"
        )
        return int(children[0].pid)

    def device_pids(self) -> list[int]:
        """Its device processes: the shared one, and one for each pipeline of a file that it has loaded."""
        return [child.pid for child in psutil.Process(self.pid).children()]

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self._process.kill()
        self._process.wait()

    def leaves(self, timeout: float = 120.0) -> WorkerSummary:
        """Wait until it has left by itself, and return its summary."""
        output, _ = self._process.communicate(timeout=timeout)
        assert self._process.returncode == 0, self.log
        return WorkerSummary(**json.loads(output))


@contextlib.contextmanager
def started(
    settings: Settings,
    folder: Path,
    options: WorkerOptions | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[WorkerProcess]:
    """Start a worker; at the end of the block it is killed if it is still there.

    `prefix` is a command that runs it, and becomes it, such as `ip netns exec`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"worker-{os.urandom(3).hex()}.log"
    arguments = (settings, options or WorkerOptions())
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    process: forked.Forked | subprocess.Popen[str]
    with log.open("wb") as file:
        if prefix:
            command = [*prefix, sys.executable, "-m", "tests.worker.worker_process", pickle.dumps(arguments).hex()]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, cwd=ROOT, env=variables, text=True)
        else:
            process = forked.Forked(_run, *arguments, env=variables, cwd=ROOT, err=file)
    worker = WorkerProcess(process, log)
    try:
        yield worker
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _run(settings: Settings, options: WorkerOptions) -> None:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
    )
    print(json.dumps(dataclasses.asdict(main.run(settings, options))))


if __name__ == "__main__":
    _run(*pickle.loads(bytes.fromhex(sys.argv[1])))
