"""Pipelines with their algorithms, the projects they are offered to, and the HTTP workers that offer them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Connection, Database, Row, first_row, value
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.domain.job import TERMINAL
from antenna_orchestration.domain.messages import AlgorithmRef


@dataclass(frozen=True, kw_only=True, slots=True)
class AlgorithmRow:
    """An algorithm, known by its key and version."""

    key: str
    version: str
    name: str
    task: str
    description: str
    uri: str | None
    labels: Sequence[str]
    # What is said of each class, such as its rank and GBIF key, in the order of the labels; empty if nothing is.
    categories: Sequence[Mapping[str, Any]] = ()


class Labels(NamedTuple):
    """The classes of an algorithm in the order of its outputs, and what its worker registered of each, if anything."""

    labels: Sequence[str]
    categories: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineRow:
    """A pipeline with its algorithms in order."""

    slug: str
    name: str
    version: str
    description: str
    default_config: Mapping[str, Any]
    algorithms: Sequence[AlgorithmRow]
    # Whether every project may run it, or only those that it was registered for.
    is_public: bool = True
    # The project that may change it; None for one of the installation, or of an admin of all projects.
    owner_id: ProjectId | None = None
    # Whether it can classify boxes that it is given.
    takes_detections: bool = False


class Bound(NamedTuple):
    """What a version of a pipeline is."""

    digest: str
    # In UTC.
    registered_at: datetime


class TakeOver(NamedTuple):
    """That a pipeline is taken from its owner, unless projects other than these use it.

    They do by jobs, or by a worker that was heard within so many days.
    """

    projects: list[ProjectId]
    days: int


class Pipelines:
    """The registered pipelines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, pipeline: PipelineRow) -> None:
        """Register a pipeline with its algorithms; idempotent.

        Raises `Conflict` when an algorithm with the same key and version is registered with other labels. Other
        categories of the same labels replace those before, unless a pipeline of another owner has the algorithm too.
        """
        async with self._database.transaction() as connection:
            await _lock(connection, pipeline.slug)
            await _register(connection, pipeline)

    async def register_for(
        self,
        project: ProjectId,
        pipeline: PipelineRow,
        *,
        worker: int,
        before: PipelineRow | None,
        take_over: TakeOver | None = None,
    ) -> bool | None:
        """As `register`, and offer the pipeline to a project, if what is registered is still what `find` returned.

        With `take_over` it is its owner's alone from now on. Returns whether the project did not have it before; None,
        with nothing written, if something else is registered, or if what is to be taken over is held by now.
        """
        async with self._database.transaction() as connection:
            await _lock(connection, pipeline.slug)
            found = await first_row(connection, "get_pipeline", slug=pipeline.slug, project=None)
            if before != (None if found is None else _pipeline(found)):
                return None
            if take_over is not None and await value(
                connection, "pipeline_is_held", slug=pipeline.slug, **take_over._asdict()
            ):
                return None
            await _register(connection, pipeline)
            if take_over is not None:
                of_owner = {"slug": pipeline.slug, "owner": pipeline.owner_id}
                await connection.execute(queries.load("disable_pipeline"), of_owner)
            offered = {"project": project, "slug": pipeline.slug, "worker": worker}
            return bool(await value(connection, "enable_pipeline", **offered))

    async def find(self, slug: str, *, project: str | None = None) -> PipelineRow | None:
        """A registered pipeline with its algorithms, or None; also None if the `project` (its slug) may not run it."""
        row = await self._database.row("get_pipeline", slug=slug, project=project)
        return None if row is None else _pipeline(row)

    async def bind(self, slug: str, version: str, digest: str) -> Bound:
        """Say what a version of a pipeline is; the first digest holds, if jobs of that version did anything.

        It may be changed again by others, until a job is created or retried with it: see `check_bound`.
        """
        of_version = {"slug": slug, "version": version}
        given = {**of_version, "digest": digest, "terminal": [str(status) for status in TERMINAL]}
        while True:
            # Most say what is known, and wait for nobody.
            if await self.digest_of(slug, version) != digest:
                async with self._database.transaction() as connection:
                    # Jobs of that version that are being written are waited for, as `Jobs.create` says.
                    await connection.execute("SET LOCAL lock_timeout = 0")
                    await connection.execute(queries.load("lock_version"), of_version)
                    row = await first_row(connection, "bind_version", **given)
            else:
                row = await self._database.row("bind_version", **given)
            # None: another caller was the first, at the same moment.
            if row is not None:
                return Bound(**row)

    async def digest_of(self, slug: str, version: str) -> str | None:
        """What a version of a pipeline was when jobs were bound to it; None if none were."""
        row = await self._database.row("digest_of_version", slug=slug, version=version)
        return str(row["digest"]) if row else None

    async def versions_of(self, slug: str, digest: str) -> list[str]:
        """The versions of a pipeline that have a digest, oldest first."""
        return [row["version"] for row in await self._database.rows("versions_of_digest", slug=slug, digest=digest)]

    async def algorithms_of_other_code(self, slug: str, version: str, digest: str) -> dict[AlgorithmRef, str]:
        """The algorithms with which versions of another digest did images, each with the newest such version.

        Empty from the second job of a version on.
        """
        rows = await self._database.rows("algorithms_of_other_code", slug=slug, version=version, digest=digest)
        return {AlgorithmRef(row["key"], row["version"]): row["of_version"] for row in rows}

    async def known_algorithms(self, keys: Iterable[str]) -> set[tuple[str, str]]:
        """The registered algorithms with these keys, as pairs of key and version."""
        rows = await self._database.rows("known_algorithms", keys=list(keys))
        return {(row["key"], row["version"]) for row in rows}

    async def labels_of(self, algorithms: Iterable[AlgorithmRef]) -> dict[AlgorithmRef, Labels]:
        """The labels of registered algorithms, and what was registered of each; those without labels are left out."""
        asked = list(algorithms)
        rows = await self._database.rows(
            "labels_of_algorithms", keys=[one.key for one in asked], versions=[one.version for one in asked]
        )
        return {AlgorithmRef(row["key"], row["version"]): Labels(row["labels"], row["categories"]) for row in rows}

    async def note_worker(
        self, name: str, *, token: int, host: str, details: Mapping[str, Any], kind: str = "http"
    ) -> int:
        """Record who a worker is and that it was seen just now. Returns the worker's id."""
        row = await self._database.row(
            "note_worker", name=name, kind=kind, token=token, host=host, details=Jsonb(dict(details))
        )
        return int(row["worker_id"]) if row else 0

    async def of_project(self, project: ProjectId) -> list[str]:
        """The slugs of the pipelines that workers registered for the project."""
        return [row["slug"] for row in await self._database.rows("pipelines_of_project", project=project)]

    async def used_by(self, project: str) -> list[PipelineRow]:
        """The pipelines that a project (its slug) ran, or that workers registered for it, by slug."""
        found = [
            await self.find(row["slug"]) for row in await self._database.rows("pipelines_used_by", project=project)
        ]
        return [one for one in found if one is not None]

    async def runnable(self, projects: Iterable[ProjectId] | None) -> list[Row]:
        """The pipelines that some projects, or with None all, may run, with their algorithms; by slug."""
        return await self._database.rows("pipelines_for", projects=None if projects is None else list(projects))

    async def workers(self, projects: Iterable[ProjectId] | None) -> list[Row]:
        """The registered workers of some projects, or with None all, with what they registered there."""
        return await self._database.rows("workers_for", projects=None if projects is None else list(projects))

    async def is_held(self, slug: str, take_over: TakeOver) -> bool:
        """Whether the pipeline cannot be taken over, for others use it."""
        row = await self._database.row("pipeline_is_held", slug=slug, **take_over._asdict())
        return bool(row and row["held"])


async def check_bound(connection: Connection, slug: str, version: str, digest: str | None) -> None:
    """Raise `OtherVersion` unless the version is of this digest, and hold that until the transaction is over.

    For who writes a job of it: since `bind`, somebody may have said otherwise. Does nothing without a digest.
    """
    if digest is None:
        return
    cursor = await connection.execute(queries.load("hold_version"), {"slug": slug, "version": version})
    row = await cursor.fetchone()
    if row is None or row["digest"] != digest:
        raise errors.OtherVersion(
            f"pipeline {slug} was submitted with other code, weights or labels at the same moment, as version "
            f"{version}; nothing was written: submit again, or raise the version of one of the two"
        )


def _pipeline(row: Row) -> PipelineRow:
    algorithms = tuple(AlgorithmRow(**algorithm) for algorithm in row.pop("algorithms"))
    return PipelineRow(**row, algorithms=algorithms)


async def _lock(connection: Connection, slug: str) -> None:
    """Be the only one that registers the pipeline, until the transaction is over; before all other locks."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"pipeline {slug}"])


async def _register(connection: Connection, pipeline: PipelineRow) -> None:
    # In one order: pipelines that share some would else wait for each other.
    ids = {
        (one.key, one.version): await _register_algorithm(connection, one, owner=pipeline.owner_id)
        for one in sorted(pipeline.algorithms, key=lambda one: (one.key, one.version))
    }
    await connection.execute(
        queries.load("register_pipeline"),
        {
            "slug": pipeline.slug,
            "name": pipeline.name,
            "version": pipeline.version,
            "description": pipeline.description,
            "default_config": Jsonb(dict(pipeline.default_config)),
            "is_public": pipeline.is_public,
            "owner": pipeline.owner_id,
            "takes_detections": pipeline.takes_detections,
        },
    )
    in_order = [ids[one.key, one.version] for one in pipeline.algorithms]
    await connection.execute(
        queries.load("register_pipeline_algorithms"), {"slug": pipeline.slug, "algorithms": in_order}
    )


async def _register_algorithm(connection: Connection, algorithm: AlgorithmRow, *, owner: ProjectId | None) -> int:
    labels = list(algorithm.labels)
    sha256 = hashlib.sha256(json.dumps(labels).encode()).hexdigest()
    cursor = await connection.execute(
        queries.load("register_algorithm"),
        {
            "key": algorithm.key,
            "version": algorithm.version,
            "name": algorithm.name,
            "task": algorithm.task,
            "description": algorithm.description,
            "uri": algorithm.uri,
            "labels": Jsonb(labels),
            "labels_sha256": sha256,
            "categories": Jsonb([dict(one) for one in algorithm.categories]),
            "owner": owner,
        },
    )
    row = await cursor.fetchone()
    if row is None or row["labels_sha256"] != sha256:
        raise errors.Conflict(
            f"algorithm {algorithm.key} version {algorithm.version} is registered with other labels; "
            "give the new labels a new version"
        )
    return int(row["algorithm_id"])
