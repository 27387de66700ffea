"""The `antenna` command as tests run it: in this process where that is enough, in one of its own where it is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from antenna_orchestration import settings
from antenna_orchestration.cli import main

ANTENNA = [sys.executable, "-m", "antenna_orchestration.cli.main"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The answer of `--json`."""
        return json.loads(self.out)

    def refused(self, code: int, message: str) -> None:
        """Check that it failed with this exit code, one line that holds the message, and no answer."""
        assert (self.code, self.out) == (code, ""), self
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("antenna: error: "), self.err
        assert message in lines[0], self.err


class Shell:
    """Runs commands with a stack's variables and nothing else of ours in the environment."""

    def __init__(
        self, variables: Mapping[str, str], patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.variables = dict(variables)
        self._patch = patch
        self._capture = capture
        for name in os.environ:
            if name.startswith(("ANTENNA_", "DAGSTER_")):
                patch.delenv(name)
        self.set(**variables)

    def set(self, **variables: str) -> None:
        """Set environment variables for the commands from here on."""
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def __call__(self, *arguments: object) -> Ended:
        """Run a command in this process."""
        settings.get.cache_clear()
        self._capture.readouterr()
        try:
            code = main.run([str(argument) for argument in arguments])
        finally:
            settings.get.cache_clear()
        out, err = self._capture.readouterr()
        return Ended(code=code, out=out, err=err)

    def start(self, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1"}
        return subprocess.Popen([*ANTENNA, *map(str, arguments)], env=environment, **pipes)

    def process(self, *arguments: object) -> Ended:
        """Run a command in a process of its own."""
        return ended(self.start(*arguments))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a started command. One that does not end is made to say where it is."""
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"after a minute it has not ended\n{out}\n{err}") from None
    return Ended(code=process.returncode, out=out or "", err=err or "")


def shown_on(terminal: int) -> str:
    """All that was written to a terminal, up to when nobody has it open any more; closes this side of it.

    A single read may give only what the kernel has passed on so far.
    """
    shown = bytearray()
    # Linux ends a terminal's output with EIO, not with an empty read.
    with suppress(OSError), open(terminal, "rb", buffering=0) as whole:
        while part := whole.read(10_000):
            shown += part
    return shown.decode()
