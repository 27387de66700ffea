"""`antenna jobs`, `workers` and `health`."""

import asyncio
import getpass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from antenna_orchestration import settings
from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.lake import schemas
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.queue import connection
from antenna_orchestration.queue.heartbeats import Heartbeats
from tests.cli.shells import Shell
from tests.cli.test_submit import SHAPE, with_catalog
from tests.submission.pictures import empty


def queued(antenna: Shell, project: str, folder: Path) -> int:
    """A job of one image; its number."""
    common = ["--pipeline", "null", "--project", project, "--json"]
    number: int = antenna("submit", empty(folder, "a.jpg"), *common, "--name", "[red] night").json["job_id"]
    return number


def test_list(antenna: Shell, project: str, tmp_path: Path) -> None:
    numbers = [queued(antenna, project, tmp_path / name) for name in ("n1", "n2", "n3")]
    listed = antenna("jobs", "list", "--project", project, "--json").json
    assert [one["job_id"] for one in listed] == numbers[::-1]
    assert all(set(one) >= SHAPE for one in listed)
    assert [
        one["job_id"] for one in antenna("jobs", "list", "--project", project, "--limit", 1, "--json").json
    ] == numbers[2:]
    antenna("jobs", "cancel", numbers[1])
    selected = antenna("jobs", "list", "--project", project, "--status", "queued", "--json").json
    assert [one["job_id"] for one in selected] == [numbers[2], numbers[0]]
    text = antenna("jobs", "list", "--project", project).out.splitlines()
    columns = ["JOB", "PROJECT", "NAME", "PIPELINE", "STATUS", "DONE", "FAILED", "TOTAL", "SKIPPED", "SUBMITTED"]
    assert text[0].split() == columns
    assert [line.split()[:6] for line in text[1:]] == [
        [str(number), project, "[red]", "night", "null", status]
        for number, status in zip(numbers[::-1], ["QUEUED", "CANCELED", "QUEUED"], strict=True)
    ]


def test_show_cancel_retry_and_logs(antenna: Shell, project: str, tmp_path: Path) -> None:
    number = queued(antenna, project, tmp_path)
    text = antenna("jobs", "show", number).out
    for expected in ("[red] night", project, "QUEUED", "0/1"):
        assert expected in text
    antenna("jobs", "retry", number).refused(4, f"job {number} is QUEUED; only a job that is over can be retried")
    assert antenna("jobs", "cancel", number, "--reason", "wrong folder").out == f"job {number} canceled\n"
    antenna("jobs", "cancel", number).refused(4, f"job {number} is over already: CANCELED")
    shown = antenna("jobs", "show", number, "--json").json
    assert (shown["status"], shown["status_reason"], shown["generation"]) == ("CANCELED", "wrong folder", 1)
    assert shown["digest"] == antenna("pipelines", "show", shown["pipeline"], "--json").json["digest"]
    assert antenna("jobs", "watch", number).code == 1
    assert antenna("jobs", "retry", number).out == f"job {number} queued again: 1 image (generation 2)\n"
    assert antenna("jobs", "show", number, "--json").json["status"] == "QUEUED"
    story = antenna("jobs", "logs", number).out
    by = f", by {getpass.getuser()}"
    assert f"Canceling: wrong folder{by}\n" in story
    assert f"Retrying 1 image as generation 2{by}\n" in story
    acts = antenna("jobs", "show", number, "--json").json["acts"]
    assert [one["action"] for one in acts] == ["submitted", "canceling", "retried"]
    assert {one["by"] for one in acts} == {getpass.getuser()}
    assert f"Canceling: wrong folder{by}" in " ".join(antenna("jobs", "show", number).out.split())
    antenna("jobs", "cancel", number)
    assert "tables" not in antenna("jobs", "show", number).out, "a canceled job has none"
    followed = antenna("jobs", "logs", number, "--follow").out
    assert followed.startswith(story)
    assert "Canceling: asked for on the command line" in followed


def test_show_says_why_images_failed(antenna: Shell, project: str, tmp_path: Path) -> None:
    folder = empty(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    number = antenna("submit", folder, "--pipeline", "null", "--project", project, "--json").json["job_id"]
    why = ["not an image", "no such file", "not an image"]

    async def fail_all(catalog: Catalog) -> None:
        await catalog.jobs.claim(1, job_id=number)
        job = await catalog.jobs.get(number)
        await catalog.jobs.start(job.job_run, "run")
        images = [row["image_id"] async for rows in catalog.images.manifest(number) for row in rows]
        failed = zip(images, why, strict=True)
        await catalog.images.commit(
            job.job_run,
            [ImageOutcome(image, "failed", None, 1, reason, False, None, None, 0, 0, "w") for image, reason in failed],
        )
        rows = [{"image_id": image, "reason": reason} for image, reason in zip(images, why, strict=True)]
        table = pa.Table.from_pylist(rows, schema=schemas.FAILED_IMAGES)
        lake = Lake(settings.load().lake)
        lake.write_table("failed_images", number, job.generation, [table])
        lake.write_bytes(f"derived/jobs/observations/job_id={number}/observations.parquet", b"")
        lake.write_bytes(f"reports/job_id={number}/report.html", b"")
        assert await catalog.jobs.finish(job.job_run, JobStatus.FAILURE, None, collected=True)

    with_catalog(fail_all)
    text = antenna("jobs", "show", number).out
    assert "not an image: 2 images; no such file: 1 image" in text
    assert "failed: not an image: 2 images; no such file: 1 image" in antenna("jobs", "watch", number).err
    assert f"captures/job_id={number}" in text
    assert f"derived/jobs/counts/job_id={number}/counts.parquet" in "".join(text.split())
    assert f"reports/job_id={number}/report.html" in "".join(text.split())


def test_logs_as_json_lines(antenna: Shell, project: str, tmp_path: Path) -> None:
    number = queued(antenna, project, tmp_path)
    answer = antenna("jobs", "logs", number, "--json")
    assert answer.json["action"] == "submitted"
    assert set(answer.json) == {"at", "level", "action", "message", "by", "details"}


def test_unknown_jobs(antenna: Shell) -> None:
    for arguments in (["show"], ["watch"], ["cancel"], ["retry"], ["logs"]):
        for number in (4_000_000_000, 0, 2**70):
            antenna("jobs", *arguments, number).refused(3, f"there is no job {number}; `antenna jobs list` shows all")


@pytest.mark.long
def test_workers_and_health(antenna: Shell, project: str, tmp_path: Path) -> None:
    # Workers of other tests may still be shown for half a minute.
    assert all(set(beat) >= {"worker", "host", "pipelines"} for beat in antenna("workers", "--json").json)
    answer = antenna("workers")
    assert answer.out.startswith("WORKER") or answer.err.splitlines()[-1].startswith("no workers run")
    number = queued(antenna, project, tmp_path)
    answer = antenna("health", "--dry-run", "--json")
    checks = {check["name"]: check for check in answer.json["checks"]}
    # Other tests may have left jobs that nobody works on.
    assert answer.json["healthy"] is not any(check["unfixable"] for check in checks.values())
    assert answer.code == (0 if answer.json["healthy"] else 1)
    assert not [line for line in checks["stale_jobs"]["details"] if f"job {number} " in line]
    waits = f"job {number} waits: no worker listens for null"
    assert [line for line in checks["workers"]["details"] if line.startswith(waits)]
    assert "no worker listens for null" in antenna("health", "--dry-run").out


def test_a_worker_that_cannot_load_a_pipeline_says_why_wherever_one_looks(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    number = queued(antenna, project, tmp_path)
    now = datetime.now(UTC)
    beat = messages.Heartbeat(
        worker="gpu-1", host="gpu-1", pid=1, device="cpu", pipelines=("moth_binary",), reaches=("file:*",),
        started_at=now, at=now, failing={"null": "weights [x]: none"},
    )  # fmt: skip

    async def show(*, leave: bool) -> None:
        async with connection.connected(shared_stores.settings.nats_url, name="test") as client:
            heartbeats = Heartbeats(client)
            await (heartbeats.leave("gpu-1") if leave else heartbeats.beat(beat))
            await client.flush()

    asyncio.run(show(leave=False))
    try:
        assert antenna("workers").out.splitlines()[-2] == "gpu-1 cannot load null: weights [x]: none"
        waits = f"job {number} waits: no worker listens for null; gpu-1 cannot load it: weights [x]: none"
        assert waits in antenna("health", "--dry-run").out
    finally:
        asyncio.run(show(leave=True))
