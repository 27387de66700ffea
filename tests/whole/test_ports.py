"""Other programs have taken ports of a machine while it was down: it says who, takes others, and its job goes on."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from tests.free_ports import free_port
from tests.waiting import wait_until
from tests.whole.machine import Machine

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1500)]

DELAY = 0.1
"""Seconds that an image takes."""

TAKEN = {
    "the UI's port": ("ui",),
    "the gateway's port": ("gateway",),
    "the ports of all servers": ("postgres", "nats", "redis", "grpc"),
}


@contextmanager
def strangers_at(ports: Iterable[int]) -> Iterator[None]:
    """Programs of somebody else's, which listen and never answer."""

    def listener(port: int) -> socket.socket | None:
        # The system lets a port go a moment after the process that had it was killed.
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", port))
        return None

    with ExitStack() as listening:
        for port in ports:
            found = wait_until(lambda port=port: listener(port), description=f"port {port} can be taken")
            listening.enter_context(found)
        yield


def tells_who_took(machine: Machine, before: dict[str, int], names: Iterable[str]) -> None:
    """See that the start has said which port is taken, and by whom, and that it has another."""
    now = machine.status().ports
    for name in names:
        assert now[name] != before[name]
        [line] = [line for line in machine.said().splitlines() if f"port {before[name]}" in line]
        assert f"(pid {os.getpid()})" in line and f"gets {now[name]}" in line


@pytest.mark.parametrize("taken", TAKEN)
def test_strangers_took_ports_during_a_power_loss(lasting: Machine, taken: str) -> None:
    names = TAKEN[taken]
    job = lasting.null_job(150, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    ports = lasting.status().ports
    struck = lasting.power_loss()
    with strangers_at(ports[name] for name in names):
        lasting.up()
        tells_who_took(lasting, ports, names)
        fault = f"power loss, and strangers took {taken}"
        lasting.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
        lasting.takes_up_another()


def test_a_stranger_took_the_port_that_a_person_chose(machine: Machine) -> None:
    """One who types the address of the UI by heart, and finds the next one in what `antenna up` says."""
    # Nor may anybody's connection have the next ones, one of which it gets.
    wanted = free_port()
    machine.environment["ANTENNA_UI_PORT"] = str(wanted)
    machine.up()
    ports = machine.status().ports
    assert ports["ui"] == wanted
    job = machine.null_job(150, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    struck = machine.power_loss()
    with strangers_at([wanted]):
        machine.up()
        tells_who_took(machine, ports, ["ui"])
        fault = "power loss, and a stranger took the port that is set for the UI"
        machine.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
    # It is had again once it is free.
    machine.down()
    machine.up()
    assert machine.status().ports["ui"] == wanted
