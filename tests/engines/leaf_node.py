"""A NATS server as docker/ configures it with its door for the outside, and a leaf node of a GPU site before it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import tcp_proxy
from tests.engines import docker_nats
from tests.engines.docker_nats import PASSWORDS
from tests.free_ports import free_ports
from tests.homes import temporary_folder

SITE = {"SITE_PASSWORD": "s-secret"}


@dataclass(frozen=True)
class Site:
    """Made by `site_with_a_leaf_node`."""

    # The orchestrator's NATS, by its own address.
    hub_url: str
    # What a worker of the site has.
    worker_url: str
    # What somebody could have who runs the leaf node: all rights there.
    greedy_url: str
    # What is between the leaf node and the orchestrator's NATS.
    line: tcp_proxy.Proxy
    log: Path

    def is_connected(self) -> bool:
        """Whether the leaf node has reached the orchestrator's NATS."""
        return self.log.exists() and "Leafnode connection created" in self.log.read_text()


@contextlib.contextmanager
def site_with_a_leaf_node() -> Iterator[Site]:
    """Both servers for the length of a block, on loopback; without TLS, whose certificates would be nobody's."""
    port, door, monitor, leaf_door, leaf_port = free_ports(5)
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        hub, leaf = folder / "hub", folder / "leaf"
        docker_nats.copied(hub, "nats.conf", "nats-outside.conf")
        docker_nats.copied(leaf, "nats-leaf.conf")
        outside = hub / "nats-outside.conf"
        changed = outside.read_text().replace("0.0.0.0:8443", f"127.0.0.1:{door}").replace(":7422", f":{leaf_door}")
        before, rest = changed.split("  tls {")
        outside.write_text(f"{before}  no_tls: true\n{rest.split('}', 1)[1]}")
        inside = leaf / "nats-leaf.conf"
        greedy = "users: [ { user: greedy, password: g-secret, permissions: $ORCHESTRATOR }"
        inside.write_text(inside.read_text().replace("users: [", greedy))
        run = docker_nats.running
        stack.enter_context(run(hub, "nats-outside.conf", environment=PASSWORDS, port=port, monitor=monitor))
        line = stack.enter_context(tcp_proxy.before(door))
        hub_url = f"ws://worker:{PASSWORDS['WORKER_PASSWORD']}@127.0.0.1:{line.port}"
        environment = {**SITE, "HUB_URL": hub_url}
        stack.enter_context(run(leaf, "nats-leaf.conf", environment=environment, port=leaf_port))
        yield Site(
            hub_url=f"nats://orchestrator:{PASSWORDS['ORCHESTRATOR_PASSWORD']}@127.0.0.1:{port}",
            worker_url=f"nats://worker:{SITE['SITE_PASSWORD']}@127.0.0.1:{leaf_port}",
            greedy_url=f"nats://greedy:g-secret@127.0.0.1:{leaf_port}",
            line=line,
            log=leaf / "nats.log",
        )
