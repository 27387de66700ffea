"""A reason that quotes a signed URL, from the worker to all that people take home."""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from antenna_orchestration.answers import derive, export, html_report
from antenna_orchestration.cli.output import LogLines
from antenna_orchestration.contract import pushing, results
from antenna_orchestration.domain import messages
from antenna_orchestration.exports import csv_tables, formats, megadetector_of_tables
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.processing import collect, finish, image_life, publish, report
from antenna_orchestration.processing.services import Services
from tests.processing.classified_jobs import LABELS, MOTHS, found, registered
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job

SECRET = "5eCreT"
REASON = (
    f"404 Client Error: Not Found for url: https://ada:{SECRET}@b.org/1.jpg?X-Amz-Algorithm=A&X-Amz-Signature={SECRET}"
)
KEPT = "404 Client Error: Not Found for url: https://b.org/1.jpg?…"


@pytest.mark.long
async def test_no_export_page_or_log_shows_a_signed_url(services: Services, project: str, tmp_path: Path) -> None:
    made = await make_job(services, project, 2, pipeline=await registered(services, project))
    job = await claimed(services, made)
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        one, other = await worker.lease(job, 2)
        await worker.report([one], detections=[found(LABELS[0])], algorithms=[ALGORITHM, MOTHS])
        # As a worker of others, or of an earlier version, sends it.
        await worker.report([other], outcome="failed", reason=REASON, detections=[])
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    job = await services.catalog.jobs.get(job.job_id)
    await services.catalog.job_log.add(job.job_id, "test", f"a step failed: {REASON}")
    await derive.derive(services, job=job.job_id)
    await html_report.write(services, job=job.job_id, pictures=False)
    await report.write_report(services, job)

    [failed] = services.lake.read_table("failed_images", job.job_id).to_pylist()
    assert failed["reason"] == KEPT
    told = [
        *(line.message for _, line in await services.catalog.job_log.read(job.job_id)),
        repr(await image_life.read(services, job.job_id, failed["image_id"])),
        b"".join(csv_tables.of_job(services.lake, "failed_images", job.job_id)).decode(),
        b"".join(megadetector_of_tables.pieces(services.lake, job, size_of=lambda _: (9, 9))).decode(),
    ]
    for name in ("tables", "megadetector", "label-studio", "antenna"):
        format = formats.named(name)
        out = tmp_path / (format.file or name)
        order = export.order(format, Selection(jobs=(job.job_id,)), out=str(out), partial=True)
        await export.export(services, order)
        told += [file.read_text() for file in ([out] if out.is_file() else out.rglob("*")) if file.is_file()]
    reports = Path(services.settings.lake, f"reports/job_id={job.job_id}")
    told += await asyncio.to_thread(lambda: [file.read_text() for file in reports.iterdir()])
    assert not [text for text in told if SECRET in text]
    assert sum("Not Found for url" in text for text in told) >= 6


def test_what_workers_and_services_say_is_kept_without_secrets() -> None:
    body = json.dumps([{"reply_subject": "r", "result": {"error": REASON, "image_id": "1"}}]).encode()
    [item] = results.read_post(body, results.reduction_of({}, top_k=1, algorithms={}))
    of_service = pushing.failed(pushing.Sent(image_id="1", url="https://b.org/1.jpg", reply_subject="r"), REASON)
    assert (item.kind, item.reason) == ("failed", KEPT) == (of_service.kind, of_service.reason)
    # Cut, but not within the secret.
    assert SECRET not in results.reason_of("x" * (messages.MAX_TEXT - 60) + REASON)


def test_a_log_line_and_its_trace_show_no_secret() -> None:
    try:
        raise ValueError(REASON)
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.WARNING, "f", 1, "it failed: %s", (REASON,), trace)
    line = LogLines().format(record)
    assert line.count(KEPT) == 2 and SECRET not in line
