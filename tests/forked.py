"""Processes of ours that are forked from one which has imported everything: imports cost seconds of CPU time.

What runs in them is what runs in an interpreter of its own, from its arguments to its exit status. What a fork would
hide, such as what a command imports or how much memory it has to itself, is tested with an interpreter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.imported_by_all"])


class Forked:
    """A running process; as a `subprocess.Popen` with texts, as far as tests ask."""

    def __init__(
        self,
        run: Callable[..., None],
        *arguments: Any,
        env: Mapping[str, str],
        cwd: Path,
        err: IO[Any],
        out: IO[Any] | None = None,
    ) -> None:
        """Call `run`, a function of a module, with arguments that can be pickled. `out`: None is a pipe to read."""
        if out is None:
            reading, writing = os.pipe()
            self.stdout: IO[str] | None = os.fdopen(reading)
        else:
            writing = os.dup(out.fileno())
            self.stdout = None
        outputs = (_Descriptor(writing), _Descriptor(err.fileno()))
        self._process = _FORKS.Process(target=_be, args=(run, arguments, dict(env), str(cwd), *outputs))
        try:
            self._process.start()
        finally:
            os.close(writing)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (status := self.returncode) is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """Its end, and what it wrote to the pipe since: less than a pipe holds."""
        self.wait(timeout)
        assert self.stdout is not None
        if self.stdout.closed:
            return "", None
        with self.stdout:
            return self.stdout.read(), None

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            # The process that forked it may know of its end before this one does.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def antenna(*arguments: str) -> None:
    """What to run for an `antenna` command."""
    from antenna_orchestration.cli import main

    sys.argv = ["antenna", *arguments]
    main.main()


def ended(*arguments: str, env: Mapping[str, str], cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """An `antenna` command that ran to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        running = Forked(antenna, *arguments, env=env, cwd=cwd, out=out, err=err)
        try:
            status = running.wait(timeout)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(arguments, status, out.read(), err.read())


class _Descriptor:
    """An open file on its way to the process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _arrived, (reduction.DupFd(self._number),)


def _arrived(sent: Any) -> int:
    number: int = sent.detach()
    return number


def _be(
    run: Callable[..., None], arguments: tuple[Any, ...], environment: dict[str, str], folder: str, out: int, err: int
) -> None:
    for number, descriptor in ((1, out), (2, err)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Those of the process that it was forked from may have a position, which a pipe has not.
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    run(*arguments)
