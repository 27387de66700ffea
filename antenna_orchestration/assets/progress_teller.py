"""What a run tells Dagster of its job's progress, and how often: a tag on the run, and lines in its log."""

from datetime import UTC, datetime, timedelta
from typing import Final

from antenna_orchestration.domain.job import Counts
from antenna_orchestration.domain.progress import FIRST_LINE, JobProgress, duration, line_after
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.resources.interruptible import Reports

PROGRESS_TAG: Final = "antenna/progress"

TAG_EVERY: Final = timedelta(seconds=10)
"""Time between two values of the tag."""

SHARE: Final = 0.05
"""Share of the job's images after which there is a line whatever the time."""


class ProgressTeller:
    """Tells of the progress of publishing, or of collecting, since it was made."""

    def __init__(self, reports: Reports, *, started: datetime | None = None) -> None:
        self._reports = reports
        self._started = started or datetime.now(UTC)
        self._tagged: datetime | None = None
        self._next_line = FIRST_LINE
        self._next_share = SHARE

    def tell_published(self, published: int, total: int) -> None:
        """Tell how many images are published. Most jobs are published sooner than there is anything to tell."""
        now = datetime.now(UTC)
        if now - self._started >= TAG_EVERY:
            self._tag(f"publishing {published}/{total}", now)

    def tell_collected(self, progress: JobProgress) -> None:
        """Tell how far collecting is: in the tag, and in the log when a line is due."""
        self._tag(progress.line, progress.at)
        elapsed = (progress.at - self._started).total_seconds()
        share = progress.accounted / progress.total if progress.total else 1.0
        if elapsed < self._next_line and not (share >= self._next_share and elapsed >= 1.0):
            return
        self._next_line = line_after(self._next_line, elapsed)
        while self._next_share <= share:
            self._next_share += SHARE
        self._reports.log(
            f"{progress.line}; {counted(progress.detections, 'detection')}; "
            f"{progress.waiting} waiting after {duration(elapsed)}"
        )

    def tell_end(self, counts: Counts) -> None:
        """Tell that all images are accounted for, and how many failed."""
        self._reports.tag(PROGRESS_TAG, f"{JobProgress.of(counts).line}, done")

    def _tag(self, text: str, now: datetime) -> None:
        if self._tagged is None or now - self._tagged >= TAG_EVERY:
            self._tagged = now
            self._reports.tag(PROGRESS_TAG, text)
