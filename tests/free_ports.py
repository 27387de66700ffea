"""Ports for servers that tests start, perhaps more than once."""

from __future__ import annotations

import random

from antenna_orchestration.embedded import ports

CANDIDATES = range(10_000, 20_000)
"""Below the ephemeral ports, which anybody's outbound connection may take before the server is there or while it
restarts, and below those that embedded stores choose."""


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on."""
    # Of the system's randomness: Hypothesis seeds the module's, and test processes would choose the same.
    drawn = random.SystemRandom().sample(CANDIDATES, len(CANDIDATES))
    found = (port for port in drawn if ports.is_free(port))
    return [next(found) for _ in range(count)]


def free_port() -> int:
    """One of them."""
    return free_ports(1)[0]
