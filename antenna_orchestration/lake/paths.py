"""Where things lie below the lake's root, by their names. Nothing of Arrow is needed to know it, or to look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from antenna_orchestration.domain.ids import JobId

DERIVED: Final = "derived"
"""Folder of the derived tables."""

DERIVED_TABLES: Final = ("observations", "tracks", "nights", "counts", "photographs")

SEASON_TABLES: Final = ("nights", "counts")
"""The tables of a season, below `DERIVED`."""

REPORT: Final = "report.html"

MARK: Final = ".antenna.json"
"""The file that says which catalog the lake belongs to. Hidden, so that readers and backups leave it out."""

PARTS: Final = "_parts"
"""Folder of all parts. pandas, DuckDB and Polars do not read a folder with a leading underscore as a table."""

DOWNLOADS: Final = "downloads"
"""Folder of what is made for those who download; a backup leaves it out."""

EXPORTS: Final = "exports"
"""Folder of the exports that Dagster makes, by format."""

MERGED: Final = "merged"
"""Folder of the merged tables."""


def table(name: str, job: JobId) -> str:
    """The folder of a job's final table."""
    return f"{name}/job_id={job}"


def report(*, job: JobId | None = None, project: str = "") -> str:
    """The report of a job, or else of a project."""
    return f"reports/{f'job_id={job}' if job is not None else f'project={project}'}/{REPORT}"


def season(table: str, project: str) -> str:
    """The file of a table of a project's season."""
    return f"{DERIVED}/seasons/{table}/project={project}/{table}.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Whose derived tables they are: one job's, or those of all finished jobs of a project."""

    job: JobId | None = None
    project: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"job {self.job}" if self.job is not None else f"project {self.project}"

    def path(self, table: str) -> str:
        """The file of a table."""
        folder = (
            f"jobs/{table}/job_id={self.job}" if self.job is not None else f"projects/{table}/project={self.project}"
        )
        return f"{DERIVED}/{folder}/{table}.parquet"
