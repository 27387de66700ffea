"""Proxies, as the usual variables name them (`http_proxy`, `https_proxy`, `no_proxy`): what goes through one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def sparing_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that keep connections within this host from a proxy, with what the user named there before.

    Our processes speak to each other over loopback, and gRPC sends even that through `http_proxy`. None where no
    variable names a proxy.
    """
    if not any(name.lower().endswith("_proxy") and name.lower() != "no_proxy" for name in environment):
        return {}
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    # gRPC reads its own variable first, and does not know `*`.
    of_grpc = environment.get("no_grpc_proxy") or exempt
    everywhere = exempt if exempt.strip() == "*" else _joined(exempt)
    return {"no_proxy": everywhere, "NO_PROXY": everywhere, "no_grpc_proxy": _joined(of_grpc)}


def _joined(exempt: str) -> str:
    """The hosts of a list, and loopback."""
    hosts = [host.strip() for host in exempt.split(",") if host.strip() not in ("", "*")]
    return ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts)])
