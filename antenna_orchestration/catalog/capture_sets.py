"""Capture sets: frozen lists of a project's photographs, and the choosing that makes them, which SQL does.

Choosing fills a temporary table stage by stage, so that no photograph passes through this process unless it is asked
for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import deployments, projects, queries
from antenna_orchestration.catalog.database import Connection, Database, Row, all_rows, first_row
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import nights
from antenna_orchestration.domain.capture_sets import NightOfSet, NotChosen, ProcessedBy, Rule, Why, none_left
from antenna_orchestration.domain.ids import ImageId, ProjectId
from antenna_orchestration.ecology.model import Place

_READ_AT_ONCE: Final = 10_000
"""Rows that are Python objects at once, where they are not all kept."""

_SORTED_IN_MEMORY: Final = "64MB"
"""For each step of choosing; what needs more is sorted on disk."""

_NO_ABBREVIATION: Final = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "MET": "Europe/Brussels",
    "WET": "Europe/Lisbon",
}
"""Zones with summer time whose names PostgreSQL takes for abbreviations, which are without; what IANA links them to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureSet:
    """A capture set, without its list."""

    set_id: int
    project: str
    name: str
    rule: Rule
    # How many photographs its list has, and how many were not chosen, when it was made.
    photographs: int
    not_chosen: NotChosen
    created_by: str
    created_at: datetime
    # When its list was made last.
    made_at: datetime


class LedgerOf(NamedTuple):
    """A pipeline whose processed photographs are left out, as a submission would skip them."""

    pipeline: str
    # Of the pipeline as it is now; None fits any.
    digest: str | None


class _Chosen(NamedTuple):
    """What was chosen: the stage of the temporary table that has it, how many, and why others are not."""

    stage: int
    photographs: int
    not_chosen: dict[Why, int]


class CaptureSets:
    """The capture sets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, project: str | None = None) -> Sequence[CaptureSet]:
        """All sets, or those of a project, by name."""
        rows = await self._database.rows("list_capture_sets", project=project, name=None)
        return [_capture_set(row) for row in rows]

    async def find(self, project: str, name: str) -> CaptureSet | None:
        """The set, or None."""
        row = await self._database.row("list_capture_sets", project=project, name=name)
        return _capture_set(row) if row else None

    async def get(self, project: str, name: str) -> CaptureSet:
        """The set. Raises `NotFound`."""
        found = await self.find(project, name)
        if found is None:
            raise errors.NotFound(
                f"project {project} has no capture set {name!r}; `antenna sets list --project {project}` shows all"
            )
        return found

    async def make(
        self,
        project: str,
        name: str,
        rule: Rule,
        *,
        replace: bool = False,
        ledger: LedgerOf | None = None,
        created_by: str = "",
    ) -> CaptureSet:
        """Choose the photographs and keep their list, in one transaction; with `replace` in place of an earlier list.

        Of two that make one set at the same time, the later one counts. Raises, with nothing written, `NotFound` for a
        project or deployment that does not exist, `Conflict` for a name that is taken, and `InvalidInput` if no
        photograph is chosen.
        """
        if not replace and await self.find(project, name) is not None:
            raise _taken(project, name)
        async with self._database.transaction() as connection:
            found = await projects.known(connection, project)
            chosen = await _choose(connection, found, rule, ledger=ledger, project=project)
            row = await first_row(
                connection,
                "put_capture_set",
                project=found,
                name=name,
                rule=Jsonb(rule.as_data()),
                photographs=chosen.photographs,
                not_chosen=Jsonb(chosen.not_chosen),
                created_by=created_by,
                replace=replace,
            )
            if row is None:
                raise _taken(project, name)
            await connection.execute(queries.load("forget_images_of_set"), {"set": row["set_id"]})
            await connection.execute(
                queries.load("insert_images_of_set"), {"set": row["set_id"], "stage": chosen.stage}
            )
        return await self.get(project, name)

    async def remove(self, project: str, name: str) -> None:
        """Forget a set and its list; photographs, jobs and results stay. Raises `NotFound`."""
        if await self._database.row("remove_capture_set", project=project, name=name) is None:
            await self.get(project, name)

    async def nights(self, one: CaptureSet) -> Sequence[NightOfSet]:
        """The photographs of a set that are there, by deployment and night, as these are now."""
        async with self._database.transaction() as connection:
            found = await projects.known(connection, one.project)
            everything = Rule(time_zone=one.rule.time_zone)
            chosen = await _choose(connection, found, everything, project=one.project, of_set=one, or_none=True)
            rows = await all_rows(connection, "nights_of_chosen", stage=chosen.stage)
        return [NightOfSet(**row) for row in rows]

    async def processed_by(self, one: CaptureSet) -> Sequence[ProcessedBy]:
        """Which versions of pipelines have processed photographs of a set."""
        return [ProcessedBy(**row) for row in await self._database.rows("pipelines_of_set", set=one.set_id)]

    async def images(self, one: CaptureSet) -> AsyncIterator[Sequence[ImageId]]:
        """The list of a set, in order, some at a time."""
        async with self._database.transaction() as connection, connection.cursor("images_of_set") as cursor:
            await cursor.execute(queries.load("images_of_set"), {"set": one.set_id})
            while rows := await cursor.fetchmany(_READ_AT_ONCE):
                yield [ImageId(row["image_id"]) for row in rows]

    async def photographs(
        self, project: str, rule: Rule, *, of_set: CaptureSet | None = None
    ) -> tuple[Sequence[SubmittedImage], NotChosen]:
        """Those photographs of a project, or of a set, that a rule chooses, to be submitted again; and why not others.

        Photographs whose URL stands for other bytes by now are left out: they cannot be loaded any more. Raises as
        `make` does.
        """
        images: list[SubmittedImage] = []
        async with self._database.transaction() as connection:
            found = await projects.known(connection, project)
            chosen = await _choose(connection, found, rule, project=project, of_set=of_set, loadable=True)
            async with connection.cursor("chosen_photographs") as cursor:
                await cursor.execute(queries.load("chosen_photographs"), {"project": found, "stage": chosen.stage})
                while rows := await cursor.fetchmany(_READ_AT_ONCE):
                    images += [
                        SubmittedImage(
                            row["url"],
                            row["captured_at"],
                            row["deployment"],
                            row["version"],
                            link=row["link"],
                            stamp=row["stamp"],
                            stamp_offset=row["stamp_offset"],
                        )
                        for row in rows
                    ]
        return images, chosen.not_chosen


async def _choose(
    connection: Connection,
    number: ProjectId,
    rule: Rule,
    *,
    project: str,
    ledger: LedgerOf | None = None,
    of_set: CaptureSet | None = None,
    loadable: bool = False,
    or_none: bool = False,
) -> _Chosen:
    """Fill the temporary table `chosen`. Raises `NotFound` for a deployment, and `InvalidInput` if none is chosen."""
    known = await deployments.of_project(connection, number)
    for name in rule.deployments:
        if name not in known:
            raise errors.NotFound(deployments.unknown(project, name))
    await connection.execute("SELECT set_config('work_mem', %s, true)", [_SORTED_IN_MEMORY])
    await connection.execute(queries.load("begin_choosing"))
    zone = _zone(rule.time_zone)
    rows = await all_rows(
        connection,
        "choose_photographs",
        project=number,
        of_set=of_set.set_id if of_set else None,
        loadable=loadable,
        places=Jsonb([_place(place) for place in known.values()]),
        zone=zone["zone"],
        east=zone["east"],
        deployments=list(rule.deployments) or None,
        needs_time=rule.needs_time,
        first=rule.nights.first,
        last=rule.nights.last,
        with_detections=rule.with_detections or rule.with_detections_of is not None,
        with_detections_of=rule.with_detections_of,
        **await _ledger(connection, number, ledger),
    )
    counts = {row["why"]: int(row["photographs"]) for row in rows}
    left = counts.pop(None, 0)
    not_chosen = {Why(why): count for why, count in counts.items()}
    if not (left or not_chosen or or_none):
        what = f"capture set {of_set.name} has" if of_set else f"project {project} has"
        raise errors.InvalidSource(f"{what} no photographs; `antenna submit` makes them known")
    await connection.execute("ANALYZE chosen")
    stage = 0
    for why, query, wanted in (
        (Why.SAME_INTERVAL, "choose_every", rule.every),
        (Why.BETWEEN, "choose_nth", rule.nth),
        (Why.FULL_NIGHT, "choose_per_night", rule.per_night),
        (Why.NOT_DRAWN, "choose_random", rule.random),
    ):
        if wanted is None:
            continue
        parameters = {"stage": stage, "number": wanted, "seed": rule.seed}
        cursor = await connection.execute(queries.load(query), parameters)
        not_chosen[why], left = left - cursor.rowcount, cursor.rowcount
        stage += 1
    if not (left or or_none):
        raise errors.InvalidSource(none_left(not_chosen))
    return _Chosen(stage, left, {why: count for why, count in not_chosen.items() if count})


async def _ledger(connection: Connection, project: ProjectId, ledger: LedgerOf | None) -> dict[str, Any]:
    """What `choose_photographs` asks the ledger; nothing for a pipeline that no job has run."""
    nothing = {"algorithms": None, "digest": None}
    if ledger is None:
        return nothing
    now = await first_row(
        connection,
        "pipeline_now",
        pipeline=ledger.pipeline,
        project=project,
        dispatch_mode=None,
        digest=ledger.digest,
    )
    return nothing if now is None else {"algorithms": now["algorithms"], "digest": now["digest"]}


def _place(place: Place) -> dict[str, Any]:
    zone = _zone(place.time_zone) if place.zone is not None and place.time_zone else {"zone": None, "east": None}
    return {"name": place.deployment, "clock": place.clock, "shift": place.shift_seconds, **zone}


def _zone(name: str) -> dict[str, Any]:
    """A time zone as the statement takes it: a name of the IANA list, or seconds east of UTC."""
    east = nights.fixed_offset(name)
    return (
        {"zone": _NO_ABBREVIATION.get(name, name), "east": None}
        if east is None
        else {"zone": None, "east": int(east.total_seconds())}
    )


def _taken(project: str, name: str) -> errors.Conflict:
    return errors.Conflict(
        f"project {project} has a capture set {name} already: name another one, or make it anew with --replace"
    )


def _capture_set(row: Row) -> CaptureSet:
    return CaptureSet(
        **{
            **row,
            "rule": Rule.from_data(row["rule"]),
            "not_chosen": {Why(why): count for why, count in row["not_chosen"].items()},
        }
    )
