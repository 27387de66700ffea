"""What a run tells of its progress, and how often."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from antenna_orchestration.assets.progress_teller import ProgressTeller
from antenna_orchestration.domain.job import Counts
from antenna_orchestration.domain.progress import JobProgress
from antenna_orchestration.resources.interruptible import Reports

START = datetime(2026, 6, 12, tzinfo=UTC)


class Told(Reports):
    """Reports that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.lines: list[str] = []

    def tag(self, name: str, value: str) -> None:
        assert name == "antenna/progress"
        self.tags.append(value)

    def log(self, message: str) -> None:
        self.lines.append(message)


def progress(seconds: float, done: int = 0, total: int = 10_000) -> JobProgress:
    return JobProgress(
        total=total, published=total, done=done, failed=0, detections=0, classifications=0, rate=0.0,
        at=START + timedelta(seconds=seconds),
    )  # fmt: skip


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_tag_is_set_at_once_and_then_every_ten_seconds(told: Told) -> None:
    teller = ProgressTeller(told, started=START)
    for second in range(25):
        teller.tell_collected(progress(second, done=second))
    assert told.tags == ["0/10000", "10/10000", "20/10000"]


def test_lines_of_a_job_that_stands_still_are_ever_further_apart(told: Told) -> None:
    teller = ProgressTeller(told, started=START)
    at = []
    for second in range(3600):
        before = len(told.lines)
        teller.tell_collected(progress(second))
        at += [second] if len(told.lines) > before else []
    assert at[:6] == [10, 20, 40, 80, 160, 320]
    assert all(later - earlier == 300 for earlier, later in pairwise(at[6:]))


def test_a_fast_job_has_a_line_for_each_twentieth(told: Told) -> None:
    teller = ProgressTeller(told, started=START)
    for step in range(100):
        teller.tell_collected(progress(step / 10, done=step * 101))
    assert len(told.lines) == 18
    assert told.lines[0] == "1010/10000; 0 detections; 8990 waiting after 1 s"


def test_publishing_is_told_when_it_takes_longer_than_ten_seconds(told: Told) -> None:
    ProgressTeller(told).tell_published(10, 20)
    assert told.tags == []
    ProgressTeller(told, started=datetime.now(UTC) - timedelta(seconds=11)).tell_published(10, 20)
    assert told.tags == ["publishing 10/20"]


def test_the_last_tag_says_how_many_images_failed(told: Told) -> None:
    """B9: a job of which all images failed ended as `3/3, done`."""
    ProgressTeller(told).tell_end(Counts(total=8, done=5, failed=3))
    ProgressTeller(told).tell_end(Counts(total=8, done=8))
    assert told.tags == ["8/8, 3 failed, done", "8/8, done"]
