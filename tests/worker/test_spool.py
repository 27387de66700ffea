"""Results on disk: written whole, read back as they were, by one worker at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Generation, ImageId, JobId
from antenna_orchestration.queue.names import AckSubject
from antenna_orchestration.worker.stages.spool import Spool

RESULTS = [
    (
        messages.Result(
            job=JobId(7), generation=Generation(1), image=ImageId(image), worker="w", delivery=2, outcome="done"
        ),
        AckSubject.parse(f"$JS.ACK.TASKS.j7-g1-abcd.2.{image}.9.1700000000.0"),
    )
    for image in range(3)
]


def test_what_is_kept_is_read_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = Spool(tmp_path / "spool")
    path = spool.keep(RESULTS)
    assert "job 7: 3 results could not be delivered" in caplog.text
    with spool.waiting() as paths:
        assert paths == [path]
        assert spool.read(path) == RESULTS


def test_no_folder_is_no_news_and_none_is_made(tmp_path: Path) -> None:
    with Spool(tmp_path / "spool").waiting() as paths:
        assert paths == []
    assert not (tmp_path / "spool").exists()


def test_two_workers_do_not_deliver_the_same_file(tmp_path: Path) -> None:
    spool, other = Spool(tmp_path), Spool(tmp_path)
    spool.keep(RESULTS)
    with spool.waiting() as ours, other.waiting() as theirs:
        assert len(ours) == 1
        assert theirs == []
    with other.waiting() as theirs:
        assert len(theirs) == 1


def test_an_unfinished_or_foreign_file_is_left_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    (tmp_path / "cut.part").write_bytes(b"\x93")
    (tmp_path / "foreign.results").write_bytes(b"\xc1 no msgpack")
    # What cannot be read is no reason to leave the others undelivered.
    (tmp_path / "folder.results").mkdir()
    with spool.waiting() as paths:
        for path in paths:
            with pytest.raises(errors.InvalidInput, match="holds no results"):
                spool.read(path)
    assert [path.name for path in paths] == ["folder.results", "foreign.results"]
