"""Deployments: their places and clocks, as people describe them. A submission or an import that names one makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import projects, queries
from antenna_orchestration.catalog.database import Connection, Database, Row, all_rows
from antenna_orchestration.domain import nights
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.ecology.model import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Photographs:
    """How many photographs a deployment has."""

    count: int
    # By `captured_at` as the catalog has it; None where no photograph has a time.
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockShift:
    """A clock that was wrong: how much later it should have been."""

    seconds: int
    reason: str
    created_by: str
    created_at: datetime
    # None while it holds.
    undone_by: str | None
    undone_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentChange:
    """That somebody described a deployment."""

    at: datetime
    by: str
    # By the name of what was changed: its value before and after, as JSON has it.
    changes: Mapping[str, tuple[Any, Any]]


class Renamed(NamedTuple):
    """An image of a job whose deployment had another name once, with the name that holds now."""

    job_id: int
    image_id: int
    name: str


class Deployments:
    """The deployments."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def places(self, project: str) -> dict[str, Place]:
        """What is known of a project's deployments, by name; nothing for a project that does not exist."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            return {} if found is None else await of_project(connection, found)

    async def photographs(self, project: str) -> Mapping[str, Photographs]:
        """How many photographs the deployments of a project have; those without any are left out."""
        async with self._database.transaction() as connection:
            rows = await all_rows(connection, "photographs_of_deployments", project=await _project(connection, project))
        return {
            row["name"]: Photographs(count=row["photographs"], first=row["first"], last=row["last"]) for row in rows
        }

    async def describe(
        self, project: str, change: Callable[[Mapping[str, Place]], Sequence[Place]], *, by: str, create: bool = True
    ) -> tuple[Sequence[Place], frozenset[str]]:
        """Write what `change` makes of the places that are known, in one transaction; nothing if it raises.

        Returns the places, and the names of those that are new. With `create` the project is made if there is none;
        without, `NotFound` is raised.
        """
        async with self._database.transaction() as connection:
            found = await (projects.made if create else projects.found)(connection, project)
            known = await of_project(connection, found)
            places = change(known)
            written = [_as_written(place) for place in places]
            await connection.execute(queries.load("describe_deployments"), {"project": found, "places": Jsonb(written)})
            changed = {each["name"]: _changes(known.get(each["name"]), each) for each in written}
            told = [
                {"project": found, "name": name, "by": by, "changes": Jsonb(said)}
                for name, said in changed.items()
                if said
            ]
            async with connection.cursor() as cursor:
                await cursor.executemany(queries.load("add_deployment_change"), told)
        return places, frozenset(place.deployment for place in places if place.deployment not in known)

    async def changes(self, project: str, name: str, *, limit: int = 20) -> Sequence[DeploymentChange]:
        """Who described a deployment, and what was changed, newest first."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            rows = await all_rows(connection, "deployment_changes_of", project=found, name=name, limit=limit)
        return [DeploymentChange(**row) for row in rows]

    async def rename(self, project: str, old: str, new: str, *, by: str) -> None:
        """Give a deployment another name, and keep the one that it had. Raises `NotFound`, `Conflict`."""
        async with self._database.transaction() as connection:
            found = await projects.found(connection, project)
            await connection.execute(queries.load("join_bare_deployment"), {"project": found, "old": old, "new": new})
            if new in await of_project(connection, found):
                raise errors.Conflict(f"project {project} has a deployment {new!r} already: two are not made one")
            if not await all_rows(connection, "rename_deployment", project=found, old=old, new=new, by=by):
                raise errors.NotFound(unknown(project, old))

    async def former_names(self, project: str, name: str) -> Sequence[Mapping[str, str]]:
        """The names that a deployment had, oldest first: `name`, `by`, and `at` in ISO 8601."""
        async with self._database.transaction() as connection:
            rows = await all_rows(connection, "former_names_of", project=await _project(connection, project), name=name)
        return list(rows[0]["former_names"]) if rows else []

    async def present_names(self, project: str, names: Sequence[str]) -> Sequence[str]:
        """What deployments of these names, or of these former names, are called now, each once."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            rows = await all_rows(connection, "present_names_of", project=found, names=list(names))
        return list(dict.fromkeys(row["name"] for row in rows))

    async def renamed(self, project: str, jobs: Iterable[int]) -> Sequence[Renamed]:
        """Images that tell which names in the tables of these jobs are others now; one or two a job and deployment."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            rows = await all_rows(connection, "images_of_renamed_deployments", project=found, jobs=list(jobs))
        return [Renamed(**row) for row in rows]

    async def shift(self, project: str, name: str, seconds: int, *, reason: str, by: str) -> None:
        """Record that the clock should have been `seconds` later, besides earlier shifts. Raises `NotFound`."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            rows = await all_rows(
                connection, "add_clock_shift", project=found, name=name, seconds=seconds, reason=reason, by=by
            )
        if not rows:
            raise errors.NotFound(unknown(project, name))

    async def undo_shift(self, project: str, name: str, *, by: str) -> int | None:
        """Undo the newest shift that holds; returns its seconds, or None if there is none."""
        async with self._database.transaction() as connection:
            found = await _project(connection, project)
            rows = await all_rows(connection, "undo_clock_shift", project=found, name=name, by=by)
        return int(rows[0]["seconds"]) if rows else None

    async def shifts(self, project: str, name: str) -> Sequence[ClockShift]:
        """All shifts of a deployment's clock, oldest first, also those that were undone."""
        async with self._database.transaction() as connection:
            rows = await all_rows(connection, "clock_shifts_of", project=await _project(connection, project), name=name)
        return [ClockShift(**row) for row in rows]


def unknown(project: str, name: str) -> str:
    """The message for a deployment that does not exist."""
    return f"project {project} has no deployment {name!r}; `antenna deployments list --project {project}` shows all"


async def _project(connection: Connection, slug: str) -> ProjectId | None:
    rows = await all_rows(connection, "find_project", slug=slug)
    return ProjectId(rows[0]["project_id"]) if rows else None


async def of_project(connection: Connection, project: ProjectId) -> dict[str, Place]:
    """What is known of a project's deployments, by name."""
    return {row["name"]: _place(row) for row in await all_rows(connection, "places_of_project", project=project)}


def _place(row: Row) -> Place:
    try:
        zone = nights.zone_named(row["time_zone"]) if row["time_zone"] else None
    except errors.InvalidInput:
        # Its name came in on a machine with a newer list of zones, or with a backup. The place is usable without.
        zone = None
    return Place(
        deployment=row["name"],
        latitude=row["latitude"],
        longitude=row["longitude"],
        uncertainty_m=row["uncertainty_m"],
        time_zone=row["time_zone"],
        zone=zone,
        clock=row["clock"],
        shift_seconds=row["shift_seconds"],
        starts_at=row["starts_at"],
        ends_at=row["ends_at"],
        location_name=row["location_name"],
        country_code=row["country_code"],
        pixels_per_mm=row["pixels_per_mm"],
        species_list=row["species_list"],
        further=row["further"],
    )


def _changes(before: Place | None, after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs in a deployment's description, each with the value before and after."""
    known = {} if before is None else _as_written(before)
    names = [name for name in after if name not in ("name", "further")]
    pairs = {name: (known.get(name), after[name]) for name in names}
    further: Mapping[str, Any] = known.get("further", {})
    pairs |= {name: (further.get(name), after["further"].get(name)) for name in {**further, **after["further"]}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _as_written(place: Place) -> dict[str, Any]:
    return {
        "name": place.deployment,
        "latitude": place.latitude,
        "longitude": place.longitude,
        "uncertainty_m": place.uncertainty_m,
        "time_zone": place.time_zone,
        "clock": place.clock,
        "starts_at": place.starts_at.isoformat() if place.starts_at else None,
        "ends_at": place.ends_at.isoformat() if place.ends_at else None,
        "location_name": place.location_name,
        "country_code": place.country_code,
        "pixels_per_mm": place.pixels_per_mm,
        "further": dict(place.further),
    }
