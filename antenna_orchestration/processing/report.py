"""The report of a finished job: what was found, where and when, in one page."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from antenna_orchestration.domain.job import Counts, ImageStatus, Job
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.lake import arrow
from antenna_orchestration.processing.samples import sample_pictures
from antenna_orchestration.processing.services import Services

MOST: Final = 30
"""Rows of a table in the report."""

NIGHT_STARTS: Final = timedelta(hours=12)
"""A night is named for the day on which it began; the hours before noon belong to the day before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A job's report."""

    # Without the pictures, which are files beside it.
    markdown: str
    uri: str


async def write_report(services: Services, job: Job) -> Report:
    """Write `reports/job_id=<id>/report.md` with its pictures beside it; idempotent."""
    counts = await services.catalog.images.count(job.job_id)
    folder = f"reports/job_id={job.job_id}"
    names: list[tuple[str, str]] = []
    for number, (caption, jpeg) in enumerate(await sample_pictures(services, job, count=4, width=1200), start=1):
        await asyncio.to_thread(services.lake.write_bytes, f"{folder}/sample-{number}.jpg", jpeg)
        names.append((caption, f"sample-{number}.jpg"))
    bare = await asyncio.to_thread(_text, services, job, counts)
    text = "\n".join([bare, "## Samples", "", *(f"![{caption}]({name})\n" for caption, name in names)])
    uri = await asyncio.to_thread(services.lake.write_bytes, f"{folder}/report.md", text.encode())
    return Report(markdown=bare, uri=uri)


def _text(services: Services, job: Job, counts: Counts) -> str:
    nights, without = _nights(services, job)
    labels = services.lake.value_counts("classifications", job.job_id, "label", where="terminal")
    reasons = services.lake.value_counts("failed_images", job.job_id, "reason")
    lines = [
        f"# Job {job.job_id}: {job.name}",
        "",
        f"Project {job.project}, pipeline {job.pipeline}, generation {job.generation}, {job.status}."
        + (f" {job.status_reason}." if job.status_reason else ""),
        "",
        *_table(
            ("", "images"),
            [
                ("done", counts.done),
                ("failed", counts.failed),
                ("without any insect", without),
                ("skipped, processed before", job.skipped),
                ("named twice", job.duplicates),
            ],
        ),
        "",
        f"{counts.detections} detections, {counts.classifications} classifications.{_took(job)}",
    ]
    lines += _section("What was found", ("label", "detections"), labels.most_common(MOST))
    lines += _section("Where and when", ("deployment, night", "detections"), nights)
    lines += _section("What failed", ("reason", "images"), reasons.most_common(MOST))
    lines += ["", "## Tables", ""]
    for name in ("captures", "detections", "classifications", "failed_images"):
        lines.append(f"- `{services.lake.table(name, job.job_id)}`")
    return "\n".join(lines) + "\n"


def _took(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f" Took {duration((job.finished_at - job.started_at).total_seconds())}."


def _nights(services: Services, job: Job) -> tuple[list[tuple[str, int]], int]:
    """Detections by deployment and night, and the images in which nothing was found."""
    found: Counter[str] = Counter()
    without = 0
    for batch in services.lake.batches("captures", job.job_id, ["deployment", "captured_at", "status", "detections"]):
        moments = arrow.moments(batch["captured_at"])
        for row, captured_at in zip(batch.drop_columns("captured_at").to_pylist(), moments, strict=True):
            night = str((captured_at - NIGHT_STARTS).date()) if captured_at else "time unknown"
            found[f"{row['deployment'] or 'no deployment'}, {night}"] += row["detections"]
            without += row["status"] == ImageStatus.DONE and not row["detections"]
    return sorted(found.items())[:MOST], without


def _section(title: str, header: tuple[str, str], rows: list[tuple[str, int]]) -> list[str]:
    return ["", f"## {title}", "", *_table(header, rows)] if rows else []


def _table(header: tuple[str, str], rows: list[tuple[str, int]]) -> list[str]:
    # A `|` in a label would end the cell.
    return [
        f"| {header[0]} | {header[1]} |",
        "| --- | ---: |",
        *(f"| {str(label).replace('|', '/')} | {number:,} |" for label, number in rows),
    ]
