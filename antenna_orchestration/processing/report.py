"""The report of a finished job: what was found, where and when, in one page."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from antenna_orchestration.domain import markdown, nights
from antenna_orchestration.domain.job import Counts, ImageStatus, Job
from antenna_orchestration.domain.progress import duration
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.lake import arrow, paths, schemas
from antenna_orchestration.processing import finish
from antenna_orchestration.processing.samples import NO_DEPLOYMENT, sample_pictures
from antenna_orchestration.processing.services import Services

PICTURES: Final = 8
"""Pictures beside the report, in the lake."""

MOST: Final = 10_000
"""Rows of a table in the file; what is beyond is named, with the table of the lake that has it."""

SHOWN: Final = 60
"""The same in the copy for the UI, which Dagster keeps with every run. Sites have more room: none should vanish."""

SITES_SHOWN: Final = 300

Row = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A job's report."""

    # A shorter copy, without the pictures, which are files beside the report.
    markdown: str
    uri: str


@dataclass(slots=True)
class _Place:
    """What is known of the images of a deployment, or of one night there."""

    # All of them, those that failed among them.
    images: int = 0
    failed: int = 0
    detections: int = 0
    nights: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Section:
    """One table of the report."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[Row]
    # Where the rest is, if not all rows are shown.
    rest: str
    # What is to be known to read it.
    note: str = ""
    # Rows in the copy for the UI.
    shown: int = SHOWN


async def write_report(services: Services, job: Job, *, page: str = "") -> Report:
    """Write `reports/job_id=<id>/report.md` with its pictures beside it; idempotent.

    `page` is the URI of the HTML file about the same job, which lies beside it; empty: there is none.
    """
    counts = await services.catalog.images.count(job.job_id)
    folder = f"reports/job_id={job.job_id}"
    samples: list[str] = []
    for number, one in enumerate(await sample_pictures(services, job, count=PICTURES), start=1):
        caption = markdown.escape(one.caption)
        if one.jpeg is None:
            samples.append(f"{caption}; no picture: {markdown.escape(one.why)}\n")
            continue
        await asyncio.to_thread(services.lake.write_bytes, f"{folder}/sample-{number}.jpg", one.jpeg)
        samples.append(f"![{caption}](sample-{number}.jpg)\n")
    sections, without = await asyncio.to_thread(_sections, services, job)
    more = await asyncio.to_thread(_more, services, job)
    head = [*_head(job, await services.catalog.generations.versions(job.job_id), counts, without), *more]
    tables = _where_the_tables_are(services, job)
    pictures = ["## Samples", "", *samples] if samples else []
    beside = ["", f"Plots, pictures and coverage: [{paths.REPORT}]({paths.REPORT})."] if page else []
    text = "\n".join([*head, *beside, *(line for one in sections for line in _written(one, MOST)), *tables, *pictures])
    uri = await asyncio.to_thread(services.lake.write_bytes, f"{folder}/report.md", f"{text}\n".encode())
    where = ["", f"Plots, pictures and coverage: the page {markdown.code(page)}."] if page else []
    copy = "\n".join([*head, *where, *(line for one in sections for line in _written(one, one.shown, uri)), *tables])
    return Report(markdown=copy, uri=uri)


def _head(job: Job, versions: Sequence[str], counts: Counts, without: int) -> list[str]:
    return [
        f"# Job {job.job_id}: {markdown.escape(job.name)}",
        "",
        f"Project {markdown.escape(job.project)}, pipeline {markdown.escape(_pipeline(job, versions))}, "
        f"generation {job.generation}, {job.status}."
        + (f" {markdown.escape(job.status_reason)}." if job.status_reason else ""),
        "",
        *_table(
            ("", "images"),
            [
                ("done", counts.done),
                ("failed", counts.failed),
                ("done, and without a detection", without),
                ("skipped, processed before", job.skipped),
                ("named twice", job.duplicates),
            ],
        ),
        "",
        f"{counted(counts.detections, 'detection')}, {counted(counts.classifications, 'classification')}.{_took(job)} "
        "A detection is one sighting: an insect that sits through ten photographs is counted ten times.",
    ]


def _pipeline(job: Job, versions: Sequence[str]) -> str:
    return f"{job.pipeline} {' and '.join(versions)}".rstrip()


def _took(job: Job) -> str:
    if job.started_at is None or job.finished_at is None:
        return ""
    return f" Took {duration((job.finished_at - job.started_at).total_seconds())}."


def _sections(services: Services, job: Job) -> tuple[list[_Section], int]:
    """The tables of the report, and how many images are done and without a detection."""
    by_night, without = _nights(services, job)
    sites: dict[str, _Place] = defaultdict(_Place)
    for (site, night), place in by_night.items():
        sites[site].images += place.images
        sites[site].failed += place.failed
        sites[site].detections += place.detections
        sites[site].nights.add(night)
    labels = services.lake.value_counts("classifications", job.job_id, "label", where="terminal")
    reasons = services.lake.value_counts("failed_images", job.job_id, "reason")
    of_images = services.lake.value_counts("image_labels", job.job_id, "label", where="terminal")
    return [
        _Section(
            title="What was found",
            header=("label", "detections"),
            rows=labels.most_common(),
            rest="the column `label` of the table `classifications`",
        ),
        _Section(
            title="What whole photographs show",
            header=("label", "photographs"),
            rows=of_images.most_common(),
            rest="the column `label` of the table `image_labels`",
            note="These are not detections, and no number of detections has them. A photograph may have several.",
        ),
        _Section(
            title="Where",
            header=("deployment", "images", "failed", "detections", "nights", "first night", "last night"),
            rows=[
                (site, place.images, place.failed, place.detections, *_span(place.nights))
                for site, place in sorted(sites.items())
            ],
            rest="the column `deployment` of the table `captures`",
            shown=SITES_SHOWN,
        ),
        _Section(
            title="Where and when",
            header=("deployment", "night", "images", "failed", "detections"),
            rows=[
                (site, night, one.images, one.failed, one.detections) for (site, night), one in sorted(by_night.items())
            ],
            rest="the columns `deployment` and `night` of the table `captures`",
            note=f"A night lasts from noon to noon {job.time_zone} and is named for the day on which it begins.",
        ),
        _Section(
            title="What failed",
            header=("reason", "images"),
            rows=reasons.most_common(),
            rest="the table `failed_images`",
        ),
    ], without


def _more(services: Services, job: Job) -> list[str]:
    """A line about what the pipeline said beyond boxes and labels; none for most jobs."""
    columns = {"mask": "an outline", "rotated_angle": "a rotated box", "attributes": "attributes"}
    said = dict.fromkeys(columns, 0)
    for batch in services.lake.batches("detection_details", job.job_id, list(columns)):
        for name in columns:
            said[name] += len(batch) - batch[name].null_count
    of_images = services.lake.count_rows("image_attributes", job.job_id)
    lines = [f"{counted(number, 'detection')} with {columns[name]}" for name, number in said.items() if number]
    lines += [f"{counted(of_images, 'photograph')} with attributes"] if of_images else []
    return ["", f"Beyond boxes: {', '.join(lines)}."] if lines else []


def _nights(services: Services, job: Job) -> tuple[dict[tuple[str, str], _Place], int]:
    """What there is of each deployment and night, and the images in which nothing was found."""
    found: dict[tuple[str, str], _Place] = defaultdict(_Place)
    without = 0
    zone = nights.zone_named(job.time_zone)
    for batch in services.lake.batches(
        "captures", job.job_id, ["deployment", "captured_at", "night", "status", "detections"]
    ):
        moments = arrow.moments(batch["captured_at"])
        for row, captured_at in zip(batch.drop_columns("captured_at").to_pylist(), moments, strict=True):
            # Tables of earlier versions have no nights.
            night = str(row["night"]) if row["night"] else nights.named(captured_at, zone)
            place = found[row["deployment"] or NO_DEPLOYMENT, night]
            place.images += 1
            place.failed += row["status"] == ImageStatus.FAILED
            place.detections += row["detections"] or 0
            without += row["status"] == ImageStatus.DONE and not row["detections"]
    return found, without


def _span(of_place: set[str]) -> Row:
    """How many nights there are, the first and the last."""
    known = of_place - {nights.TIME_UNKNOWN}
    return (len(known), min(known), max(known)) if known else (0, nights.TIME_UNKNOWN, "")


def _where_the_tables_are(services: Services, job: Job) -> list[str]:
    further = [name for name in schemas.FURTHER if services.lake.has_table(name, job.job_id)]
    tables = (services.lake.table(name, job.job_id) for name in (*finish.TABLES, *further))
    return ["", "## Tables", "", *(f"- {markdown.code(table)}" for table in tables), ""]


def _written(section: _Section, most: int, file: str = "") -> list[str]:
    """A section as Markdown with the first `most` rows, and where the rest is; `file` has more rows than these."""
    if not section.rows:
        return []
    rest = len(section.rows) - most
    left_out = [f"and {rest:,} more rows: see {markdown.code(file) if file else section.rest}"]
    return [
        "",
        f"## {section.title}",
        "",
        *([section.note, ""] if section.note else []),
        *_table(section.header, section.rows[:most]),
        *(["", *left_out] if rest > 0 else []),
    ]


def _table(header: tuple[str, ...], rows: Sequence[Row]) -> list[str]:
    aligned = [
        "---",
        *("---:" if all(isinstance(row[n], int) for row in rows) else "---" for n in range(1, len(header))),
    ]
    return [_line(header), f"| {' | '.join(aligned)} |", *(_line(row) for row in rows)]


def _line(cells: Row) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(cell: str | int) -> str:
    return f"{cell:,}" if isinstance(cell, int) else markdown.escape(cell)
