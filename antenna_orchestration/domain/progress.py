"""How far a job is, as people see it while it runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from antenna_orchestration.domain import reported_errors
from antenna_orchestration.domain.job import Counts

FIRST_LINE: Final = 10.0
LONGEST_PAUSE: Final = 300.0
"""Seconds until the first line of a log about progress. The time between lines doubles up to the longest."""


def line_after(due: float, elapsed: float) -> float:
    """When the line after this one is due, in seconds since the beginning; `due` itself if that is still to come."""
    while due <= elapsed:
        due += min(due, LONGEST_PAUSE)
    return due


@dataclass(frozen=True, kw_only=True, slots=True)
class JobProgress:
    """Counters of a running job at one moment."""

    total: int
    published: int
    done: int
    failed: int
    detections: int
    classifications: int
    # Images accounted for per second, over the last half minute.
    rate: float
    at: datetime
    # Images that a worker reported as failing and that are to be tried again, and why, in words.
    reported: int = 0
    reasons: str = ""
    # Why what is left cannot be loaded; empty while it can, or that is not known.
    waits: str = ""
    # That its collector has committed since it began.
    batches: int = 0

    @classmethod
    def of(cls, counts: Counts, *, published: int | None = None, rate: float = 0.0) -> JobProgress:
        """The progress at this moment, from the catalog's counts; without `published`, all tasks are published."""
        return cls(
            total=counts.total,
            published=counts.total if published is None else published,
            done=counts.done,
            failed=counts.failed,
            detections=counts.detections,
            classifications=counts.classifications,
            rate=rate,
            at=datetime.now(UTC),
        )

    def with_reports(self, reasons: Counter[str]) -> JobProgress:
        """The progress with the errors that were reported about images that are still open."""
        return replace(self, reported=reasons.total(), reasons=reported_errors.in_words(reasons))

    @property
    def accounted(self) -> int:
        """Images that are done or failed."""
        return self.done + self.failed

    @property
    def waiting(self) -> int:
        """Images that nobody has accounted for yet."""
        return self.total - self.accounted

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last image at the present rate; None while nothing moves, or what is left waits."""
        return self.waiting / self.rate if self.rate > 0 and not self.waits else None

    @property
    def line(self) -> str:
        """One line for a run tag or a log: `812/5000, 3 failed, 41.2/s, 1 min 42 s left`; reported errors come last."""
        parts = [f"{self.accounted}/{self.total}"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.rate > 0:
            parts.append(f"{self.rate:.1f}/s")
        if self.waiting and self.eta_s is not None:
            parts.append(f"{duration(self.eta_s)} left")
        if self.reported:
            parts.append(f"{self.reported} reported as failing: {self.reasons}")
        if self.waits and self.waiting:
            parts.append(f"waits: {self.waits}")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds for people: `42 s`, `1 min 42 s`, `3 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
