"""`antenna report`: a page for people about the results of a job or a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.answers.export import Exported
    from antenna_orchestration.answers.html_report import Written
    from antenna_orchestration.processing.services import Services


def report(
    *,
    job: Annotated[int | None, typer.Option(metavar="N", help="Number of a job.", show_default="none")] = None,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="All finished jobs of this project.", show_default="none")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The file to write, or s3://….", show_default="report.html in the lake"),
    ] = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="With crops and photographs, or without.")
    ] = True,
    replace: Annotated[bool, typer.Option("--replace", help="Replace an earlier report in the same file.")] = False,
    json_: JsonOption = False,
) -> None:
    """Write a page about results: plots, pictures, how sure.

    It is one HTML file, which needs no network: open it in a browser, mail it, or print it. Without --out it is
    written into the lake, where it replaces an earlier one, and from where the gateway serves it.
    """
    if (job is None) == (project is None):
        raise errors.InvalidInput("name either a job with --job or a project with --project")
    if out is None:
        _show(_in_lake(job, project, pictures), json_)
    else:
        _show(_at(out, job, project, pictures, replace), json_)


def _in_lake(job: int | None, project: str | None, pictures: bool) -> dict[str, Any]:
    from antenna_orchestration.answers import html_report
    from antenna_orchestration.domain.ids import JobId

    async def run(services: Services) -> Written:
        return await html_report.write(
            services, job=None if job is None else JobId(job), project=project, pictures=pictures
        )

    made = with_services(run)
    counts = {"photographs": made.page.photographs, "plots": len(made.page.plots), "crops": made.page.crops}
    return {"uri": made.uri, "complete": made.is_complete, "counts": counts, "notes": list(made.page.notes)}


def _at(out: str, job: int | None, project: str | None, pictures: bool, replace: bool) -> dict[str, Any]:
    from antenna_orchestration.answers import export as verb
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.exports.report import page
    from antenna_orchestration.exports.selection import Selection

    order = verb.order(
        page.FORMAT,
        Selection(project=project, jobs=() if job is None else (JobId(job),)),
        out=out,
        options={"pictures": "yes" if pictures else "no"},
        replace=replace,
    )

    async def run(services: Services) -> Exported:
        return await verb.export(services, order)

    made = with_services(run)
    notes = list(made.written.notes)
    return {"uri": made.uri, "complete": made.is_complete, "counts": dict(made.written.counts), "notes": notes}


def _show(made: dict[str, Any], json_: bool) -> None:
    from antenna_orchestration.exports.formats import in_words

    if json_:
        output.outcome_as_json(made)
        return
    output.outcome(f"{made['uri']}: {in_words(made['counts'])}")
    if not made["complete"]:
        output.warn("not all jobs are over: these are the results so far")
    for note in made["notes"]:
        output.warn(note)
