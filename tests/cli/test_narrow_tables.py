"""B8: listings at the width of an ordinary terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from antenna_orchestration.cli import jobs, output, workers
from antenna_orchestration.domain import messages
from tests.cli.shells import Shell

PIPELINES = tuple(f"a_pipeline_of_the_moths_of_region_{number}" for number in range(45))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, as `antenna` sees a pipe."""
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)


def test_one_job_is_one_line_with_its_project(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    """B8: the project was missing, and names were broken within words."""
    row = (123456, "vermont-2026", "a long name of a night's photographs", "quebec_vermont_moths_2023", "RUNNING",
           12_345, 12, 100_000, 0, "12 min ago")  # fmt: skip
    jobs.show_rows([row], empty="")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert "vermont-2026" in lines[1]
    assert "a long name" in lines[1]
    assert "…" in lines[1]
    assert lines[0].split() == ["JOB", "PROJECT", "NAME", "STATUS", "DONE", "FAILED", "TOTAL", "SUBMITTED"]


def test_paths_of_pairs_are_whole_and_texts_are_broken_between_words(
    narrow: None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/home/ada/my traps/.antenna/lake/derived/jobs/observations/job_id=123456/observations.parquet"
    text = f"it waits {'for a worker ' * 9}at /{'a' * 90}"
    output.show_pairs({"job": 7, "none": None, "derived": [path, path], "waits for": text, "name": ""})
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("job        7", "name       ")
    assert lines[1:3] == [f"derived    {path}", f"           {path}"]
    waits = lines[3:-1]
    assert waits[-1] == f"           /{'a' * 90}" and max(map(len, waits[:-1])) <= 80
    assert " ".join(line[11:].strip() for line in waits) == text


def test_one_worker_is_one_line(narrow: None, capsys: pytest.CaptureFixture[str]) -> None:
    """B8: one worker filled 45 lines with the names of its pipelines."""
    now = datetime.now(UTC)
    beat = messages.Heartbeat(
        worker="trap-server-7.example.org-1234567", host="trap-server-7", pid=1, device="NVIDIA H100 80GB HBM3",
        pipelines=PIPELINES, reaches=("file:*",), started_at=now, at=now, done=123456,
    )  # fmt: skip
    workers.show([beat], {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80


def test_a_worker_that_cannot_load_a_pipeline_says_where_its_log_is(capsys: pytest.CaptureFixture[str]) -> None:
    """P14: "the worker's log" was named four times, and nothing said where that is."""
    now = datetime.now(UTC)
    beats = [
        messages.Heartbeat(
            worker=name, host="gpu-3", pid=17, device="cpu", pipelines=(), reaches=(), started_at=now, at=now,
            failing=failing, run_id=run, kind=kind,
        )
        for name, failing, run, kind in (
            ("a", {"g": "no such file"}, "0123456789ab", "nats"), ("b", {"g": "no such file"}, None, "nats"),
            ("c", {}, None, "nats"), ("d", {"g": "no such file"}, None, "http"),
        )
    ]  # fmt: skip
    workers.show(beats, {}, ui_url="http://127.0.0.1:3000")
    assert [line for line in capsys.readouterr().out.splitlines() if "log" in line] == [
        "a has the whole error in its log: stderr of run 01234567 of inference_worker in Dagster, "
        "http://127.0.0.1:3000/runs/0123456789ab",
        "b has the whole error in its log: what process 17 on gpu-3 prints",
    ]


def test_workers_with_other_code_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """P1: nothing told that one of two workers ran the old file."""
    now = datetime.now(UTC)
    beats = [
        messages.Heartbeat(
            worker=name, host="h", pid=1, device="cpu", pipelines=("g", "null"), reaches=(), started_at=now, at=now,
            digests={"g": digest * 64, "null": "0" * 64},
        )
        for name, digest in (("a", "1"), ("b", "2"), ("c", "1"))
    ]  # fmt: skip
    workers.show(beats, {})
    told = [line for line in capsys.readouterr().out.splitlines() if "digest" in line]
    assert told == ["g is not the same on all workers, by its digest: 111111111111 on a, c; 222222222222 on b"]


def test_workers_say_what_runs_their_pipelines(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    same = "torch 2.14.1"
    beats = [
        messages.Heartbeat(
            worker=name, host="h", pid=1, device="cpu", pipelines=("g",), reaches=(), started_at=now, at=now, **told,
        )
        for name, told in (("a", {"engines": {"g": same, "n": same}}), ("b", {"engines": {}}), ("c", {}))
    ]  # fmt: skip
    workers.show(beats, {})
    told = [line for line in capsys.readouterr().out.splitlines() if same in line]
    assert told == ["a runs g, n with torch 2.14.1"]


def test_no_worker_is_said_in_words(antenna: Shell) -> None:
    """B8: an empty list was a squashed header."""
    answer = antenna("jobs", "list", "--project", "nobody-has-this")
    assert (answer.out, answer.err) == ("", "no such jobs\n")
