"""Deployments get a place and a clock: imported from a file, shown, set singly, and shifted where a clock was wrong.

Nothing that was computed changes: the derived tables use what is known when they are made again (`derive`), and jobs
what is known when they are submitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antenna_orchestration import errors, kernel
from antenna_orchestration.answers import known_projects
from antenna_orchestration.catalog.deployments import ClockShift, Photographs, unknown
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.texts import counted, listed, storable
from antenna_orchestration.ecology import sites
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.places import about_unknown_zones, is_far_from_zone
from antenna_orchestration.processing.services import Services

MOST_BYTES = sites.MOST_BYTES
"""Of a file."""

_LONGEST_REASON = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What an import wrote."""

    project: str
    # In the order of the file.
    places: Sequence[Place]
    # Names that were not known before, and of these and the others those of which there is no photograph.
    created: Sequence[str]
    without_photographs: Sequence[str]

    @property
    def summary(self) -> str:
        """In one line, for people."""
        new = f", {len(self.created)} of them new" if self.created else ""
        return f"{counted(len(self.places), 'deployment')} of project {self.project} described{new}"

    @property
    def warnings(self) -> list[str]:
        """What people should look at, a line each."""
        lines = []
        if names := self.without_photographs:
            lines.append(
                f"there is no photograph yet of {listed(names)}: right before a submission; otherwise compare the "
                "spelling with `antenna deployments list`"
            )
        if names := [place.deployment for place in self.places if not place.time_zone and place.clock == "local"]:
            lines.append(f"no time zone is known for {listed(names)}: their times stay the camera's digits")
        return [*lines, *about_places(self.places, self.project)]


def about_places(places: Sequence[Place], project: str) -> list[str]:
    """Warnings about places whose time zones cannot be right, or cannot be used here."""
    return [line for line in (about_far(places), about_unknown_zones(places, project)) if line]


def about_far(places: Sequence[Place]) -> str:
    """A warning about places that cannot lie in their time zones; empty if all can."""
    names = [
        f"{place.deployment} ({place.latitude:g}, {place.longitude:g}, {place.time_zone})"
        for place in places
        if is_far_from_zone(place)
    ]
    if not names:
        return ""
    return f"far from the time zone: {listed(names)}: are latitude and longitude swapped, or is a minus sign missing?"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """A deployment with what is known of it."""

    place: Place
    photographs: Photographs | None


async def import_file(services: Services, project: str, data: bytes, file: str, *, by: str = "") -> Imported:
    """Describe the deployments of a project as the file says; again, it replaces what it said. All of it or nothing.

    A project and deployments that do not exist are made. `by` is who did it: whoever runs this process if not said.
    Raises `InvalidTable`, which lists what is wrong.
    """
    ids.slug(project, "project")
    name = storable(file)
    places, created = await services.catalog.deployments.describe(
        project, lambda known: sites.read_csv(data, known, name), by=_who(by)
    )
    return await _imported(services, project, places, created)


async def import_objects(
    services: Services, project: str, objects: Sequence[Mapping[str, Any]], *, by: str = ""
) -> Imported:
    """The same for objects whose keys are the columns. Raises `InvalidTable`."""
    ids.slug(project, "project")
    places, created = await services.catalog.deployments.describe(
        project, lambda known: sites.read_objects(objects, known), by=_who(by)
    )
    return await _imported(services, project, places, created)


async def list_deployments(services: Services, project: str) -> list[Known]:
    """The deployments of a project, by name. Raises `NotFound` for a project that does not exist."""
    places = await services.catalog.deployments.places(project)
    if not places:
        await known_projects.require(services, project)
    photographs = await services.catalog.deployments.photographs(project)
    return [Known(place=place, photographs=photographs.get(name)) for name, place in places.items()]


async def former_names(services: Services, project: str, name: str) -> Sequence[Mapping[str, str]]:
    """The names that a deployment had, oldest first: `name`, `by`, and `at` in ISO 8601."""
    return await services.catalog.deployments.former_names(project, name)


async def show(services: Services, project: str, name: str) -> tuple[Known, Sequence[ClockShift]]:
    """A deployment, and the shifts of its clock. Raises `NotFound`."""
    found = next((one for one in await list_deployments(services, project) if one.place.deployment == name), None)
    if found is None:
        raise errors.NotFound(unknown(project, name))
    return found, await services.catalog.deployments.shifts(project, name)


async def set_values(services: Services, project: str, name: str, values: Mapping[str, str], *, by: str = "") -> Place:
    """Set single values, by the names of `Place`'s fields; an empty text takes one back.

    Raises `InvalidInput` for a value that cannot be used, and `NotFound`.
    """

    def change(known: Mapping[str, Place]) -> list[Place]:
        if name not in known:
            raise errors.NotFound(unknown(project, name))
        return [sites.changed(known[name], values)]

    (place,), _ = await services.catalog.deployments.describe(project, change, by=_who(by), create=False)
    return place


async def rename(services: Services, project: str, old: str, new: str, *, by: str = "") -> None:
    """Give a deployment another name; its photographs, place and shifts stay its own.

    The tables of its jobs keep the name; what is derived from them has the new one once it is made again. Raises
    `InvalidInput` for a name that cannot be one, `NotFound`, and `Conflict` if there is a deployment of that name.
    """
    if problem := sites.fault_of_name(new):
        raise errors.InvalidInput(f"the new name: {problem}")
    await services.catalog.deployments.rename(project, old, new, by=_who(by))


def check_shift(text: str, reason: str) -> int:
    """The seconds of a shift. Raises `InvalidInput` for it or its reason."""
    if len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise errors.InvalidInput(f"a reason is one printable line of at most {_LONGEST_REASON} characters")
    return sites.parse_shift(text)


async def shift(services: Services, project: str, name: str, text: str, *, reason: str = "", by: str = "") -> int:
    """Record a shift such as `+1h`: the clock should have been that much later; returns the sum of those that hold.

    Shifts add up. Raises `InvalidInput` and `NotFound`.
    """
    seconds = check_shift(text, reason)
    known, _ = await show(services, project, name)
    if abs(known.place.shift_seconds + seconds) > sites.LONGEST_SHIFT.total_seconds():
        raise errors.InvalidInput("the shifts of this clock would be more than a century together")
    await services.catalog.deployments.shift(project, name, seconds, reason=reason, by=_who(by))
    return known.place.shift_seconds + seconds


async def undo_shift(services: Services, project: str, name: str, *, by: str = "") -> tuple[int, int]:
    """Undo the newest shift that holds; returns it, and the sum of those left. Raises `NotFound`, `Conflict`."""
    known, _ = await show(services, project, name)
    undone = await services.catalog.deployments.undo_shift(project, name, by=_who(by))
    if undone is None:
        raise errors.Conflict(f"the clock of {name!r} is not shifted: there is nothing to undo")
    return undone, known.place.shift_seconds - undone


def _who(by: str) -> str:
    return storable(by or kernel.user_of_this_process())


async def _imported(services: Services, project: str, places: Sequence[Place], created: frozenset[str]) -> Imported:
    photographs = await services.catalog.deployments.photographs(project)
    names = [place.deployment for place in places]
    return Imported(
        project=project,
        places=places,
        created=[name for name in names if name in created],
        without_photographs=[name for name in names if name not in photographs],
    )


def as_dict(known: Known) -> dict[str, Any]:
    """A deployment as programs read it. What is not known is None; times of `starts_at` and `ends_at` are local."""
    place, photographs = known.place, known.photographs
    return {
        "deployment": place.deployment,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "uncertainty_m": place.uncertainty_m,
        "time_zone": place.time_zone,
        "clock": place.clock,
        "shift_seconds": place.shift_seconds,
        "starts_at": place.starts_at,
        "ends_at": place.ends_at,
        "location_name": place.location_name,
        "country_code": place.country_code,
        "pixels_per_mm": place.pixels_per_mm,
        "species_list": place.species_list,
        "further": dict(place.further),
        "photographs": photographs.count if photographs else 0,
        "first_captured_at": photographs.first if photographs else None,
        "last_captured_at": photographs.last if photographs else None,
    }
