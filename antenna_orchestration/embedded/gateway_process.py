"""The HTTP gateway as a process of the stack."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes, servers
from antenna_orchestration.embedded.home import Home

EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104  # what people set, not what we listen on


@dataclass(frozen=True, kw_only=True)
class GatewayProcess:
    """`antenna gateway`."""

    home: Home
    host: str
    port: int
    environment: Mapping[str, str] = field(repr=False)
    """The whole environment: the gateway reads its settings from it."""
    name: str = "gateway"

    def prepare(self) -> None:
        """Delete half-read request bodies of an earlier gateway: their images are leased and processed again."""
        for left in (self.home.path / "gateway").glob("*"):
            left.unlink(missing_ok=True)

    def command(self) -> processes.Command:
        """Started after the catalog was migrated."""
        # A string, because `embedded` may not import `cli`: the gateway runs as the command that people run, too.
        module = "antenna_orchestration.cli.main"
        return processes.Command(
            name=self.name,
            argv=(sys.executable, "-P", "-m", module, "gateway", "--host", self.host, "--port", str(self.port)),
            folder=self.home.path,
            log=self.home.logs / f"{self.name}.log",
            environment=self.environment,
        )

    def check(self) -> None:
        """Ask `/livez`. Raises `Unavailable` until the gateway answers."""
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        with closing(http.client.HTTPConnection(host, self.port, timeout=servers.CHECK_TIMEOUT)) as connection:
            try:
                connection.request("GET", "/livez")
                connection.getresponse().read()
            except (OSError, http.client.HTTPException) as error:
                raise errors.Unavailable(f"the gateway does not answer yet: {error}") from error

    def set_up(self) -> None:
        """Do nothing: the gateway needs no set-up."""

    def ailment(self) -> str | None:
        """None: it keeps nothing."""
        return None
