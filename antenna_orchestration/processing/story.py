"""The story of a job while it is collected: what its log says, and how often."""

from __future__ import annotations

import time
from collections import Counter
from typing import Final

from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.queue.tasks import Waiting

FIRST_LINE: Final = 10.0
LINE_AT_MOST_EVERY: Final = 300.0
"""Seconds until the first line about progress, doubled until there is one so often."""

MOST_WORKERS: Final = 10
"""Workers named in one line."""


class Story:
    """Counts who posted what, and says when a line is due."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._next_line = FIRST_LINE
        # Images by the worker whose result counted.
        self.posted: Counter[str] = Counter()

    def is_due(self) -> bool:
        """Whether to tell about progress now; lines come ever further apart, so that a week of waiting is no book."""
        elapsed = time.monotonic() - self._started
        if elapsed < self._next_line:
            return False
        while self._next_line <= elapsed:
            self._next_line += min(self._next_line, LINE_AT_MOST_EVERY)
        return True

    def progress(self, progress: JobProgress, waiting: Waiting | None) -> str:
        """How far it is, how fast, and what the queue counts."""
        return "; ".join([progress.line, *_queue(waiting)])

    def end(self, progress: JobProgress, waiting: Waiting | None) -> str:
        """The last line of collecting: who posted, and the consumer's final counters."""
        named = [f"{worker} {images}" for worker, images in self.posted.most_common(MOST_WORKERS)]
        if more := len(self.posted) - len(named):
            named.append(f"{more} more")
        posted = f"posted by {', '.join(named)}" if named else "nobody posted"
        found = f"{progress.done} done, {progress.failed} failed, {progress.detections} detections"
        return "; ".join([found, posted, *_queue(waiting)])


def _queue(waiting: Waiting | None) -> list[str]:
    if waiting is None:
        return []
    return [
        f"{waiting.queued} tasks wait, {waiting.leased} leased, "
        f"{waiting.delivered} deliveries, {waiting.redelivered} redelivered"
    ]
