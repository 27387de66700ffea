"""A second copy of finished jobs' tables, with up to a thousand jobs per file, for queries across many small jobs.

    <lake>/merged/<table>/jobs-000042000.parquet    the jobs 42000 to 42999, with `job_id` as a column
    <lake>/merged/<table>/job-000042017.parquet     a large one of them, on its own

Which file a job belongs to depends only on its id and size, so it never moves. Each file's metadata says which
generations of which jobs it holds, and a file is replaced as a whole, so merging is idempotent and may be killed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import arrow, schemas
from antenna_orchestration.lake.paths import MERGED
from antenna_orchestration.lake.store import Lake

logger = logging.getLogger(__name__)

TABLES: Final = ("classifications", "detections", "failed_images", "captures")
"""In the order in which they are written: the other tables have the rows of every image that is in `captures`. Before
them come those of `schemas.FURTHER` of which any job has rows."""

SPAN: Final = 1_000
"""Jobs with consecutive ids that share a file."""

ALONE: Final = 10_000
"""Images above which a job has its own file, so that merging small jobs does not copy it again."""

_HELD: Final = b"antenna.jobs"
_COLUMNS: Final = b"antenna.columns"
_ROW_GROUP: Final = 128 * 1024
_GROUP_BYTES: Final = 64 * 2**20
_CODEC: Final = "zstd"


@dataclass(slots=True)
class MergedFile:
    """The jobs that belong to one file, with their final generations, and what each of their rows says of its job."""

    name: str
    jobs: dict[JobId, Generation] = field(default_factory=dict)
    of_job: dict[JobId, Mapping[str, str | None]] = field(default_factory=dict)

    def of(self, jobs: Collection[JobId]) -> MergedFile:
        """The same with these jobs alone."""
        return replace(self, jobs={job: generation for job, generation in self.jobs.items() if job in jobs})


def file_of(job: JobId, images: int) -> str:
    """The file that a job with so many images belongs to."""
    return f"job-{job:09d}.parquet" if images > ALONE else f"jobs-{job // SPAN * SPAN:09d}.parquet"


class MergedTables:
    """Writes the merged tables of a lake. Methods block: call them from a thread. They raise `Unavailable`."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def bring_up_to_date(self, name: str, file: MergedFile) -> int:
        """Make a table's file hold these jobs; returns how many were added or replaced, 0 if it was up to date.

        Rows of jobs that were not retried since are copied from the file itself, and so are the rows of jobs that are
        being retried: readers keep them until the retry is final. A file of an earlier version, which has other
        columns, is made anew.
        """
        path = f"{MERGED}/{name}/{file.name}"
        columns = ",".join(_schema(name).names).encode()
        held, has_columns = self._held(path, columns)
        fresh = {job for job, generation in file.jobs.items() if not has_columns or held.get(job) != generation}
        if not fresh:
            return 0
        kept = {job: generation for job, generation in held.items() if job not in fresh}
        holds = {**kept, **{job: file.jobs[job] for job in fresh}}
        self._write(name, path, holds, self._rows(name, path, kept, sorted(fresh), file))
        return len(fresh)

    def without(self, job: JobId) -> int:
        """Rewrite the files that hold a job without its rows; returns how many did. Idempotent, and may be killed.

        A file that cannot be read is deleted: it is made anew by the next merge.
        """
        rewritten = 0
        for name in self._lake.names(MERGED):
            files = self._lake.names(f"{MERGED}/{name}")
            for file in {file_of(job, 0), file_of(job, ALONE + 1)}.intersection(files):
                rewritten += self._file_without(name, f"{MERGED}/{name}/{file}", job)
        return rewritten

    def _file_without(self, name: str, path: str, job: JobId) -> bool:
        columns = ",".join(_schema(name).names).encode()
        held, has_columns = self._held(path, columns)
        kept = {one: generation for one, generation in held.items() if one != job}
        if held and len(kept) == len(held):
            return False
        if kept:
            # One of an earlier version remains one, which the next merge makes anew.
            self._write(name, path, kept, self._rows(name, path, kept, (), MergedFile(path)), is_old=not has_columns)
        else:
            self._lake.drop([path])
        return True

    def _write(
        self,
        name: str,
        path: str,
        holds: Mapping[JobId, Generation],
        rows: Iterable[pa.RecordBatch],
        *,
        is_old: bool = False,
    ) -> None:
        columns = b"" if is_old else ",".join(_schema(name).names).encode()
        said = {_HELD: json.dumps(holds, sort_keys=True).encode(), _COLUMNS: columns}
        schema = _schema(name).with_metadata(said)

        def fill(sink: Any) -> None:
            with pq.ParquetWriter(sink, schema, compression=_CODEC) as writer:
                for table in _row_groups(rows, schema):
                    writer.write_table(table, row_group_size=_ROW_GROUP)

        self._lake.write_file(path, fill)

    def _rows(
        self, name: str, path: str, kept: Mapping[JobId, Generation], fresh: Iterable[JobId], file: MergedFile
    ) -> Iterator[pa.RecordBatch]:
        if kept:
            wanted = pa.array(kept, pa.int64())
            for batch in self._lake.batches_of_file(path):
                yield batch.filter(pc.is_in(batch["job_id"], value_set=wanted))
        for job in fresh:
            try:
                for read in self._lake.batches(name, job):
                    # A table of an earlier version does not say it. After a retry, versions differ by row.
                    batch = arrow.with_constants(read, file.of_job[job], missing=["pipeline_version"])
                    of_job = pa.repeat(pa.scalar(int(job), pa.int64()), batch.num_rows)
                    yield pa.record_batch([of_job, *batch.columns], names=["job_id", *batch.schema.names])
            except pa.ArrowException as error:
                raise errors.LakeUnavailable(f"{self._lake.table(name, job)} is damaged: {error}") from error

    def _held(self, path: str, columns: bytes) -> tuple[dict[JobId, Generation], bool]:
        """The jobs that a file holds, with their generations, and whether it has these columns.

        There are none if the file is missing or cannot be read.
        """
        try:
            metadata = self._lake.metadata_of_file(path) or {}
            said: dict[str, int] = json.loads(metadata[_HELD]) if metadata else {}
        except (pa.ArrowException, KeyError, ValueError) as error:
            logger.warning("%s is damaged and made anew: %s", path, error)
            return {}, False
        held = {JobId(int(job)): Generation(generation) for job, generation in said.items()}
        return held, metadata.get(_COLUMNS) == columns


def _schema(name: str) -> pa.Schema:
    return pa.schema([pa.field("job_id", pa.int64(), nullable=False), *schemas.ALL[name]])


def _row_groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Combine small batches into row groups of a useful size, holding one group in memory."""
    gathered: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        gathered.append(arrow.fitted(batch, schema))
        rows += batch.num_rows
        size += batch.nbytes
        if rows >= _ROW_GROUP or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(gathered, schema)
            gathered, rows, size = [], 0, 0
    if gathered:
        yield pa.Table.from_batches(gathered, schema)
