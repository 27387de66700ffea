"""The catalog as the rest of the project sees it: one attribute per subject, one method per act.

Each method runs a single guarded statement or one transaction, and raises `Unavailable` when PostgreSQL cannot be
reached. New statements go to `queries/`; a new method goes to the subject whose table it changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from antenna_orchestration.catalog.alerts import Alerts
from antenna_orchestration.catalog.capture_sets import CaptureSets
from antenna_orchestration.catalog.collectors import Collectors
from antenna_orchestration.catalog.database import Database
from antenna_orchestration.catalog.deletions import Deletions
from antenna_orchestration.catalog.deployments import Deployments
from antenna_orchestration.catalog.figures import Figures
from antenna_orchestration.catalog.generations import Generations
from antenna_orchestration.catalog.images import Images
from antenna_orchestration.catalog.job_log import JobLog
from antenna_orchestration.catalog.jobs import Jobs
from antenna_orchestration.catalog.names import Names
from antenna_orchestration.catalog.pipelines import Pipelines
from antenna_orchestration.catalog.projects import Projects
from antenna_orchestration.catalog.recipes import Recipes
from antenna_orchestration.catalog.reviews import Reviews
from antenna_orchestration.catalog.runs import Runs
from antenna_orchestration.catalog.seasons import Seasons
from antenna_orchestration.catalog.sizes import Sizes
from antenna_orchestration.catalog.sources import Sources
from antenna_orchestration.catalog.tokens import Tokens
from antenna_orchestration.catalog.worker_starts import WorkerStarts
from antenna_orchestration.domain.times import in_utc


class LakeMark(NamedTuple):
    """What tells a catalog's lake from others, and whether one was marked with it."""

    mark: str
    is_claimed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalog:
    """The catalog of one deployment, connected. Asyncio tasks may share it. Made by `opened`."""

    jobs: Jobs
    generations: Generations
    images: Images
    collectors: Collectors
    runs: Runs
    job_log: JobLog
    pipelines: Pipelines
    projects: Projects
    recipes: Recipes
    reviews: Reviews
    deployments: Deployments
    names: Names
    tokens: Tokens
    worker_starts: WorkerStarts
    sources: Sources
    capture_sets: CaptureSets
    alerts: Alerts
    figures: Figures
    seasons: Seasons
    deletions: Deletions
    sizes: Sizes
    database: Database

    async def now(self) -> datetime:
        """The time by the database's clock."""
        row = await self.database.row("now")
        assert row is not None
        return in_utc(row["now"])

    async def lake_mark(self) -> LakeMark:
        """What its lake is marked with, which no catalog has but copies of this one."""
        row = await self.database.row("lake_mark")
        assert row is not None
        return LakeMark(**row)

    async def claim_lake(self) -> None:
        """Remember that the lake is marked; idempotent."""
        await self.database.rows("claim_lake")

    async def redate(self) -> int:
        """Set times to now that lie in the future, since the clock was set back; how many rows had any. Idempotent."""
        row = await self.database.row("redate")
        assert row is not None
        return int(row["rows"])


@asynccontextmanager
async def opened(database_url: str, *, max_connections: int = 4) -> AsyncIterator[Catalog]:
    """Connect to the catalog for the length of the block. Raises `Unavailable`."""
    async with Database(database_url, max_connections=max_connections) as database:
        yield Catalog(
            jobs=Jobs(database),
            generations=Generations(database),
            images=Images(database),
            collectors=Collectors(database),
            runs=Runs(database),
            job_log=JobLog(database),
            pipelines=Pipelines(database),
            projects=Projects(database),
            recipes=Recipes(database),
            reviews=Reviews(database),
            deployments=Deployments(database),
            names=Names(database),
            tokens=Tokens(database),
            worker_starts=WorkerStarts(database),
            sources=Sources(database),
            capture_sets=CaptureSets(database),
            alerts=Alerts(database),
            figures=Figures(database),
            seasons=Seasons(database),
            deletions=Deletions(database),
            sizes=Sizes(database),
            database=database,
        )
