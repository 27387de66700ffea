"""`antenna deployments`: where and in which time zone cameras stood; import, list, show, set, shift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services, with_services_making
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.answers.deployments import Known
    from antenna_orchestration.catalog.deployments import ClockShift, DeploymentChange
    from antenna_orchestration.processing.services import Services

app = typer.Typer(help="Say where and in which time zone cameras stood.", no_args_is_help=True, rich_markup_mode=None)

ProjectOption = Annotated[str, typer.Option(help="Project of the deployments.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the deployment.", show_default=False)]

MOST_CHANGES = 10
"""Changes shown of one deployment, the newest ones."""

_SAME = "unchanged"


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file such as sites.csv.", show_default=False)],
    *,
    project: ProjectOption = "default",
    json_: JsonOption = False,
) -> None:
    """Describe deployments as a CSV file says, all or nothing.

    The column deployment is needed. These are known: latitude, longitude, coordinateUncertainty (m), timezone (such as
    Europe/Copenhagen, or +01:00 for a camera without summer time), clock (local or UTC: what the stamps of the
    photographs show), deploymentStart, deploymentEnd, locationName, countryCode, pixels_per_mm. Any other is kept as it
    is. Importing again replaces what the file says; an empty cell takes a value back.
    """
    from antenna_orchestration.answers import deployments
    from antenna_orchestration.answers.named_files import content_of

    data = content_of(file, deployments.MOST_BYTES)
    done = with_services_making(project, lambda services: deployments.import_file(services, project, data, str(file)))
    for warning in done.warnings:
        output.warn(warning)
    if json_:
        output.outcome_as_json(
            {
                "project": done.project,
                "described": [place.deployment for place in done.places],
                "created": list(done.created),
                "without_photographs": list(done.without_photographs),
                "warnings": done.warnings,
            }
        )
    else:
        output.outcome(done.summary)
        if len(done.without_photographs) < len(done.places):
            output.note(_derive_again(project))


@app.command("list")
def list_(*, project: ProjectOption = "default", json_: JsonOption = False) -> None:
    """List a project's deployments.

    A submission or an import that names one makes it.
    """
    from antenna_orchestration.answers import deployments
    from antenna_orchestration.ecology.places import about_unknown_zones
    from antenna_orchestration.processing import watched_sources

    async def listed(services: Services) -> tuple[Sequence[Known], list[str]]:
        return await deployments.list_deployments(services, project), await watched_sources.troubles(services, project)

    found, troubles = with_services(listed)
    for line in troubles:
        output.warn(line)
    if line := about_unknown_zones([one.place for one in found], project):
        output.warn(line)
    if json_:
        output.as_json([deployments.as_dict(one) for one in found])
        return
    output.show_table(
        ("DEPLOYMENT", "POSITION", "TIME ZONE", "CLOCK", "SHIFT", "PHOTOGRAPHS"),
        [
            (
                one.place.deployment,
                _position(one),
                one.place.time_zone or "not known",
                _clock(one),
                _shift(one.place.shift_seconds),
                one.photographs.count if one.photographs else 0,
            )
            for one in found
        ],
        numbers=("PHOTOGRAPHS",),
        shrinks=("DEPLOYMENT",),
        drops=("POSITION", "CLOCK"),
        empty=f"project {project} has no deployments; `antenna deployments import sites.csv` describes them",
    )


@app.command()
def show(name: NameArgument, *, project: ProjectOption = "default", json_: JsonOption = False) -> None:
    """Show what is known of a deployment, and how its clock was shifted."""
    from antenna_orchestration.answers import deployments

    async def found(
        services: Services,
    ) -> tuple[Known, Sequence[ClockShift], Sequence[Mapping[str, str]], Sequence[DeploymentChange]]:
        known, shifts = await deployments.show(services, project, name)
        former = await deployments.former_names(services, project, name)
        return known, shifts, former, await services.catalog.deployments.changes(project, name, limit=MOST_CHANGES)

    known, shifts, former, changes = with_services(found)
    if json_:
        shifts_ = [_shift_as_dict(one) for one in shifts]
        changes_ = [{"at": one.at, "by": one.by, "changes": one.changes} for one in changes]
        shown = {**deployments.as_dict(known), "shifts": shifts_, "former_names": former, "changes": changes_}
        output.as_json(shown)
        return
    place, photographs = known.place, known.photographs
    output.show_pairs(
        {
            "deployment": place.deployment,
            "project": project,
            "formerly": [one["name"] for one in former] or None,
            "position": _position(known) or "not known",
            "uncertainty": f"{place.uncertainty_m:g} m" if place.uncertainty_m else None,
            "time zone": place.time_zone or "not known",
            "clock": _clock(known),
            "shift": _shift(place.shift_seconds) or None,
            "start": str(place.starts_at) if place.starts_at else None,
            "end": str(place.ends_at) if place.ends_at else None,
            "location": place.location_name,
            "country": place.country_code,
            "pixels per mm": f"{place.pixels_per_mm:g}" if place.pixels_per_mm else None,
            "species list": place.species_list,
            "further": [f"{column}: {text}" for column, text in place.further.items()] or None,
            "photographs": photographs.count if photographs else 0,
            "shifts": [_shift_line(one) for one in shifts] or None,
            "changes": [_change_line(one) for one in changes] or None,
        }
    )


@app.command("set")
def set_(
    name: NameArgument,
    *,
    project: ProjectOption = "default",
    latitude: Annotated[str | None, typer.Option(help="Degrees north, WGS 84.", show_default=_SAME)] = None,
    longitude: Annotated[str | None, typer.Option(help="Degrees east.", show_default=_SAME)] = None,
    uncertainty: Annotated[str | None, typer.Option(help="Of the position, in metres.", show_default=_SAME)] = None,
    time_zone: Annotated[
        str | None,
        typer.Option(help="Such as Europe/Copenhagen, or +01:00 all year round.", show_default=_SAME),
    ] = None,
    clock: Annotated[
        str | None, typer.Option(help="What the photographs' stamps show: local or UTC.", show_default=_SAME)
    ] = None,
    start: Annotated[str | None, typer.Option(help="First local time that counts.", show_default=_SAME)] = None,
    end: Annotated[str | None, typer.Option(help="Last local time that counts.", show_default=_SAME)] = None,
    location_name: Annotated[str | None, typer.Option(help="What people call the place.", show_default=_SAME)] = None,
    country_code: Annotated[str | None, typer.Option(help="Two letters, such as DK.", show_default=_SAME)] = None,
    pixels_per_mm: Annotated[
        str | None, typer.Option(help="Scale of the photographs, for lengths in mm.", show_default=_SAME)
    ] = None,
    shift: Annotated[
        str | None,
        typer.Option(
            help="The clock was wrong: how much later it should have been, such as +1h, -12h30m or +8257d. Shifts add "
            "up.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why the clock is shifted, for people.", show_default=False)] = "",
    undo_shift: Annotated[bool, typer.Option("--undo-shift", help="Undo the newest shift that holds.")] = False,
) -> None:
    """Set single values, or shift a clock that was wrong.

    An empty text ('') takes a value back. The tables of results that are there stay as they are; what is derived from
    them uses the new values once it is made again.
    """
    given = {
        "latitude": latitude,
        "longitude": longitude,
        "uncertainty_m": uncertainty,
        "time_zone": time_zone,
        "clock": clock,
        "starts_at": start,
        "ends_at": end,
        "location_name": location_name,
        "country_code": country_code,
        "pixels_per_mm": pixels_per_mm,
    }
    values = {field: text for field, text in given.items() if text is not None}
    if not values and shift is None and not undo_shift:
        raise errors.InvalidInput("nothing to set: name at least one option, such as --time-zone or --shift")
    if shift is not None and undo_shift:
        raise errors.InvalidInput("--shift and --undo-shift exclude each other: name only one")
    if reason and shift is None:
        raise errors.InvalidInput("--reason says why the clock is shifted: name --shift, too")
    for line in with_services(
        lambda services: _set(services, project, name, values, shift=shift, reason=reason, undo_shift=undo_shift)
    ):
        output.outcome(line)
    output.note(_derive_again(project))


@app.command()
def rename(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Name that the deployment has.", show_default=False)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Name that it gets.", show_default=False)],
    *,
    project: ProjectOption = "default",
) -> None:
    """Give a deployment another name.

    Its photographs and what is known of it come along.

    Refused if there is a deployment of that name. Tables of jobs that are over keep the name that they have; what is
    derived from them has the new one once it is made again, without inference.
    """
    from antenna_orchestration.answers import deployments
    from antenna_orchestration.kernel import user_of_this_process

    with_services(lambda services: deployments.rename(services, project, old, new, by=user_of_this_process()))
    output.outcome(f"deployment {old} of project {project} is now {new}")
    output.note(_derive_again(project))


def _derive_again(project: str) -> str:
    return f"tables that were derived use it after `antenna tables --project {project}`"


async def _set(
    services: Services,
    project: str,
    name: str,
    values: dict[str, str],
    *,
    shift: str | None,
    reason: str,
    undo_shift: bool,
) -> list[str]:
    from antenna_orchestration.answers import deployments
    from antenna_orchestration.kernel import user_of_this_process

    by = user_of_this_process()
    lines = []
    if shift is not None:
        # Before anything is written.
        deployments.check_shift(shift, reason)
    if values:
        place = await deployments.set_values(services, project, name, values)
        for line in deployments.about_places([place], project):
            output.warn(line)
        lines.append(f"deployment {name} is set")
    if shift is not None:
        total = await deployments.shift(services, project, name, shift, reason=reason, by=by)
        lines.append(f"the clock of {name} is shifted by {_shift(total)} in all; --undo-shift undoes it")
    if undo_shift:
        undone, left = await deployments.undo_shift(services, project, name, by=by)
        lines.append(f"the shift of {_shift(undone)} is undone; {_shift(left) if left else 'none'} is left")
    return lines


def _position(known: Known) -> str:
    place = known.place
    return "" if place.latitude is None else f"{place.latitude:.5g}, {place.longitude:.6g}"


def _clock(known: Known) -> str:
    return "UTC" if known.place.clock == "utc" else "local"


def _shift(seconds: int) -> str:
    """A shift as people write it, such as `-1d2h`; empty for none."""
    rest, parts = abs(seconds), ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        parts += f"{count}{unit}" if count else ""
    return f"{'-' if seconds < 0 else '+'}{parts}" if parts else ""


def _shift_line(one: ClockShift) -> str:
    said = f"{_shift(one.seconds)} by {one.created_by or 'unknown'}, {output.clock(one.created_at)}"
    said += f": {one.reason}" if one.reason else ""
    return said if one.undone_at is None else f"{said} (undone by {one.undone_by}, {output.clock(one.undone_at)})"


def _change_line(one: DeploymentChange) -> str:
    """Who changed what: `by anna, 2026-06-12 21:04:10: latitude 52 (was not known)`."""

    def said(value: Any) -> str:
        return "not known" if value is None or value == "" else str(value)

    what = ", ".join(f"{name} {said(after)} (was {said(before)})" for name, (before, after) in one.changes.items())
    return f"by {one.by}, {output.clock(one.at)}: {what}"


def _shift_as_dict(one: ClockShift) -> dict[str, Any]:
    return {
        "seconds": one.seconds,
        "reason": one.reason,
        "created_by": one.created_by,
        "created_at": one.created_at,
        "undone_by": one.undone_by,
        "undone_at": one.undone_at,
    }
