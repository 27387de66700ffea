"""`antenna taxa`: what labels stand for, and species lists; import, use, list, show, unmatched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services, with_services_making
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from antenna_orchestration.answers.names import Match

app = typer.Typer(
    help="Say what labels stand for, and which species may be there.", no_args_is_help=True, rich_markup_mode=None
)

ProjectOption = Annotated[str, typer.Option(help="Project of the names.")]


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file of names.", show_default=False)],
    *,
    project: ProjectOption = "default",
    name: Annotated[
        str | None,
        typer.Option(help="Make a species list of that name of the file, instead.", show_default="name labels"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Name labels, or make a species list with --name.

    FILE is a table with the column label or scientificName, and taxonRank, kingdom to genus, taxonID, vernacularName,
    finest_rank; or a species list as GBIF sends it, also as its zip; or a category map in JSON with the ranks. A
    species list may also be text with one name a line. Nothing is half imported, and importing again replaces what was
    known of the same labels.
    """
    from antenna_orchestration.answers import names
    from antenna_orchestration.answers.named_files import content_of
    from antenna_orchestration.kernel import user_of_this_process

    data = content_of(file, names.MOST_BYTES)
    by = user_of_this_process()
    if name is None:
        done = with_services_making(
            project, lambda services: names.import_taxa(services, project, data, str(file), by=by)
        )
    else:
        done = with_services_making(
            project, lambda services: names.import_list(services, project, name, data, str(file), by=by)
        )
    if json_:
        output.outcome_as_json(names.imported_as_dict(done))
        return
    output.outcome(done.summary)
    _say_matches(done.matches)
    for line in done.hints:
        output.note(line)


@app.command()
def use(
    name: Annotated[
        str | None, typer.Argument(metavar="[LIST]", help="The species list; --none for none.", show_default=False)
    ] = None,
    *,
    none: Annotated[bool, typer.Option("--none", help="Let no list hold there any more.")] = False,
    project: ProjectOption = "default",
    deployment: Annotated[
        str | None,
        typer.Option(help="Only for this deployment, instead of the project's list.", show_default="the project"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Let a species list hold for a project, or for one deployment.

    When tables are derived next, only classes that the list keeps compete there.
    """
    from antenna_orchestration.answers import names

    if (name is None) != none:
        raise errors.InvalidInput("name either a species list or --none; `antenna taxa list` shows the lists")
    found = with_services(lambda services: names.use_list(services, project, name, deployment=deployment))
    where = f"deployment {deployment} of project {project}" if deployment else f"project {project}"
    if json_:
        matches = [names.match_as_dict(one) for one in found]
        output.outcome_as_json({"project": project, "deployment": deployment, "species_list": name, "matches": matches})
        return
    output.outcome(f"species list {name!r} holds for {where}" if name else f"no species list holds for {where}")
    _say_matches(found)


@app.command("list")
def list_(
    *,
    project: ProjectOption = "default",
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many labels; 0: all.")] = 50,
    json_: JsonOption = False,
) -> None:
    """List species lists, and labels with their names."""
    from antenna_orchestration.answers import names

    known = with_services(lambda services: names.known(services, project, limit=limit or None))
    shown = known.taxa.items()
    if json_:
        output.as_json(
            {
                "project": project,
                "species_lists": [names.list_as_dict(one) for one in known.species_lists],
                "count": known.count,
                "taxa": [taxon.as_data(label) for label, taxon in shown],
            }
        )
        return
    if known.species_lists:
        lists = [
            (one.name, f"{one.count:,}", ", ".join(names.holds_for(one)) or "nowhere yet", output.ago(one.imported_at))
            for one in known.species_lists
        ]
        output.show_table(
            ("SPECIES LIST", "NAMES", "HOLDS FOR", "IMPORTED"), lists, shrinks=("SPECIES LIST",), wraps=("HOLDS FOR",)
        )
        output.line()
    rows = [
        (label, taxon.name if taxon.name != label else "=", taxon.rank, taxon.lineage.get("family", ""))
        for label, taxon in shown
    ]
    output.show_table(
        ("LABEL", "NAME", "RANK", "FAMILY"),
        rows,
        shrinks=("LABEL", "NAME", "FAMILY"),
        empty="no names; `antenna taxa import FILE` brings some",
    )
    if len(shown) < known.count:
        output.note(f"{len(shown):,} of {known.count:,} labels; --limit 0 shows all")


@app.command()
def show(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="A label, or a name.", show_default=False)],
    *,
    project: ProjectOption = "default",
    json_: JsonOption = False,
) -> None:
    """Show what a label stands for, and which species lists keep it."""
    from antenna_orchestration.answers import names

    found = with_services(lambda services: names.show(services, project, label))
    if json_:
        output.as_json(
            {
                **found.taxon.as_data(found.label),
                "classifiers": list(found.classifiers),
                "kept_by": dict(found.keeps),
            }
        )
        return
    taxon = found.taxon
    output.show_pairs(
        {
            "label": found.label,
            "name": taxon.name,
            "rank": taxon.rank,
            **{rank: name for rank, name in taxon.lineage.items() if rank != taxon.rank},
            "taxon id": taxon.taxon_id,
            "called": taxon.vernacular,
            "never finer than": taxon.finest_rank,
            "classifiers": list(found.classifiers) or None,
            "kept by": [name for name, keeps in found.keeps.items() if keeps] or None,
            "masked by": [name for name, keeps in found.keeps.items() if not keeps] or None,
        }
    )


@app.command()
def unmatched(
    *,
    project: ProjectOption = "default",
    pipeline: Annotated[
        str | None, typer.Option(help="Only this pipeline.", show_default="those of the project")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List labels of the project's pipelines without a name."""
    from antenna_orchestration.answers import names

    found = with_services(lambda services: names.unmatched_labels(services, project, pipeline=pipeline))
    if json_:
        output.as_json([names.match_as_dict(one) for one in found])
        return
    rows = [(one.pipeline, one.algorithm.key, label) for one in found for label in one.unmatched]
    if rows:
        output.show_table(("PIPELINE", "CLASSIFIER", "LABEL"), rows, shrinks=("PIPELINE", "CLASSIFIER", "LABEL"))
    _say_matches(found, to_stderr=True)
    if not found:
        output.note("the project has used no pipeline with a classifier yet; --pipeline names one")


def _say_matches(found: Sequence[Match], *, to_stderr: bool = False) -> None:
    for match in found:
        (output.note if to_stderr else output.outcome)(f"  {match.line}" if not to_stderr else match.line)
