"""Names: the taxa that a project's labels stand for, and its species lists with where they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import projects, queries
from antenna_orchestration.catalog.database import Database, value
from antenna_orchestration.ecology.model import RANKS, Taxon

_CHUNK: Final = 10_000
"""Taxa written by one statement."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeciesList:
    """A species list, without its names."""

    name: str
    count: int
    imported_by: str
    imported_at: datetime
    # Whether it holds for the whole project, and the deployments that it holds for instead of the project's.
    is_project_s: bool
    deployments: Sequence[str]


class Names:
    """The taxa and species lists of projects, which are named by their slugs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_taxa(self, project: str, taxa: Mapping[str, Taxon], *, by: str) -> int:
        """Write taxa by label in one transaction; makes the project if there is none. Returns how many labels are new.

        What was known of the same labels is replaced.
        """
        new = 0
        async with self._database.transaction() as connection:
            found = await projects.made(connection, project)
            rows = iter(sorted(taxa.items()))
            while chunk := list(islice(rows, _CHUNK)):
                written = Jsonb([taxon.as_data(label) for label, taxon in chunk])
                new += await value(connection, "put_taxa", project=found, taxa=written, by=by)
        return new

    async def count(self, project: str) -> int:
        """How many labels of a project have names."""
        row = await self._database.row("count_taxa", project=project)
        return int(row["count"]) if row else 0

    async def taxa(self, project: str, *, limit: int | None = None, offset: int = 0) -> dict[str, Taxon]:
        """The taxa of a project by label, in the order of the labels; none for a project that does not exist."""
        return {
            row["label"]: Taxon(
                name=row["scientific_name"],
                rank=row["rank"],
                lineage={rank: row["lineage"][rank] for rank in RANKS if rank in row["lineage"]},
                taxon_id=row["taxon_id"],
                vernacular=row["vernacular_name"],
                finest_rank=row["finest_rank"],
            )
            for row in await self._database.rows("taxa_of_project", project=project, limit=limit, offset=offset)
        }

    async def put_list(self, project: str, name: str, species: Sequence[str], *, by: str) -> bool:
        """Write a species list; makes the project if there is none. Returns whether it is new."""
        async with self._database.transaction() as connection:
            found = await projects.made(connection, project)
            return bool(
                await value(
                    connection, "put_species_list", project=found, name=name, names=Jsonb(sorted(species)), by=by
                )
            )

    async def species_lists(self, project: str) -> list[SpeciesList]:
        """The species lists of a project, by name."""
        return [
            SpeciesList(
                name=row["name"],
                count=row["count"],
                imported_by=row["imported_by"],
                imported_at=row["imported_at"],
                is_project_s=row["is_project_s"],
                deployments=tuple(row["deployments"]),
            )
            for row in await self._database.rows("species_lists_of_project", project=project)
        ]

    async def species(self, project: str, name: str) -> frozenset[str] | None:
        """The names of a species list; None if there is none of that name."""
        row = await self._database.row("names_of_species_list", project=project, name=name)
        return None if row is None else frozenset(row["names"])

    async def species_list_of(self, project: str) -> str | None:
        """The name of the list that holds for a project, besides its deployments that have one of their own."""
        row = await self._database.row("species_list_of_project", project=project)
        return row["species_list"] if row else None

    async def use_list(self, project: str, name: str | None, *, deployment: str | None = None) -> None:
        """Let a species list hold for a project, or for one of its deployments; None: no list. Raises `NotFound`."""
        async with self._database.transaction() as connection:
            found = await projects.found(connection, project)
            if name is not None and not await value(connection, "has_species_list", project=found, name=name):
                raise errors.NotFound(
                    f"project {project} has no species list {name!r}; `antenna taxa list --project {project}` shows all"
                )
            if deployment is None:
                await connection.execute(queries.load("use_list_in_project"), {"project": found, "name": name})
                return
            cursor = await connection.execute(
                queries.load("use_list_at_deployment"), {"project": found, "deployment": deployment, "name": name}
            )
            if await cursor.fetchone() is None:
                raise errors.NotFound(f"project {project} has no deployment {deployment!r}")
