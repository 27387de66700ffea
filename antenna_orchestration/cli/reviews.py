"""`antenna reviews`: import what people say detections are, and list it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.jobs import id_of
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.catalog.reviews import StoredReview

app = typer.Typer(
    help="Import what people say detections are, and compare it.", no_args_is_help=True, rich_markup_mode=None
)

_WORDS = 5
"""Words without a name that are listed; `--out` and `--json` have all."""


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Label Studio's export as JSON, or a CSV file with the columns detection_id, label, and if you like "
            "reviewer and reviewed_at.",
            show_default=False,
        ),
    ],
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Take reviews of this project only.", show_default="any")
    ] = None,
    job: Annotated[
        int | None,
        typer.Option(help="Job of the detections, for ids such as 1007-0 that do not name it.", show_default="none"),
    ] = None,
    reviewer: Annotated[
        str, typer.Option(metavar="NAME", help="Who it was, where the file does not say.", show_default="nobody")
    ] = "",
    json_: JsonOption = False,
) -> None:
    """Import reviews; all of the file, or nothing.

    Reviews are added and never replaced: of each detection the newest one counts. The same file again adds nothing.
    """
    from antenna_orchestration.answers import reviews as verb
    from antenna_orchestration.answers.named_files import content_of
    from antenna_orchestration.kernel import user_of_this_process

    content = content_of(file, verb.MOST_BYTES)
    imported = with_services(
        lambda services: verb.import_file(
            services,
            content,
            name=str(file),
            project=project,
            job=None if job is None else id_of(job),
            reviewer=reviewer,
            imported_by=user_of_this_process(),
        )
    )
    if json_:
        output.outcome_as_json(
            {
                "reviews": imported.reviews,
                "added": imported.added,
                "projects": list(imported.projects),
                "notes": list(imported.notes),
            }
        )
        return
    for note in imported.notes:
        output.note(note)
    output.outcome(f"{counted(imported.added, 'review')} added, {imported.reviews - imported.added:,} known before")
    if imported.added:
        tables = " and ".join(f"`antenna tables --project {one}`" for one in imported.projects)
        output.note(f"{tables} derives the tables with them")


@app.command("withdraw")
def withdraw(
    detections: Annotated[
        list[str],
        typer.Argument(metavar="DETECTION…", help="Ids as `antenna reviews list` shows them.", show_default=False),
    ],
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only reviews of this project.", show_default="any")
    ] = None,
    job: Annotated[
        int | None,
        typer.Option(help="Job of the detections, for ids such as 1007-0 that do not name it.", show_default="none"),
    ] = None,
    reviewer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Whose word to take back.", show_default="who said the word that counts"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Take back what somebody said of detections by mistake.

    Of all that are named, or of none. What others said of them counts then. Nothing is deleted: the list shows what
    was withdrawn.
    """
    from antenna_orchestration.answers import reviews as verb
    from antenna_orchestration.kernel import user_of_this_process

    found = with_services(
        lambda services: verb.withdraw(
            services,
            detections,
            project=project,
            job=None if job is None else id_of(job),
            reviewer=reviewer,
            by=user_of_this_process(),
        )
    )
    if json_:
        output.outcome_as_json([_as_data(one) for one in found])
        return
    for one in found:
        whose = f", which {one.reviewer} said" if one.reviewer else ""
        output.outcome(f"{_observation(one)} is no longer {one.label}{whose}")
    for each in sorted({one.project for one in found}):
        output.note(f"`antenna tables --project {each}` derives the tables without it")


@app.command("list")
def list_(
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only this project's reviews.", show_default="all")
    ] = None,
    job: Annotated[int | None, typer.Option(help="Only reviews of this job.", show_default="all")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many reviews.")] = 20,
    json_: JsonOption = False,
) -> None:
    """List reviews, the latest first."""
    from antenna_orchestration.answers import reviews as verb

    wanted = None if job is None else id_of(job)
    found = with_services(lambda services: verb.list_reviews(services, project=project, job=wanted, limit=limit))
    if json_:
        output.as_json([{**_as_data(one), "withdrawn": one.withdrawn} for one in found])
        return
    output.show_table(
        ("DETECTION", "LABEL", "REVIEWER", "REVIEWED", "PROJECT"),
        [
            (
                _observation(one),
                f"{one.label} (withdrawn)" if one.withdrawn else one.label,
                one.reviewer,
                output.clock(one.reviewed_at),
                one.project,
            )
            for one in found
        ],
        shrinks=("LABEL", "REVIEWER", "PROJECT"),
        drops=("PROJECT",),
        empty="no such reviews" if project or job else "no reviews; `antenna reviews import FILE` adds some",
    )


@app.command("agreement")
def agreement(
    *,
    project: Annotated[
        str, typer.Option(metavar="SLUG", help="Project whose derived observations are compared.")
    ] = "default",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the tables as CSV files and a plot into this folder.", show_default="none"
        ),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Compare what people said with what classifiers said.

    The shares hold for the detections that were reviewed; docs/howto/review.md tells what they do not say.
    """
    from antenna_orchestration.answers import agreement as verb

    compared = with_services(lambda services: verb.compare(services, project))
    files = [] if out is None else verb.write(compared, out, title=f"project {project}")
    tables = compared.agreement
    if json_:
        output.as_json(
            {
                "reviewed": compared.reviewed,
                "missing": compared.missing,
                **{name: verb.records(table) for name, table in tables._asdict().items()},
                "files": list(map(str, files)),
            }
        )
        return
    for keys, labels in tables.labels.groupby(["pipeline", "classifier", "classifier_version"], sort=True):
        pipeline, classifier, version = keys
        output.line(f"{pipeline}: {classifier} {version}")
        output.show_table(
            ("LABEL", "REVIEWED", "AGREED", "UNDECIDED", "NO ANIMAL", "OTHER", "SHARE", "95 %"),
            [
                (row.label, row.reviewed, row.agreed, row.coarser + row.unknown, row.rejected, row.other, *_share(row))
                for row in labels.itertuples()
            ],
            numbers=("REVIEWED", "AGREED", "UNDECIDED", "NO ANIMAL", "OTHER", "SHARE"),
            shrinks=("LABEL",),
        )
        output.line()
    for row in tables.boxes.itertuples():
        share, interval = _share(row)
        output.line(
            f"{row.pipeline}: {row.animals:,} of {counted(row.reviewed, 'box', 'boxes')} of {row.detector} "
            f"{row.detector_version} show animals: {share} ({interval})"
        )
    if words := list(tables.unknown["label"]):
        rest = f" and {len(words) - _WORDS:,} more" if len(words) > _WORDS else ""
        output.note(
            f"no class, and no name of project {project}: {', '.join(words[:_WORDS])}{rest}; "
            "`antenna taxa import` adds names"
        )
    if compared.missing:
        output.note(
            f"{counted(compared.missing, 'reviewed detection')} not in the tables: a later job replaced its results, "
            f"or `antenna tables --project {project}` has not derived them"
        )
    for file in files:
        output.note(f"wrote {file}")


def _as_data(review: StoredReview) -> dict[str, Any]:
    return {
        "project": review.project,
        "job_id": review.job_id,
        "detection_id": review.detection_id,
        "observation_id": _observation(review),
        "label": review.label,
        "reviewer": review.reviewer or None,
        "reviewed_at": review.reviewed_at,
        "imported_by": review.imported_by or None,
        "imported_at": review.imported_at,
    }


def _observation(review: StoredReview) -> str:
    from antenna_orchestration.ecology.reviews import observation_id

    return observation_id(review.job_id, review.detection_id)


def _share(row: Any) -> tuple[str, str]:
    """A share and its interval; a dash where there is none."""
    if row.share != row.share:
        return "-", "-"
    return f"{row.share:.2f}", f"{row.low:.2f} to {row.high:.2f}"
