"""What can be downloaded of a job, each with what it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology import columns
from antenna_orchestration.gateway import downloads
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake.derived import MadeOf
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake

_RESULTS: Final = {
    "detections": "Boxes as the detector gave them, a row for each",
    "classifications": "What each classifier said of each box",
    "captures": "All photographs, also those without boxes and those that failed",
    "failed_images": "Photographs that failed, with the reason",
}

_DERIVED: Final = {
    "observations": "A row for each insect on a photograph, with its name",
    "tracks": "Observations of one insect on several photographs",
    "nights": "Nights with their effort: how many photographs were expected, found, done",
    "counts": "How many of each name in each night",
    "photographs": "All photographs with when and where they were taken",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """Something to download."""

    # Below the job's URL.
    path: str
    # Media type.
    type: str
    what: str
    is_there: bool = True
    # How it comes to be there.
    how: str = ""


class Newest(NamedTuple):
    """The newest results, of which derived tables must be made."""

    generations: Mapping[JobId, Generation]
    # Whether a table of a part of the results will do: there are no more yet.
    partly: bool = False

    @classmethod
    def of_job(cls, job: Job) -> Newest:
        """Those of a job."""
        return cls({job.job_id: job.generation}, partly=not (job.status.is_terminal and job.compacted))

    def refuses(self, made_of: MadeOf) -> bool:
        """Whether the tables lack results that there are."""
        older = any(one > made_of.jobs.get(job, -1) for job, one in self.generations.items())
        return older or (made_of.pending > 0 and not self.partly)


def notice(job: Job, pending: int) -> str:
    """What is to be said of results of a job that is not over, or was canceled."""
    lacking = counted(pending, "image of it has", "images of it have")
    return f"job {job.job_id} is {job.status} and not complete: {lacking} no result yet"


def of_results(files: Mapping[str, Iterable[str]]) -> Iterator[Download]:
    """The results, given the Parquet files of each table."""
    for table, what in _RESULTS.items():
        yield Download(path=f"results/{table}.csv", type=downloads.CSV_KIND, what=what)
        for file in files[table]:
            yield Download(path=f"results/{table}/{file}", type=downloads.PARQUET_TYPE, what=what)
    yield Download(
        path="results/megadetector.json",
        type="application/json",
        what="All photographs with their boxes in MegaDetector's batch format 1.6, for Timelapse and AddaxAI",
    )


def others(lake: Lake, job: Job) -> Iterator[Download]:
    """The derived tables and the report, there or not. Blocks; raises `Unavailable`."""
    job_id = job.job_id
    made_of = derived.made_of(lake, Scope(job=job_id), "observations")
    are_derived = made_of is not None and not Newest.of_job(job).refuses(made_of)
    if are_derived:
        for table in columns.SCHEMAS:
            for ending, type_ in (("csv", downloads.CSV_KIND), ("parquet", downloads.PARQUET_TYPE)):
                yield Download(path=f"derived/{table}.{ending}", type=type_, what=_DERIVED[table])
    else:
        has = "no derived tables" if made_of is None else "newer results than its derived tables"
        how = f"job {job_id} has {has} (observations, counts …); `antenna derive --job {job_id}` makes them"
        yield Download(path="derived", type="", what="", is_there=False, how=how)
    yield Download(
        path="report",
        type="text/html",
        what="A page for people: plots, pictures of each name, coverage of each night, how far to trust it",
        is_there=lake.has_file(paths.report(job=job_id)),
        how=f"job {job_id} has no report; `antenna report --job {job_id}` writes one",
    )
