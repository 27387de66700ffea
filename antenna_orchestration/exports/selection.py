"""Which results an export is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobId


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Results of one project: of some jobs or of all finished ones, at some deployments, in some nights."""

    # None: that of the jobs.
    project: str | None = None
    # None: all finished jobs of the project.
    jobs: tuple[JobId, ...] = ()
    # Only photographs of this capture set of the project: the tables are derived as if there were no others.
    capture_set: str | None = None
    pipeline: str | None = None
    deployment: str | None = None
    # Nights, both included; photographs without a time are in no range.
    first: date | None = None
    last: date | None = None
    # Detections whose detector gave a lower score are left out; those without a score stay.
    threshold: float = 0.0

    def __post_init__(self) -> None:
        """Raise `InvalidInput` for what selects nothing."""
        if self.first and self.last and self.first > self.last:
            raise errors.InvalidInput(f"--from {self.first} is after --to {self.last}")
        if not 0 <= self.threshold <= 1:
            raise errors.InvalidInput(f"--threshold {self.threshold}: must be between 0 and 1")

    @property
    def name(self) -> str:
        """For people: `job 4` or `project traps`, and what narrows it."""
        whole = f"project {self.project}"
        if self.jobs:
            whole = f"job{'s' if len(self.jobs) > 1 else ''} {', '.join(map(str, self.jobs))}"
        narrowed = [
            f"set {self.capture_set}" if self.capture_set else "",
            f"pipeline {self.pipeline}" if self.pipeline else "",
            f"deployment {self.deployment}" if self.deployment else "",
            f"from {self.first}" if self.first else "",
            f"to {self.last}" if self.last else "",
        ]
        return ", ".join([whole, *filter(None, narrowed)])
