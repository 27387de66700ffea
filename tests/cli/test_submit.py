"""`antenna submit`: what it prints, what it refuses, and waiting."""

import asyncio
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration import settings
from antenna_orchestration.catalog.catalog import Catalog, opened
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.cli import submission_view
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job, JobStatus
from tests.cli.shells import ANTENNA, Shell, ended, shown_on
from tests.submission.pictures import empty
from tests.waiting import wait_until

SHAPE = {"job_id", "status", "total", "done", "failed", "skipped", "detections", "classifications", "lake", "elapsed_s"}


def with_catalog(work: Callable[[Catalog], Any]) -> Any:
    """Look at, or change, what the command works on."""

    async def run() -> Any:
        async with opened(settings.load().database_url) as catalog:
            return await work(catalog)

    return asyncio.run(run())


def only_job(project: str) -> Job | None:
    """The project's one job, once it is there."""
    jobs = with_catalog(lambda catalog: catalog.jobs.list(project=project))
    return jobs[0] if jobs else None


def conclude(job: JobId, status: JobStatus) -> None:
    """Do a run's work on a job: all images done, one detection each, and the given end."""

    async def work(catalog: Catalog) -> None:
        await catalog.jobs.claim(1, job_id=job)
        current = await catalog.jobs.get(job)
        await catalog.jobs.start(current.job_run, "run")
        images = [row["image_id"] async for rows in catalog.images.manifest(job) for row in rows]
        outcomes = [ImageOutcome(image, "done", None, 1, None, False, 8, 8, 1, 2, "w") for image in images]
        await catalog.images.commit(current.job_run, outcomes)
        await catalog.job_log.add(job, "no_worker", "No worker listens; the job waits", level="WARNING")
        await catalog.jobs.finish(current.job_run, status, None)

    with_catalog(work)


def test_json_of_a_queued_job(antenna: Shell, project: str, tmp_path: Path) -> None:
    folder = empty(tmp_path / "Nacht 1 – Käfer", "a b.jpg", "蛾.png")
    answer = antenna(
        "submit", folder, folder / "a b.jpg", "--pipeline", "null", "--project", project, "--json", "--priority", 3,
        "--config", '{"detections": 2}', "--deployment", "north",
    )  # fmt: skip
    assert answer.code == 0
    assert set(answer.json) >= SHAPE
    expected = {"status": "QUEUED", "total": 2, "done": 0, "failed": 0, "skipped": 0, "duplicates": 1, "priority": 3}
    assert {name: answer.json[name] for name in expected} == expected
    assert answer.json["config"]["detections"] == 2
    # As a person may copy it into the next `--config`.
    assert '"detections": 2' in antenna("jobs", "show", answer.json["job_id"]).out
    assert answer.json["warnings"] == ["1 image named more than once: merged"]
    assert answer.err == "antenna: warning: 1 image named more than once: merged\n"
    shown = antenna("jobs", "show", answer.json["job_id"], "--json").json
    assert set(shown) >= SHAPE
    assert shown["name"] == "Nacht 1 – Käfer and 1 more"


def test_text_of_a_queued_job(antenna: Shell, project: str, tmp_path: Path) -> None:
    answer = antenna("submit", empty(tmp_path, "a.jpg"), "--pipeline", "null", "--project", project)
    job = only_job(project)
    assert job is not None
    assert answer.out == f"job {job.job_id} submitted: 1 image, pipeline null\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing"], 2, "there is no file or folder missing"),
        (["bare"], 2, "no images in bare or below it (looked for jpg, jpeg"),
        (["full", "--pipeline", "nope"], 2, "there is no pipeline 'nope'; there are: "),
        (["bad.csv"], 2, "bad.csv, line 3: ftp://example.org/b: ftp:// is not supported"),
        (["full", "--config", "{"], 2, "--config is not JSON"),
        (["full", "--config", "[1]"], 2, "--config is not a JSON object"),
        (["full", "--config", '{"x": 1}'], 2, "has no setting 'x'"),
        (["full", "--project", "Not A Slug"], 2, "is not a slug"),
        (["http://192.168.0.1/a.jpg"], 2, "private address"),
        (["many.txt", "--interactive"], 2, "an interactive job takes at most 20 images, these are 25"),
    ],
    ids=[str(number) for number in range(10)],
)
def test_refusals(
    antenna: Shell, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    empty(tmp_path, "full/a.jpg", "bare/readme.md")
    (tmp_path / "bad.csv").write_text("url\nhttps://example.org/a\nftp://example.org/b\n")
    (tmp_path / "many.txt").write_text("".join(f"https://example.org/{n}\n" for n in range(25)))
    options = {"--pipeline": "null", "--project": project}
    given = [part for name, value in options.items() if name not in arguments for part in (name, value)]
    antenna("submit", *arguments, *given).refused(code, message)
    assert only_job(project) is None


def test_image_roots_and_the_folders_that_a_user_names(antenna: Shell, project: str, tmp_path: Path) -> None:
    allowed, own = empty(tmp_path / "allowed", "a.jpg"), empty(tmp_path / "own", "b.jpg")
    other = empty(tmp_path / "other", "c.jpg")
    antenna.set(ANTENNA_IMAGE_ROOTS=str(allowed))
    common = ["--pipeline", "null", "--project", project, "--json"]
    both = antenna("submit", allowed, own, *common)
    assert both.json["total"] == 2
    warning = (
        f"antenna: warning: {own} lies outside ANTENNA_IMAGE_ROOTS: workers that have this setting do not open it\n"
    )
    assert both.err == warning
    (own / "list.txt").write_text(f"b.jpg\n{allowed}/a.jpg\n")
    assert antenna("submit", own / "list.txt", *common).json["total"] == 2
    (own / "list.txt").write_text(f"b.jpg\n{other}/c.jpg\n")
    antenna("submit", own / "list.txt", *common).refused(2, "list.txt, line 2")
    (own / "c.jpg").symlink_to(other / "c.jpg")
    antenna("submit", own, *common).refused(2, f"what the link {own}/c.jpg leads to lies outside ANTENNA")


def test_one_line_tells_what_was_left_out(antenna: Shell, project: str, tmp_path: Path) -> None:
    """A14: by kind and count, in the log, too; named on request."""
    # Of HEIC and raw, kinds that no installed library reads.
    card = empty(tmp_path / "card", "a.jpg", "1.mp4", "2.MOV", "3.avif", "4.crw", "@eaDir/a.jpg", "bell\x07.txt")
    common = ["--pipeline", "null", "--project", project]
    line = "left out: 2 videos, 1 heic, 1 raw, 1 junk folder, 1 other file"
    answer = antenna("submit", card, *common)
    assert f"{line} (--list-left-out names them)\n" in answer.err
    job = only_job(project)
    assert job is not None
    assert line in antenna("jobs", "logs", job.job_id).out
    listed = antenna("submit", card, *common, "--list-left-out")
    assert f"video\t{card}/1.mp4\n" in listed.err
    assert f"other\t{card}/bell?.txt\n" in listed.err
    fields = antenna("submit", card, *common, "--json", "--list-left-out").json
    assert fields["left_out"] == {"video": 2, "heic": 1, "raw": 1, "junk": 1, "other": 1}
    assert {"kind": "junk", "path": f"{card}/@eaDir", "why": ""} in fields["left_out_files"]


def test_dry_run_shows_what_would_be_taken(lonely: Shell, tmp_path: Path) -> None:
    """Point 3: count, deployments, nights, times, first and last, odd dates, duplicates; no stack runs."""
    card = empty(tmp_path / "card", "20260612221500.jpg", "20260613031500.jpg", "19700101000010.jpg",
                 "20990613031500.jpg", "b.jpg", "c.mp4")  # fmt: skip
    (tmp_path / "list.csv").write_text("file,deployment\ncard/b.jpg,pond\n")
    answer = lonely("submit", card, tmp_path / "list.csv", "--dry-run")
    assert answer.code == 0
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in answer.out.splitlines() if re.search(r"\S  +", line))
    assert {name: value.strip() for name, value in shown.items()} == {
        "images": "5", "named twice": "1", "first": f"{card}/19700101000010.jpg", "last": f"{card}/b.jpg",
        "deployments": "none (4), pond (1)", "times": "1970-01-01 00:00:10 to 2099-06-13 03:15:00 UTC",
        "nights": "3: 1969-12-31 to 2099-06-12 (UTC)", "without time": "1", "odd times": "2",
        "pipeline": "light_trap_insects", "project": "default",
    }  # fmt: skip
    assert f"1970-01-01 00:00:10, the clock was reset: {card}/19700101000010.jpg\n" in answer.out
    assert f"2099-06-13 03:15:00, in the future: {card}/20990613031500.jpg\n" in answer.out
    assert "left out: 1 video (--list-left-out names them)\n" in answer.out
    fields = lonely("submit", card, "--dry-run", "--json").json
    assert (fields["images"], fields["duplicates"], fields["left_out"]) == (5, 0, {"video": 1})
    assert fields["nights"] == {"1969-12-31": 1, "2026-06-12": 2, "2099-06-12": 1}
    assert not (tmp_path / ".antenna").exists()


def test_dry_run_refuses_what_submit_refuses(lonely: Shell, tmp_path: Path) -> None:
    empty(tmp_path / "phone", "a.avif")
    lonely("submit", tmp_path / "phone", "--dry-run").refused(2, "left out: 1 heic; `")
    lonely("submit", tmp_path, "--dry-run", "--pipeline", "nope").refused(2, "there is no pipeline 'nope'")
    lonely("submit", tmp_path, "--dry-run", "--config", '{"x": 1}').refused(2, "has no setting 'x'")


def test_dry_run_tells_of_files_that_were_likely_copied_again(antenna: Shell, project: str, tmp_path: Path) -> None:
    """A2: they would count twice; without a stack there is nobody to ask, and that is not an error."""
    card = empty(tmp_path / "card", "a.jpg", "b.jpg")
    common = ["submit", card, "--pipeline", "null", "--project", project]
    antenna(*common)
    assert "only copied again" not in antenna(*common, "--dry-run").err
    for name in ("a.jpg", "b.jpg"):
        os.utime(card / name, (1_700_000_000, 1_700_000_000))
    (card / "b.jpg").write_bytes(b"of another size")
    answer = antenna(*common, "--dry-run")
    assert answer.code == 0
    assert "1 image has the size that it had before at the same path" in answer.err


@pytest.mark.long
def test_wait_ends_with_the_job(antenna: Shell, project: str, tmp_path: Path) -> None:
    common = ["--pipeline", "null", "--project", project, "--wait"]
    waiting = antenna.start("submit", empty(tmp_path / "n1", "a.jpg", "b.jpg"), *common, "--json")
    job = wait_until(lambda: only_job(project), description="the job")
    conclude(job.job_id, JobStatus.SUCCESS)
    answer = ended(waiting)
    assert answer.code == 0
    assert set(answer.json) >= SHAPE
    expected = {"job_id": job.job_id, "status": "SUCCESS", "total": 2, "done": 2, "failed": 0, "detections": 2}
    assert {name: answer.json[name] for name in expected} == expected
    assert "WARNING No worker listens; the job waits" in answer.err
    assert f"job {job.job_id} SUCCESS 2/2" in answer.err


def test_with_nothing_to_process_waiting_ends_at_once(antenna: Shell, project: str, tmp_path: Path) -> None:
    """B15: it waited for a run, which nobody starts here."""
    common = ["submit", empty(tmp_path / "n1", "a.jpg"), "--pipeline", "null", "--project", project]
    antenna(*common)
    job = only_job(project)
    assert job is not None
    conclude(job.job_id, JobStatus.SUCCESS)
    with_catalog(lambda catalog: catalog.images.add_processed(job.job_id))
    again = antenna(*common)
    newest = only_job(project)
    assert newest is not None
    assert (again.code, again.out) == (0, f"job {newest.job_id} is over already: nothing to process\n")
    waited = antenna(*common, "--wait")
    assert waited.code == 0
    assert "SUCCESS (the one image was processed before): 0 done, 0 failed, 1 skipped" in waited.out


@pytest.mark.long
def test_watch_of_a_failure_on_a_terminal(antenna: Shell, project: str, tmp_path: Path) -> None:
    antenna("submit", empty(tmp_path / "n1", "a.jpg"), "--pipeline", "null", "--project", project)
    job = only_job(project)
    assert job is not None
    ours, theirs = pty.openpty()
    watching = antenna.start("jobs", "watch", job.job_id, stderr=theirs)
    os.close(theirs)
    assert os.read(ours, 1), "the job is being watched"
    conclude(job.job_id, JobStatus.FAILURE)
    out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert out.startswith(f"job {job.job_id} FAILURE: 1 done, 0 failed")
    assert f"job {job.job_id}" in shown_on(ours)


@pytest.mark.long
def test_interrupted_waiting_leaves_the_job_alone(antenna: Shell, project: str, tmp_path: Path) -> None:
    waiting = antenna.start("submit", empty(tmp_path, "a.jpg"), "--pipeline", "null", "--project", project, "--wait")
    assert waiting.stderr is not None
    # The first line of the display: the job is being watched.
    while (line := waiting.stderr.readline()) and "QUEUED" not in line:
        pass
    waiting.send_signal(signal.SIGINT)
    answer = ended(waiting)
    job = only_job(project)
    assert job is not None
    assert answer.code == 130
    assert answer.err.splitlines() == [
        f"job {job.job_id} goes on; `antenna jobs watch {job.job_id}` shows it, "
        f"`antenna jobs cancel {job.job_id}` ends it"
    ]
    assert job.status is JobStatus.QUEUED


def test_a_reader_that_leaves_is_no_news(antenna: Shell) -> None:
    listing = antenna.start("settings", "--json")
    assert listing.stdout is not None
    assert listing.stderr is not None
    listing.stdout.close()
    assert listing.stderr.read() == ""
    listing.stderr.close()
    assert listing.wait(timeout=60) == 1


def test_undecodable_name_in_a_warning_fails_nothing(antenna: Shell, project: str, tmp_path: Path) -> None:
    """A11: a warning with bytes that are not UTF-8 ended a committed submission with exit code 2."""
    bare = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    bare.mkdir()
    images = empty(tmp_path / "night", "a.jpg")
    answer = antenna("submit", images, bare, "--pipeline", "null", "--project", project, "--json")
    assert answer.code == 0, answer
    assert "caf\\xe9" in answer.json["warnings"][0]
    assert "caf\\xe9" in antenna("jobs", "logs", answer.json["job_id"]).out


@pytest.mark.long
@pytest.mark.parametrize(
    "redirection",
    ["1>&-", "1>&- 2>&-", ">/dev/full", ">/dev/full 2>&1"],
    ids=["no-stdout", "neither", "full-stdout", "full-both"],
)
def test_closed_or_full_output_fails_no_submission(
    antenna: Shell, project: str, tmp_path: Path, redirection: str
) -> None:
    """A11: a job that is there is no error, wherever the line about it was to go."""
    images, empty_folder = empty(tmp_path / "night", "a.jpg"), tmp_path / "bare"
    empty_folder.mkdir()
    command = [*ANTENNA, "submit", str(images), str(empty_folder), "--pipeline", "null", "--project", project]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command], check=False, capture_output=True, text=True
    )
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done
    job = only_job(project)
    assert job is not None
    if redirection == ">/dev/full":
        assert f"job {job.job_id} submitted" in done.stderr


@pytest.mark.long
def test_names_beyond_the_terminals_letters_are_written_out(antenna: Shell, project: str, tmp_path: Path) -> None:
    """A11: with an ASCII locale the answer failed on its first letter beyond it."""
    images = empty(tmp_path / "Käfer", "a.jpg")
    antenna.set(PYTHONIOENCODING="ascii")
    answer = antenna.process("submit", images, "--pipeline", "null", "--project", project, "--json")
    assert answer.code == 0, answer
    assert "K\\xe4fer" in answer.out


def test_a_terminal_shows_how_far_a_submission_is(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    monkeypatch.setattr(submission_view, "_SILENT", 0.0)
    with open(follower, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        with submission_view.progress() as progress:
            for count in range(1, 12_301):
                progress("images found", count)
            progress("images handed to the catalog", 12_345)
    shown = shown_on(leader)
    assert "12,345 images handed to the catalog" in shown
    assert shown.endswith("\x1b[2K"), "the line is gone when the answer comes"
