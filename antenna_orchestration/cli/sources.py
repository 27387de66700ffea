"""`antenna sources`: folders, buckets and lists whose new photographs are submitted by themselves; add, list, pause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services, with_services_making
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.cli.submit import parse_config
from antenna_orchestration.domain.progress import duration

app = typer.Typer(
    help="Watch folders, buckets and lists, and submit what is new.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

SourceArgument = Annotated[
    int, typer.Argument(metavar="SOURCE", help="Number of the source, as `list` shows it.", show_default=False)
]


@app.command()
def add(
    *,
    uri: Annotated[
        str,
        typer.Option(
            metavar="LOCATION", help="Folder, s3://bucket/prefix, or the address of a list.", show_default=False
        ),
    ],
    deployment: Annotated[
        str, typer.Option(help="Deployment (camera site) whose photographs these are.", show_default=False)
    ],
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="SLUG", help="Pipeline to run; see `antenna pipelines list`.", show_default="the built-in one"
        ),
    ] = None,
    project: Annotated[str, typer.Option(metavar="SLUG", help="Project of the photographs.")] = "default",
    pattern: Annotated[
        str,
        typer.Option(
            metavar="PATTERN",
            help="Take only names like this: '*.jpg' of files, 'pond*/*.jpg' of paths below.",
            show_default="all photographs",
        ),
    ] = "",
    settle: Annotated[
        str, typer.Option(metavar="TIME", help="A file is at rest when it has not changed for so long.")
    ] = "10m",
    every: Annotated[
        str, typer.Option(metavar="TIME", help="How often to look, such as 30s, 5m, 6h or 1d.", show_default="5m")
    ] = "",
    cron: Annotated[
        str,
        typer.Option(
            metavar="CRON",
            help="When to look, in place of --every: '0 7 * * *' is each day at 7:00 where the deployment is.",
            show_default=False,
        ),
    ] = "",
    config: Annotated[
        str, typer.Option(metavar="JSON", help="Pipeline settings to change, such as '{\"min_score\": 0.5}'.")
    ] = "{}",
    json_: JsonOption = False,
) -> None:
    """Begin to watch a folder, a bucket, or a list on the web.

    Photographs in it, and those that come, are submitted as soon as they are at rest: one job for each night of the
    deployment, and a further one for what comes later. The same bytes under another name are not processed again.
    """
    values = parse_config(config)

    from antenna_orchestration.pipelines import registry
    from antenna_orchestration.processing import watched_sources

    number = with_services_making(
        project,
        lambda services: watched_sources.add_source(
            services,
            project=project,
            deployment=deployment,
            uri=uri,
            pipeline=registry.DEFAULT_PIPELINE if pipeline is None else pipeline,
            pattern=pattern,
            settle=settle,
            every=every,
            cron=cron,
            config=values,
        ),
    )
    if json_:
        output.outcome_as_json({"source_id": number, "project": project, "deployment": deployment})
        return
    output.outcome(f"source {number} is watched for deployment {deployment}")
    output.note("`antenna sources list` says what was found, and what it waits for")


@app.command("list")
def list_(
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only of this project.", show_default="all")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List watched sources, and what each waits for.

    Files that were found are submitted, duplicates of what was submitted, or wait as the state says.
    """
    from antenna_orchestration.processing import watched_sources

    found = with_services(lambda services: watched_sources.list_sources(services, project))
    now = datetime.now(UTC)
    if json_:
        output.as_json([watched_sources.as_dict(one, now) for one in found])
        return
    output.show_table(
        ("SOURCE", "DEPLOYMENT", "FOUND", "SUBMITTED", "DUPLICATES", "LOOKED", "STATE"),
        [
            (
                one.source_id,
                one.deployment,
                one.found,
                one.submitted,
                one.duplicates,
                output.ago(one.looked_at) or "not yet",
                "; ".join(watched_sources.standing(one, now)),
            )
            for one in found
        ],
        numbers=("SOURCE", "FOUND", "SUBMITTED", "DUPLICATES"),
        shrinks=("DEPLOYMENT",),
        wraps=("STATE",),
        drops=("LOOKED",),
        empty="no source is watched; `antenna sources add` begins to",
    )


@app.command()
def show(source: SourceArgument, *, json_: JsonOption = False) -> None:
    """Show all that is known of a source."""
    from antenna_orchestration.processing import watched_sources

    one = with_services(lambda services: watched_sources.show_source(services, source))
    now = datetime.now(UTC)
    if json_:
        output.as_json(watched_sources.as_dict(one, now))
        return
    output.show_pairs(
        {
            "source": one.source_id,
            "deployment": one.deployment,
            "project": one.project,
            "location": [watched_sources.location(one.uri)],
            "pattern": one.pattern or None,
            "pipeline": one.pipeline,
            "settings": [f"{key}: {value}" for key, value in one.config.items()] or None,
            "looks": f"{watched_sources.looks(one)}; a file is at rest after {duration(one.settle_seconds)}",
            "added": f"{output.clock(one.created_at)} by {one.created_by}",
            "looked": output.ago(one.looked_at) or "not yet",
            "found": one.found,
            "submitted": one.submitted,
            "duplicates": one.duplicates,
            "left out": one.left_out or None,
            "jobs": f"{one.jobs}, the last is {one.last_job}" if one.last_job else 0,
            "state": watched_sources.standing(one, now),
        }
    )


@app.command()
def pause(source: SourceArgument) -> None:
    """Look no more until `resume`. Jobs that are there go on."""
    with_services(lambda services: services.catalog.sources.pause(source))
    output.outcome(f"source {source} is paused; `antenna sources resume {source}` goes on")


@app.command()
def resume(source: SourceArgument) -> None:
    """Look again, at once; also at a source that could not be listed."""
    with_services(lambda services: services.catalog.sources.resume(source))
    output.outcome(f"source {source} is looked at again")


@app.command()
def remove(source: SourceArgument) -> None:
    """Watch a source no more, and forget what was found in it. Its photographs, jobs and results stay."""
    with_services(lambda services: services.catalog.sources.remove(source))
    output.outcome(f"source {source} is not watched any more; its jobs and results stay")
