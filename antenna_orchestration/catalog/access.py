"""Who may do what, and who offers what: tokens, projects, HTTP workers and the pipelines that they registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from antenna_orchestration import errors
from antenna_orchestration.catalog.catalog import AlgorithmRow, Catalog, PipelineRow, _job, _value
from antenna_orchestration.domain.access import Role, Token
from antenna_orchestration.domain.ids import Generation, ImageId, JobId, ProjectId
from antenna_orchestration.domain.job import DispatchMode, ImageStatus, Job, JobStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    """A project."""

    project_id: ProjectId
    slug: str
    name: str
    # Folder that local sources of HTTP submitters may lie in; None: the one named like the project in the image roots.
    image_root: Path | None
    # For jobs that do not say otherwise.
    dispatch_mode: DispatchMode


@dataclass(frozen=True, kw_only=True, slots=True)
class JobPage:
    """One page of jobs, and how many match in all."""

    jobs: Sequence[Job]
    matching: int


class Access:
    """The catalog's side of the gateway. Shares the catalog's connections, and raises what it raises."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    # Tokens

    async def add_token(
        self,
        *,
        sha256: str,
        fingerprint: str,
        role: Role,
        label: str,
        projects: Sequence[str],
        expires_at: datetime | None,
    ) -> int:
        """Write a token down; only its digest is stored. A project that is not there yet is made.

        Raises `Conflict` for a digest that is there already, revoked or expired ones among them.
        """
        async with self._catalog._transaction() as connection:
            for slug in projects:
                await connection.execute(_query("ensure_project"), {"slug": slug})
            try:
                token = await _value(
                    connection,
                    "insert_token",
                    sha256=sha256,
                    fingerprint=fingerprint,
                    role=role,
                    label=label,
                    expires_at=expires_at,
                    projects=list(projects),
                )
            except psycopg.errors.UniqueViolation:
                raise errors.Conflict(f"token {fingerprint} is there already, and may be revoked") from None
            return int(token)

    async def find_token(self, sha256: str) -> Token | None:
        """The token of this digest, if it is valid now."""
        row = await self._catalog._row("find_token", sha256=sha256)
        return _token(row) if row else None

    async def list_tokens(self) -> list[Token]:
        """All tokens there ever were."""
        return [_token(row) for row in await self._catalog._rows("list_tokens")]

    async def revoke_token(self, fingerprint: str) -> None:
        """Make the token invalid; again is fine. Raises `NotFound`."""
        if await self._catalog._row("revoke_token", fingerprint=fingerprint) is None:
            raise errors.NotFound(f"there is no token {fingerprint}; `antenna token list` shows all")

    async def use_token(self, token: int) -> None:
        """Note that the token was used, to the minute."""
        await self._catalog._rows("use_token", token=token)

    # Projects, jobs and images

    async def projects(self, projects: Iterable[ProjectId] | None = None) -> list[Project]:
        """All projects, or those given."""
        wanted = None if projects is None else list(projects)
        return [
            Project(
                project_id=ProjectId(row["project_id"]),
                slug=row["slug"],
                name=row["name"],
                image_root=Path(row["image_root"]) if row["image_root"] else None,
                dispatch_mode=DispatchMode(row["dispatch_mode"]),
            )
            for row in await self._catalog._rows("list_projects", projects=wanted)
        ]

    async def set_project(
        self,
        slug: str,
        *,
        dispatch_mode: DispatchMode | None = None,
        image_root: Path | None = None,
        no_image_root: bool = False,
    ) -> None:
        """Change a project's defaults; what is None stays. Raises `NotFound`."""
        root = None if image_root is None else str(image_root)
        values = {"dispatch_mode": dispatch_mode, "image_root": root, "no_image_root": no_image_root}
        if await self._catalog._row("set_project", slug=slug, **values) is None:
            raise errors.NotFound(f"there is no project {slug}; `antenna projects list` shows all")

    async def projects_of_jobs(self, jobs: Iterable[JobId]) -> dict[JobId, ProjectId]:
        """Which project each of the jobs belongs to."""
        rows = await self._catalog._rows("projects_of_jobs", jobs=list(jobs))
        return {JobId(row["job_id"]): ProjectId(row["project_id"]) for row in rows}

    async def page_of_jobs(
        self,
        *,
        projects: Iterable[ProjectId] | None,
        project: str | None,
        statuses: Iterable[JobStatus] | None,
        pipelines: Iterable[str] | None,
        dispatch_mode: str | None,
        search: str | None,
        cutoff_hours: int,
        oldest_first: bool,
        limit: int,
        offset: int,
    ) -> JobPage:
        """Jobs of a scope (`projects`; None is all) that match; failed ones are shown for `cutoff_hours`."""
        rows = await self._catalog._rows(
            "page_of_jobs",
            projects=None if projects is None else list(projects),
            project=project,
            statuses=None if statuses is None else [str(status) for status in statuses],
            pipelines=None if pipelines is None else list(pipelines),
            dispatch_mode=dispatch_mode,
            search=search,
            cutoff_hours=cutoff_hours,
            oldest_first=oldest_first,
            limit=limit,
            offset=offset,
        )
        return JobPage(jobs=[_job(row) for row in rows], matching=rows[0]["matching"] if rows else 0)

    async def image_states(
        self, job: JobId, generation: Generation, images: Iterable[ImageId]
    ) -> dict[ImageId, ImageStatus]:
        """Where those of the images stand that belong to the job's present generation, if this is it."""
        rows = await self._catalog._rows("image_states", job=job, generation=generation, images=list(images))
        return {ImageId(row["image_id"]): ImageStatus(row["status"]) for row in rows}

    async def capture_url(self, image: ImageId) -> str:
        """Where a capture lies. Raises `NotFound`."""
        row = await self._catalog._row("get_capture", image=image)
        if row is None:
            raise errors.NotFound(f"there is no image {image}")
        return str(row["url"])

    # Workers and their pipelines

    async def note_worker(
        self, name: str, *, token: int, host: str, details: Mapping[str, Any], kind: str = "http"
    ) -> int:
        """Write down who a worker is; its id."""
        row = await self._catalog._row(
            "note_worker", name=name, kind=kind, token=token, host=host, details=Jsonb(dict(details))
        )
        return int(row["worker_id"]) if row else 0

    async def find_pipeline(self, slug: str) -> PipelineRow | None:
        """A registered pipeline with its algorithms, or None."""
        row = await self._catalog._row("get_pipeline", slug=slug)
        if row is None:
            return None
        algorithms = tuple(AlgorithmRow(**algorithm) for algorithm in row.pop("algorithms"))
        return PipelineRow(**row, algorithms=algorithms)

    async def pipelines_of_project(self, project: ProjectId) -> list[str]:
        """Slugs that workers registered for the project."""
        return [row["slug"] for row in await self._catalog._rows("pipelines_of_project", project=project)]

    async def projects_of_pipeline(self, slug: str) -> set[ProjectId]:
        """The projects that have the pipeline registered, or jobs of it."""
        rows = await self._catalog._rows("projects_of_pipeline", slug=slug)
        return {ProjectId(row["project_id"]) for row in rows}

    async def enable_pipeline(self, project: ProjectId, slug: str, *, worker: int) -> bool:
        """Offer a registered pipeline to a project; whether that is news."""
        row = await self._catalog._row("enable_pipeline", project=project, slug=slug, worker=worker)
        return bool(row and row["fresh"])

    async def known_algorithms(self, keys: Iterable[str]) -> set[tuple[str, str]]:
        """Key and version of the registered algorithms of these keys."""
        rows = await self._catalog._rows("known_algorithms", keys=list(keys))
        return {(row["key"], row["version"]) for row in rows}


def _query(name: str) -> Any:
    from antenna_orchestration.catalog import queries

    return queries.load(name)


def _token(row: dict[str, Any]) -> Token:
    return Token(
        token_id=row["token_id"],
        fingerprint=row["fingerprint"],
        role=Role(row["role"]),
        label=row["label"],
        projects={ProjectId(int(project)): slug for project, slug in row["projects"].items()},
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
