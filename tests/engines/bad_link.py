"""A bad link: a network namespace that is reached over a delay and a loss of packets, and can be cut off.

What a site behind a long line has. netem is not in every kernel, so the packets pass through a small program between
two TUN devices; it is compiled when it is used. Needs root, `ip` and a C compiler.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.homes import temporary_folder

SOURCE = Path(__file__).with_suffix(".c")


@cache
def why_not() -> str:
    """Why this machine can have no such link; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "cc"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun is not there"
    probe = subprocess.run(
        ["unshare", "--net", "ip", "tuntap", "add", "probe", "mode", "tun"], capture_output=True, check=False
    )
    return f"no TUN devices: {probe.stderr.decode().strip()}" if probe.returncode else ""


@dataclass(frozen=True)
class BadLink:
    """A link, with its far end. Made by `bad_link`."""

    # This end's address, to listen on.
    address: str
    # Puts a command at the far end.
    there: tuple[str, ...]
    _program: subprocess.Popen[str]

    def cut(self) -> None:
        """Let no packet through, either way; what is on its way is lost, and nobody is told."""
        self._program.send_signal(signal.SIGUSR1)

    def mend(self) -> None:
        """Let packets through again."""
        self._program.send_signal(signal.SIGUSR2)


@contextlib.contextmanager
def bad_link(*, round_trip_ms: float, loss_percent: float) -> Iterator[BadLink]:
    """A link for the length of a block; the loss is that of each direction."""
    name = f"antenna{secrets.token_hex(3)}"
    network = f"10.213.{secrets.randbelow(256)}"
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        program = folder / "bad_link"
        _run("cc", "-O2", "-Wall", "-Wextra", "-o", program, SOURCE)
        _run("ip", "netns", "add", name)
        stack.callback(_run, "ip", "netns", "delete", name)
        process = subprocess.Popen(
            [program, name, f"/var/run/netns/{name}", str(round_trip_ms / 2), str(loss_percent)],
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(_end, process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n", "the link's program ended"
        there = ("ip", "netns", "exec", name)
        for end, where in (("1", ()), ("2", there)):
            _run(*where, "ip", "address", "add", f"{network}.{end}/30", "dev", name)
            _run(*where, "ip", "link", "set", name, "up")
        _run(*there, "ip", "link", "set", "lo", "up")
        yield BadLink(f"{network}.1", there, process)


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.strip()}"
