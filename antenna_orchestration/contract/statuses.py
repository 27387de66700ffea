"""Job statuses as the contract names them."""

from __future__ import annotations

from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain.job import JobStatus

WIRE: Final[dict[JobStatus, str]] = {
    JobStatus.QUEUED: "PENDING",
    JobStatus.CLAIMED: "STARTED",
    JobStatus.RUNNING: "STARTED",
    JobStatus.CANCELING: "CANCELING",
    JobStatus.SUCCESS: "SUCCESS",
    JobStatus.FAILURE: "FAILURE",
    JobStatus.CANCELED: "REVOKED",
}
"""The name on the wire of each of our statuses."""


def from_wire(name: str) -> frozenset[JobStatus]:
    """Our statuses that a name on the wire stands for. Raises `InvalidInput` for a name the contract does not have."""
    found = frozenset(status for status, wire in WIRE.items() if wire == name)
    if not found:
        known = ", ".join(sorted(set(WIRE.values())))
        raise errors.InvalidInput(f"there is no status {name!r}; there are: {known}")
    return found
