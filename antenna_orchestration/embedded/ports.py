"""Loopback ports: the ones of the last start when they are still free, else others."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

from antenna_orchestration import errors
from antenna_orchestration.embedded import processes
from antenna_orchestration.embedded.events import Report, untold
from antenna_orchestration.embedded.home import Home, read_json, write_private

LOOPBACK = "127.0.0.1"
_LOWEST = 20_000
_SPAN_OF_PUBLIC_PORTS = 100


def is_free(port: int) -> bool:
    """Whether a server could listen there now. Connections of an earlier server that linger do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(
    home: Home,
    names: Iterable[str],
    *,
    public: Mapping[str, tuple[int, str]] | None = None,
    report: Report = untold,
) -> dict[str, int]:
    """One free port per name, remembered for the next start; it is told who took one that was remembered or wanted.

    `public` are those that people type: where the search for each begins, and the setting that says so.
    """
    known = {name: port for name, port in read_json(home.ports_file).items() if _is_port(port)}
    chosen: dict[str, int] = {}
    for name in names:
        taken = chosen.values()
        candidates = _candidates(known.get(name))
        chosen[name] = next(port for port in candidates if port not in taken and is_free(port))
    for name, (wanted, setting) in (public or {}).items():
        chosen[name] = _public_port(wanted, known.get(name), taken=set(chosen.values()), setting=setting)
    for name, port in chosen.items():
        if (before := known.get(name, port)) != port and not is_free(before):
            report(f"port {before}, where {name} listened, is taken by {processes.listener(before)}: it gets {port}")
            continue
        wanted, setting = (public or {}).get(name, (0, ""))
        if wanted and wanted != port and not is_free(wanted):
            report(f"port {wanted} ({setting}) is taken by {processes.listener(wanted)}: the {name} gets {port}")
    write_private(home.ports_file, json.dumps({**known, **chosen}) + "\n")
    return chosen


def forget(home: Home) -> None:
    """Choose other ports at the next start."""
    home.ports_file.unlink(missing_ok=True)


def _is_port(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 < value < 65_536


def _candidates(known: int | None) -> Iterator[int]:
    if known:
        yield known
    # Ports of the ephemeral range may be taken by anybody's outbound connection while our server restarts.
    highest = _lowest_ephemeral()
    for _ in range(1000):
        yield random.randrange(min(_LOWEST, highest - 2000), highest)  # noqa: S311
    raise errors.InternalError("no port is free on the loopback address: stop programs that listen there")


def _public_port(wanted: int, known: int | None, *, taken: set[int], setting: str) -> int:
    if wanted == 0:
        return next(port for port in _candidates(known) if port not in taken and is_free(port))
    for port in range(wanted, min(wanted + _SPAN_OF_PUBLIC_PORTS, 65_536)):
        if port not in taken and is_free(port):
            return port
    raise errors.InternalError(f"ports {wanted} to {port} are all taken: set {setting} to a free port")


def _lowest_ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return 32_768
