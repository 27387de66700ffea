"""`antenna jobs delete`: delete jobs for ever, after saying what goes and asking."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.job import TERMINAL, JobStatus
from antenna_orchestration.domain.texts import counted, listed

if TYPE_CHECKING:
    from antenna_orchestration.domain.ids import Generation, JobId
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.upkeep.delete import Planned

_WORD: Final = "delete"
"""What a person types to go on, as for `antenna clean`."""

_SHOWN: Final = 20
"""Jobs that are listed, at most."""


def delete(
    *,
    jobs: Annotated[
        list[int] | None, typer.Argument(metavar="[JOB]...", help="Numbers of the jobs.", show_default=False)
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="In place of numbers: jobs that have been over for so long, such as 180d.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS", help="With --older-than: only jobs that ended so; may be repeated.", show_default="all"
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(metavar="SLUG", help="With --older-than: only this project's jobs.", show_default="all"),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="With --older-than: delete at most this many, the oldest first.")
    ] = 1_000,
    reviews_too: Annotated[
        bool, typer.Option("--reviews-too", help="Delete what people said of the jobs' detections, too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; without a terminal, this is needed.")] = False,
    json_: JsonOption = False,
) -> None:
    """Delete jobs with their results for ever.

    All rows, tables, reports, downloads and runs of the jobs go. Their photographs are not touched, and count as not
    processed where no other job did them. A job that is not over, that people reviewed or whose boxes other jobs
    classified is refused.
    """
    from antenna_orchestration.cli.jobs import id_of
    from antenna_orchestration.domain.times import seconds_of

    if bool(jobs) == (older_than is not None):
        raise errors.InvalidInput("name either jobs or --older-than; `antenna jobs list` shows all")
    if older_than is None and (status or project):
        raise errors.InvalidInput("--status and --project belong to --older-than")
    statuses = [_terminal(one) for one in status or ()] or None
    seconds = None if older_than is None else seconds_of(older_than, "--older-than")
    named = list(dict.fromkeys(id_of(job) for job in jobs or ()))

    async def run(services: Services) -> None:
        chosen, rule = named, seconds is not None
        if seconds is not None:
            chosen = await services.catalog.deletions.older_than(
                seconds, statuses=statuses, project=project, limit=limit
            )
        unfinished = await _unfinished(services, chosen)
        planned, refused = await _planned(services, chosen, unfinished, reviews_too=reviews_too, is_rule=rule)
        _show(planned, unfinished, refused, dry_run=dry_run, json_=json_)
        if dry_run:
            return
        if not (planned or unfinished):
            if json_:
                output.as_json(_as_dict(planned, unfinished, refused))
            return
        if not yes:
            _ask()
        todo = {**dict.fromkeys(unfinished), **{one.rows.job_id: one.rows.generation for one in planned}}
        await _delete(services, todo, reviews_too=reviews_too)
        if json_:
            output.outcome_as_json(_as_dict(planned, unfinished, refused))

    with_services(run)


async def _unfinished(services: Services, jobs: Sequence[JobId]) -> list[JobId]:
    """Jobs whose deletion was interrupted."""
    found = [(job, await services.catalog.deletions.find(job)) for job in jobs]
    return [job for job, one in found if one is not None and one.cleared_at is None]


async def _planned(
    services: Services, jobs: Sequence[JobId], unfinished: Sequence[JobId], *, reviews_too: bool, is_rule: bool
) -> tuple[list[Planned], list[str]]:
    """What would go with each job. Those that a rule chose may be refused; one that was named and is, raises."""
    from antenna_orchestration.upkeep import delete as verb

    goes: list[JobId] = []
    refused: list[str] = []
    # In this order a job that builds on another one comes first.
    for job in sorted(set(jobs) - set(unfinished), reverse=True):
        try:
            if deleted := await services.catalog.deletions.find(job):
                raise errors.NotFound(deleted.said)
            await services.catalog.deletions.check(job, reviews_too=reviews_too, along_with=goes)
            goes.append(job)
        except errors.Conflict as error:
            if not is_rule:
                raise
            refused.append(str(error))
    return [await verb.plan(services, job, reviews_too=reviews_too, along_with=goes) for job in goes], refused


def _show(
    planned: Sequence[Planned], unfinished: Sequence[JobId], refused: Sequence[str], *, dry_run: bool, json_: bool
) -> None:
    """Say what goes: as the answer of a dry run, and otherwise beside it."""
    if dry_run and json_:
        output.as_json(_as_dict(planned, unfinished, refused))
        return
    for line in refused[:_SHOWN]:
        output.note(f"stays: {line}")
    if len(refused) > _SHOWN:
        output.note(f"stays: {counted(len(refused) - _SHOWN, 'more job')}")
    for job in unfinished:
        output.note(f"job {job} is deleted; what was left of it is cleared")
    rows = [
        (
            one.rows.job_id,
            one.rows.project,
            one.rows.name,
            one.rows.status,
            one.rows.images,
            one.rows.reviews,
            one.files.files,
            output.size(one.files.bytes),
        )
        for one in planned[:_SHOWN]
    ]
    if not rows:
        if not unfinished:
            output.note("no such jobs")
        return
    output.show_table(
        ("JOB", "PROJECT", "NAME", "STATUS", "IMAGES", "REVIEWS", "FILES", "SIZE"),
        rows,
        numbers=("JOB", "IMAGES", "REVIEWS", "FILES", "SIZE"),
        shrinks=("PROJECT", "NAME"),
        drops=("REVIEWS",),
        to_stderr=not dry_run,
    )
    tell = output.line if dry_run else output.note
    if len(planned) > _SHOWN:
        tell(f"and {counted(len(planned) - _SHOWN, 'more job')}")
    from antenna_orchestration.upkeep import delete as verb

    all_ = verb.told(planned)
    tell(
        f"{counted(all_['jobs'], 'job')} with {counted(all_['images'], 'row')} of images, "
        f"{counted(all_['log_lines'], 'line')} of logs, {counted(all_['reviews'], 'review')} and "
        f"{counted(all_['files'], 'file')}, {output.size(all_['bytes'])}; "
        f"{counted(all_['unprocessed'], 'image counts', 'images count')} as not processed then"
    )


def _ask() -> None:
    if not sys.stdin.isatty():
        raise errors.InvalidInput("nothing was deleted: nobody is there to ask; --yes deletes without asking")
    if typer.prompt(f"Type {_WORD} to delete this for ever", default="", show_default=False, err=True) != _WORD:
        raise errors.InvalidInput("nothing was deleted")


async def _delete(services: Services, jobs: Mapping[JobId, Generation | None], *, reviews_too: bool) -> None:
    """Delete jobs as they were in these generations. One that cannot go any more ends it; those before it are gone."""
    from antenna_orchestration.kernel import user_of_this_process
    from antenna_orchestration.upkeep import delete as verb

    by = user_of_this_process()
    gone: list[JobId] = []
    for job, generation in jobs.items():
        try:
            await verb.delete(services, job, by=by, reviews_too=reviews_too, generation=generation)
        except errors.AntennaError:
            if gone:
                await _complete(services, gone)
            raise
        gone.append(job)
    await _complete(services, gone)


async def _complete(services: Services, jobs: Sequence[JobId]) -> None:
    from antenna_orchestration.embedded import environment
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.settings import find_home
    from antenna_orchestration.upkeep import delete as verb

    for project in await verb.bring_up_to_date(services, jobs):
        output.note(f"the tables of project {project} held them: derived anew, or deleted if no job is left")
    variables = environment.read(Home(find_home()))
    await _forget_in_dagster(services, variables, jobs)
    output.outcome(f"deleted {'job' if len(jobs) == 1 else 'jobs'} {listed([str(job) for job in jobs], 10)}")


async def _forget_in_dagster(services: Services, variables: dict[str, str], jobs: Sequence[JobId]) -> None:
    # Dagster takes a second to import.
    from antenna_orchestration.resources import deleted_jobs

    later = "the health check deletes what Dagster has of the jobs, within a quarter of an hour"
    with deleted_jobs.instance_at_hand(variables) as instance:
        if instance is None:
            output.note(f"Dagster is not at hand here (DAGSTER_HOME): {later}")
            return
        forgotten = await deleted_jobs.forget_these(services, instance, jobs)
    if len(forgotten) < len(jobs):
        output.note(f"{counted(len(jobs) - len(forgotten), 'job has', 'jobs have')} runs that are not over: {later}")


def _as_dict(planned: Sequence[Planned], unfinished: Sequence[JobId], refused: Sequence[str]) -> dict[str, object]:
    from antenna_orchestration.upkeep import delete as verb

    of_each = [
        {**asdict(one.rows), "folders": {name: held._asdict() for name, held in one.folders.items()}} for one in planned
    ]
    return {**verb.told(planned), "of_each": of_each, "unfinished": list(unfinished), "refused": list(refused)}


def _terminal(text: str) -> JobStatus:
    names = [str(one) for one in TERMINAL]
    if text.upper() not in names:
        raise errors.InvalidInput(f"--status {text}: must be one of {', '.join(sorted(names))}")
    return JobStatus(text.upper())
