"""The names that the HTTP contract has for job statuses."""

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
"""The contract's name for each `JobStatus`. CLAIMED and RUNNING share one."""


def from_wire(name: str) -> frozenset[JobStatus]:
    """The statuses that one of the contract's names stands for. Raises `InvalidInput` for an unknown name."""
    found = frozenset(status for status, wire in WIRE.items() if wire == name)
    if not found:
        known = ", ".join(sorted(set(WIRE.values())))
        raise errors.InvalidInput(f"there is no status {name!r}; there are: {known}")
    return found
