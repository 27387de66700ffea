"""`antenna jobs`: list, show, watch, cancel, retry, logs; `delete` is in `deleting.py`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import deleting, output
from antenna_orchestration.cli.connecting import with_records, with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.catalog.generations import Terms
    from antenna_orchestration.domain.ids import ImageId, JobId
    from antenna_orchestration.domain.job import LogLine
    from antenna_orchestration.processing.services import Records, Services

app = typer.Typer(help="List, show, watch, cancel, retry and delete jobs.", no_args_is_help=True, rich_markup_mode=None)

app.command("delete")(deleting.delete)

JobArgument = Annotated[int, typer.Argument(metavar="JOB", help="Number of the job.", show_default=False)]

MOST_ACTS = 10
"""Acts of people shown of one job, the last ones."""

_FOLLOW_EVERY = 0.5
"""Seconds between looks at a job's log."""


class Status(StrEnum):
    """A job's status, as an option."""

    QUEUED = "QUEUED"
    CLAIMED = "CLAIMED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    CANCELED = "CANCELED"


@app.command("list")
def list_(
    status: Annotated[
        list[Status] | None,
        typer.Option(case_sensitive=False, help="Only jobs with this status; may be repeated.", show_default="all"),
    ] = None,
    project: Annotated[str | None, typer.Option(help="Only this project's jobs.", show_default="all")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many jobs.")] = 20,
    json_: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    from antenna_orchestration.cli import job_view
    from antenna_orchestration.domain.job import JobStatus

    async def read(records: Records) -> list[job_view.JobView]:
        statuses = [JobStatus(one.value) for one in status] if status else None
        jobs = await records.catalog.jobs.list(statuses=statuses, project=project, limit=limit)
        return [await job_view.read_view(records, job) for job in jobs]

    views = with_records(read)
    if json_:
        output.as_json([view.as_dict() for view in views])
        return
    rows = [
        (
            view.job.job_id,
            view.job.project,
            view.job.name,
            view.job.pipeline,
            view.job.status,
            view.progress.done,
            view.progress.failed,
            view.job.total,
            view.job.skipped,
            output.ago(view.job.created_at),
        )
        for view in views
    ]
    empty = "no such jobs" if status or project else "no jobs; `antenna submit FOLDER` makes one"
    show_rows(rows, empty=empty)


def show_rows(rows: list[tuple[Any, ...]], *, empty: str) -> None:
    """Print jobs, one line each."""
    output.show_table(
        ("JOB", "PROJECT", "NAME", "PIPELINE", "STATUS", "DONE", "FAILED", "TOTAL", "SKIPPED", "SUBMITTED"),
        rows,
        numbers=("JOB", "DONE", "FAILED", "TOTAL", "SKIPPED"),
        shrinks=("PROJECT", "NAME", "PIPELINE"),
        drops=("SKIPPED", "PIPELINE"),
        empty=empty,
    )


@app.command()
def show(
    job: JobArgument,
    image: Annotated[
        int | None, typer.Option(help="Show the life of this image of the job.", metavar="ID", show_default="none")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show one job, or all that is known of one of its images."""
    from antenna_orchestration.cli import image_view, job_view
    from antenna_orchestration.lake import paths

    if image is not None:
        from antenna_orchestration.processing import image_life

        wanted = _image(job, image)
        life = with_services(lambda services: image_life.read(services, id_of(job), wanted))
        image_view.show(life, as_json=json_)
        return

    async def read(
        records: Records,
    ) -> tuple[job_view.JobView, Terms, list[str], list[LogLine], list[str], list[str], str, str]:
        view = await job_view.read_waiting_view(records, await records.catalog.jobs.get(id_of(job)))
        terms = await records.catalog.generations.terms(view.job.job_run)
        versions = await records.catalog.generations.versions(view.job.job_id)
        acts = await records.catalog.job_log.done_by_somebody(view.job.job_id, limit=MOST_ACTS)
        tables = [
            f"{view.lake}/{paths.table(name, id_of(job))}"
            for name in ("captures", "detections", "classifications", "failed_images")
        ]
        if json_:
            return view, terms, versions, acts, tables, [], "", ""
        derived, report = await job_view.read_derived(records, view), await job_view.read_report(records, view)
        return view, terms, versions, acts, tables, derived, report, await job_view.read_reasons(records, view)

    view, terms, versions, acts, tables, derived, report, reasons = with_records(read)
    if json_:
        bound = {"pipeline_version": terms.version or None, "pipeline_versions": versions, "digest": terms.digest}
        output.as_json({**view.as_dict(), **bound, "acts": [_act_as_dict(one) for one in acts]})
        return
    found = view.job
    values: dict[str, Any] = {
        "job": found.job_id,
        "name": found.name,
        "project": found.project,
        "pipeline": f"{found.pipeline} {' and '.join(versions)}".rstrip(),
        "digest": terms.digest,
        "boxes of": f"job {found.detections_of}" if found.detections_of else None,
        # As `--config` takes it.
        "config": json.dumps(found.config, ensure_ascii=False) if found.config else None,
        "status": f"{found.status}{f' ({found.status_reason})' if found.status_reason else ''}",
        "progress": replace(view.progress, waits="").line,
        "waits for": view.waiting_for or None,
        "why failed": reasons or None,
        "skipped": found.skipped or None,
        "duplicates": found.duplicates or None,
        "detections": view.progress.detections,
        "classifications": view.progress.classifications,
        "priority": "interactive" if found.interactive else found.priority,
        "due": output.clock(found.due_at) if found.due_at else None,
        "dispatch mode": None if found.dispatch_mode is DispatchMode.ASYNC else str(found.dispatch_mode),
        "generation": found.generation if found.generation > 1 else None,
        "sources": ", ".join(found.source_kinds) or None,
        "run": found.run_id,
        "submitted": output.clock(found.created_at) + (f" by {found.created_by}" if found.created_by else ""),
        "started": output.clock(found.started_at) if found.started_at else None,
        "finished": output.clock(found.finished_at) if found.finished_at else None,
        "done by people": [f"{output.clock(one.at)} {one.told}" for one in acts if one.action != "submitted"] or None,
    }
    if found.status.is_terminal and found.compacted and found.total:
        values["tables"] = tables
        values["derived"] = derived or None
        values["report"] = [report] if report else None
    elif view.progress.done or view.progress.failed:
        values["results so far"] = f"`antenna export tables --job {found.job_id} --out FOLDER`"
    output.show_pairs(values)


@app.command()
def watch(job: JobArgument, json_: JsonOption = False) -> None:
    """Show a job's progress until it ends.

    The exit code is 0 for SUCCESS and 1 for FAILURE or CANCELED.
    """
    raise typer.Exit(with_services(lambda services: wait_for(services, id_of(job), as_json=json_)))


@app.command()
def cancel(
    jobs: Annotated[list[int], typer.Argument(metavar="JOB...", help="Numbers of the jobs.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Reason, written to the job's log.")] = "asked for on the command line",
) -> None:
    """Cancel jobs.

    Results so far are kept; `antenna jobs retry` processes the rest.
    """
    from antenna_orchestration.processing import cancel as verb

    async def run(services: Services) -> None:
        over: list[str] = []
        for job in jobs:
            if await verb.cancel(services, id_of(job), reason=reason):
                output.outcome(f"job {job} canceled")
            else:
                current = await services.catalog.jobs.get(id_of(job))
                over.append(f"job {job} is over already: {current.status}")
        if over:
            raise errors.Conflict("; ".join(over))

    with_services(run)


@app.command()
def retry(
    job: JobArgument,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job to end and show its progress.")] = False,
    json_: JsonOption = False,
) -> None:
    """Process a job's failed and missing images again.

    The job must have ended; images that are done are not processed again.
    """
    from antenna_orchestration.cli import job_view
    from antenna_orchestration.processing import retry as verb

    async def run(services: Services) -> int:
        retried = await verb.retry(services, id_of(job))
        for warning in retried.warnings:
            output.warn(warning)
        if wait:
            return await wait_for(services, id_of(job), as_json=json_)
        if json_:
            view = await job_view.read_view(services, await services.catalog.jobs.get(id_of(job)))
            output.outcome_as_json(view.as_dict())
        elif retried.images:
            output.outcome(
                f"job {job} queued again: {counted(retried.images, 'image')} (generation {retried.generation})"
            )
        return 0

    raise typer.Exit(with_services(run))


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines until the job ends.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Print a job's log."""
    from antenna_orchestration.processing import loops

    async def run(records: Records) -> None:
        seen = 0
        while True:
            # Asked before the lines are read, so that the last ones are not missed.
            current = await records.catalog.jobs.get(id_of(job))
            while lines := await records.catalog.job_log.read(id_of(job), after=seen):
                for log_id, entry in lines:
                    seen = log_id
                    _print_log(entry, as_json=json_)
            if not follow or current.status.is_terminal:
                return
            loops.raise_if_cancelled()
            await asyncio.sleep(_FOLLOW_EVERY)

    with_records(run)


async def wait_for(services: Services, job_id: JobId, *, as_json: bool, extra: Mapping[str, Any] | None = None) -> int:
    """Follow a job until it is over and print the outcome; returns the command's exit code."""
    from antenna_orchestration.cli import job_view, watching
    from antenna_orchestration.domain.job import JobStatus

    try:
        with watching.display() as shown:
            view = await watching.follow(services, job_id, shown)
    except asyncio.CancelledError:
        output.note(
            f"job {job_id} goes on; `antenna jobs watch {job_id}` shows it, `antenna jobs cancel {job_id}` ends it"
        )
        raise
    if as_json:
        output.as_json({**view.as_dict(), **(extra or {})})
    else:
        output.line(view.summary)
        if reasons := await job_view.read_reasons(services, view):
            output.note(f"failed: {reasons}")
        if view.progress.done:
            output.note(f"tables: {services.lake.table('detections', job_id)} and its neighbours")
    return 0 if view.job.status is JobStatus.SUCCESS else 1


def _print_log(entry: LogLine, *, as_json: bool) -> None:
    if as_json:
        output.as_json({**_act_as_dict(entry), "level": entry.level, "details": entry.details})
    else:
        output.line(f"{output.clock(entry.at)} {entry.level:7} {entry.told}")


def _act_as_dict(entry: LogLine) -> dict[str, Any]:
    return {"at": entry.at, "action": entry.action, "message": entry.message, "by": entry.by or None}


def _image(job: int, image: int) -> ImageId:
    from antenna_orchestration.domain.ids import ImageId

    if not 0 < image < 2**63:
        raise errors.NotFound(f"job {job} has no image {image}")
    return ImageId(image)


def id_of(job: int) -> JobId:
    """The job of a number. Raises `NotFound` for one that no job can have."""
    from antenna_orchestration.domain.ids import JobId

    if not 0 < job < 2**63:
        raise errors.NotFound(f"there is no job {job}; `antenna jobs list` shows all")
    return JobId(job)
