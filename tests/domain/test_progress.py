"""How far a job is, in words."""

from datetime import UTC, datetime

import pytest

from antenna_orchestration.domain.progress import JobProgress, duration


def progress(*, total: int, done: int, failed: int = 0, rate: float = 0.0) -> JobProgress:
    return JobProgress(
        total=total, published=total, done=done, failed=failed, detections=0, classifications=0, rate=rate,
        at=datetime(2026, 6, 12, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        (progress(total=0, done=0), "0/0"),
        (progress(total=5, done=0), "0/5"),
        (progress(total=5000, done=809, failed=3, rate=41.2), "812/5000, 3 failed, 41.2/s, 1 min 42 s left"),
        (progress(total=10, done=4, rate=0.1), "4/10, 0.1/s, 1 min left"),
        (progress(total=10, done=9, failed=1, rate=2.0), "10/10, 1 failed, 2.0/s"),
    ],
)
def test_line(shown: JobProgress, line: str) -> None:
    assert shown.line == line


def test_nothing_moves_nothing_is_promised() -> None:
    assert progress(total=10, done=4).eta_s is None
    assert progress(total=10, done=4, failed=1, rate=2.5).eta_s == 2.0


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (102, "1 min 42 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (11_100, "3 h 5 min"),
        (360_000, "100 h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
