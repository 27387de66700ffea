"""What a worker says of itself in `client_info`: which host and process it is, and what it runs.

It is an open object in which workers send what they like. What is known here is read, cut to size and made plain;
everything else is passed over, because no request fails for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from antenna_orchestration.domain import plain_text

KNOWN: Final = ("hostname", "pod_name", "pid", "device", "software", "version", "platform")
"""The fields that are read. The first four tell one process from another."""

LONGEST: Final = 100
"""Characters that are kept of a field."""

LONGEST_NAME: Final = 64
"""Characters of the name of a process, without its address."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._:-]+")


def read(given: Mapping[str, Any] | None) -> dict[str, str]:
    """The known fields that hold text or a number, as plain text; empty when there is nothing of use."""
    found: dict[str, str] = {}
    for field in KNOWN:
        value = (given or {}).get(field)
        if isinstance(value, bool) or not isinstance(value, str | int):
            continue
        text = value[:LONGEST] if isinstance(value, str) else str(value) if abs(value) < 10**15 else ""
        text = plain_text.seen(text, " ").strip()
        if text:
            found[field] = text
    return found


def process_name(info: Mapping[str, str]) -> str:
    """What tells this process from others at the same address; empty when it says nothing of that."""
    host = info.get("pod_name") or info.get("hostname") or ""
    parts = [host, info.get("pid", ""), info.get("device", "")]
    return _NOT_IN_NAMES.sub("-", ":".join(part for part in parts if part))[:LONGEST_NAME].strip("-:")


def line(info: Mapping[str, str]) -> str:
    """The same for people: `gpu-1, pid 4711, cuda:0, ami-data-companion 2.1, Linux`."""
    host = info.get("pod_name") or info.get("hostname") or ""
    pid = f"pid {info['pid']}" if "pid" in info else ""
    software = " ".join(filter(None, (info.get("software"), info.get("version"))))
    return ", ".join(filter(None, (host, pid, info.get("device"), software, info.get("platform"))))
