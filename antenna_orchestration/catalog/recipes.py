"""Post-processing recipes of projects: every version that one has or had, by its hash, and which of them holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from antenna_orchestration.catalog import projects, queries
from antenna_orchestration.catalog.database import Database
from antenna_orchestration.domain.times import in_utc


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRecipe:
    """A recipe as it was written down."""

    hash: str
    text: str
    created_by: str
    created_at: datetime
    # Whether it is the one that the project's tables are derived with.
    holds: bool


class Recipes:
    """The recipes of projects, which are named by their slugs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, project: str, text: str, hash_: str, *, by: str) -> None:
        """Keep a recipe and let it hold for a project; makes the project if there is none. Idempotent."""
        async with self._database.transaction() as connection:
            found = {"project": await projects.made(connection, project), "hash": hash_}
            await connection.execute(queries.load("put_recipe"), {**found, "text": text, "by": by})
            await connection.execute(queries.load("use_recipe"), found)

    async def use_built_in(self, project: str) -> None:
        """Let the built-in recipe hold for a project again; its own are kept. Raises `NotFound`."""
        async with self._database.transaction() as connection:
            found = await projects.found(connection, project)
            await connection.execute(queries.load("use_recipe"), {"project": found, "hash": None})

    async def of_project(self, project: str) -> StoredRecipe | None:
        """The recipe of its own that holds for a project; None if the built-in one does."""
        row = await self._database.row("recipe_of_project", project=project)
        return None if row is None else StoredRecipe(**{**row, "created_at": in_utc(row["created_at"])}, holds=True)

    async def list(self, project: str) -> list[StoredRecipe]:
        """All recipes that a project has or had, the newest first."""
        rows = await self._database.rows("recipes_of_project", project=project)
        return [StoredRecipe(**{**row, "created_at": in_utc(row["created_at"])}) for row in rows]
