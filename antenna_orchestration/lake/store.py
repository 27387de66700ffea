"""The lake: parts in progress and final tables of jobs, as Parquet files in a folder.

Belongs here: which files a job has, and what is read from and written to them. The folder itself is in `folder`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import arrow, paths, schemas
from antenna_orchestration.lake.folder import BLOCK, Folder, Missing, Version

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 256 * 2**20
"""Largest file of a table, give or take a slice."""

_SLICES = 8
"""Slices of a full file, at least: the more, the closer its size is to the limit."""

_ROW_GROUP = 128 * 1024

_TAIL = 64 * 1024
"""Bytes read from a file's end at first; most footers fit in."""

_DAMAGED = (pa.ArrowException, OSError, EOFError)
"""What pyarrow raises for bytes that are not Parquet. The bytes are in memory, so an `OSError` is not the store's."""

_FURTHER = b"antenna.further"
"""What the metadata of a part's files say: its tables beside detections and classifications, if it has any."""

CURRENT = "current.sql"
"""The file below the root that defines what the newest results are, for DuckDB; beside this module is its text."""

FURTHER = "further.sql"
"""Beside this module: the same of a table that a lake need not have."""

_FILE_OF_GENERATION = re.compile(r"part-g(\d+)-.*\.parquet")

_FOLDER_OF_JOB = re.compile(r"job_id=(\d+)")


class Lake:
    """The lake's root, a local folder or `s3://bucket/prefix`. Methods block: call them from a thread.

    Every failure of the store raises `Unavailable`.
    """

    def __init__(
        self,
        uri: str,
        *,
        storage_options: dict[str, Any] | None = None,
        max_file_bytes: int = MAX_FILE_BYTES,
        mark: Callable[[], str] | None = None,
    ) -> None:
        """`mark` as for `Folder`."""
        self.uri = uri.rstrip("/")
        self._max_file_bytes = max_file_bytes
        self._storage_options = storage_options
        self._mark = mark
        self._folder = Folder(uri, storage_options=storage_options, what="lake", mark=mark)

    # Paths

    def table(self, name: str, job: JobId) -> str:
        """Folder of a job's final table, as users see it."""
        return f"{self.uri}/{paths.table(name, job)}"

    # Parts in progress

    def write_part(self, job: JobId, part: str, tables: dict[str, pa.Table]) -> None:
        """Write a part's tables durably; only then may the catalog name the part."""
        folder = f"{_parts(job)}/{part}"
        further = ",".join(name for name in tables if name in schemas.FURTHER)
        for name, table in tables.items():

            def fill(sink: Any, table: pa.Table = table) -> None:
                if further:
                    # So that one that gets lost is missed: most parts have none.
                    table = table.replace_schema_metadata({_FURTHER: further})
                # Without checksums a flipped bit can read as another number.
                pq.write_table(table, sink, write_page_checksum=True)

            self._folder.write(f"{folder}/{name}.parquet", fill)
        self._folder.sync(folder)
        self._folder.sync(_parts(job))

    def read_part(self, job: JobId, part: str, name: str) -> pa.Table | None:
        """One table of a part; None when it is gone or damaged."""
        content = self._content(_part(job, part, name), self._folder.read)
        if content is None:
            return None
        try:
            file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
            return arrow.fitted(file.read(), schemas.ALL[name])
        except _DAMAGED as error:
            logger.warning("part %s of job %s is damaged: %s", part, job, error)
            return None

    def tables_of_part(self, job: JobId, part: str, names: Iterable[str]) -> tuple[str, ...] | None:
        """These tables of a part and the further ones that it has; None if any cannot be read, judged by footers."""
        found: list[str] = []
        waiting = list(names)
        while waiting:
            name = waiting.pop(0)
            tail = self._content(_part(job, part, name), self._tail)
            if tail is None:
                return None
            try:
                metadata = pq.read_metadata(pa.BufferReader(tail)).metadata or {}
            except _DAMAGED as error:
                logger.warning("part %s of job %s is damaged: %s", part, job, error)
                return None
            found.append(name)
            further = metadata.get(_FURTHER, b"").decode().split(",")
            waiting += [one for one in further if one in schemas.FURTHER and one not in (*found, *waiting)]
        return tuple(found)

    def jobs_with_parts(self) -> set[JobId]:
        """The jobs that have parts: active ones, canceled ones, and those whose clean-up was interrupted."""
        return {
            JobId(int(match.group(1)))
            for name in self._folder.names(paths.PARTS)
            if (match := _FOLDER_OF_JOB.fullmatch(name))
        }

    def drop_parts(self, job: JobId) -> bool:
        """Delete the job's parts; its final tables hold their rows. False if any cannot be deleted and stays behind."""
        try:
            self._folder.remove_folder(_parts(job))
        except Missing:
            logger.debug("job %s has no parts", job)
        except errors.Unavailable as error:
            logger.warning("parts of job %s stay behind: %s", job, error)
            return False
        return True

    def parts(self, job: JobId) -> set[str]:
        """The names of the parts that a job has, whole or not."""
        return set(self._folder.names(_parts(job)))

    def drop_part(self, job: JobId, part: str) -> None:
        """Delete one part, which the catalog must not name; idempotent."""
        with contextlib.suppress(Missing):
            self._folder.remove_folder(f"{_parts(job)}/{part}")

    def lost_drafts(self) -> list[str]:
        """The paths of unfinished files whose writer died."""
        return self._folder.lost_drafts()

    # Final tables

    def has_table(self, name: str, job: JobId) -> bool:
        """Whether a job's final table has any file, even if empty."""
        return bool(self._files(name, job))

    def write_table(self, name: str, job: JobId, generation: Generation, tables: Iterable[pa.Table]) -> int:
        """Replace the files that this generation has in a job's table; returns the number of rows. Idempotent.

        The same input gives the same file names, and each file is replaced as a whole. A column that the input lacks,
        as a part lacks those of its job, is null.
        There is always at least one file, even if empty.
        """
        folder = paths.table(name, job)
        rows = 0
        written: set[str] = set()
        pending = _slices(tables, self._max_file_bytes // _SLICES)
        table = next(pending, None)
        schema = schemas.ALL[name]
        while True:
            path = f"{folder}/part-g{generation}-{len(written):05d}.parquet"
            written.add(path)
            size = 0

            def fill(sink: Any) -> None:
                nonlocal table, rows, size
                with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                    while table is not None and size < self._max_file_bytes:
                        writer.write_table(arrow.fitted(table, schema), row_group_size=_ROW_GROUP)
                        rows += table.num_rows
                        # Uncompressed bytes: an upper bound of what they become.
                        size += table.nbytes
                        table = next(pending, None)

            self._folder.write(path, fill)
            if table is None:
                break
        of_generation = {path for path in self._files(name, job) if _generation(path) == generation}
        self._folder.remove(of_generation - written)
        self._folder.sync(folder)
        return rows

    def drop_tables_beyond(self, name: str, job: JobId, generation: Generation) -> None:
        """Delete the files of a table's other generations; for tables that each generation writes as a whole."""
        self._folder.remove(path for path in self._files(name, job) if _generation(path) not in (None, generation))

    def drop_generations(
        self, name: str, job: JobId, generations: Collection[int], *, after: Generation | None = None
    ) -> None:
        """Delete the files that these generations have in a job's table, and those of generations after that one."""
        for path in self._files(name, job):
            generation = _generation(path)
            if generation in generations or (after is not None and generation is not None and generation > after):
                self._folder.remove([path])

    def batches(
        self, name: str, job: JobId, columns: list[str] | None = None, *, without: Collection[int] = ()
    ) -> Iterator[pa.RecordBatch]:
        """A job's final table in batches, so that memory does not grow with its size; without some generations."""
        return self._batches(name, job, columns, _ROW_GROUP, without)

    def read_table(self, name: str, job: JobId, columns: list[str] | None = None) -> pa.Table:
        """A job's whole final table; empty when there is none. For jobs known to be small."""
        found = list(self.batches(name, job, columns))
        empty = arrow.table_of_rows(schemas.ALL[name], [])
        return pa.Table.from_batches(found) if found else empty.select(columns) if columns else empty

    def head(self, name: str, job: JobId, rows: int, columns: list[str] | None = None) -> pa.Table:
        """The first rows of a job's final table; empty when there is none.

        Without `columns`, all but the binary ones: a row's `scores` weigh more than the rest of it.
        """
        schema = schemas.ALL[name]
        chosen = columns or [field.name for field in schema if not pa.types.is_binary(field.type)]
        found: list[pa.RecordBatch] = []
        missing = rows
        for batch in self._batches(name, job, chosen, max(1, min(rows, _ROW_GROUP))):
            found.append(batch.slice(0, missing))
            missing -= found[-1].num_rows
            if missing <= 0:
                break
        return pa.Table.from_batches(found) if found else arrow.table_of_rows(schema, []).select(chosen)

    def value_counts(self, name: str, job: JobId, column: str, *, where: str | None = None) -> Counter[Any]:
        """How often each value of a column occurs, among the rows whose boolean column `where` is true if given."""
        found: Counter[Any] = Counter()
        for batch in self.batches(name, job, [column, where] if where else [column]):
            values = batch[column].filter(batch[where]) if where else batch[column]
            for counted in pc.value_counts(values).to_pylist():
                found[counted["values"]] += counted["counts"]
        return found

    def count_rows(self, name: str, job: JobId) -> int:
        """Rows of a job's final table, from the files' footers."""
        rows = 0
        for path in self._files(name, job):
            with self._folder.reading(path) as source:
                rows += pq.ParquetFile(source).metadata.num_rows
        return rows

    def files_of(self, name: str, job: JobId) -> dict[str, int]:
        """The Parquet files of a job's table by name, with their sizes in bytes."""
        paths = self._files(name, job)
        return {path.rpartition("/")[2]: self._folder.size(path) for path in paths}

    def jobs_with_table(self, name: str) -> dict[JobId, Generation]:
        """The jobs that have files of a table, with their newest generations; from one listing."""
        found: dict[JobId, Generation] = {}
        for path in self._folder.find(name):
            folder, _, file = path.rpartition("/")
            job = _FOLDER_OF_JOB.fullmatch(folder)
            generation = _generation(file)
            if job and generation is not None:
                job_id = JobId(int(job.group(1)))
                found[job_id] = Generation(max(generation, found.get(job_id, 0)))
        return found

    def constant(self, name: str, job: JobId, column: str) -> str | None:
        """The value that a column has in the first rows of a job's table, from a file's footer; None if it has none."""
        for path in self._files(name, job):
            metadata = pq.read_metadata(pa.BufferReader(self._tail(path)))
            names = metadata.schema.names
            if column in names and metadata.num_row_groups:
                statistics = metadata.row_group(0).column(names.index(column)).statistics
                if statistics is not None and statistics.has_min_max:
                    return str(statistics.min)
        return None

    def reading_table(self, name: str, job: JobId, file: str) -> contextlib.AbstractContextManager[Version]:
        """One of `files_of`, opened for reading. Raises `Missing`, also for a name that is none of them."""
        path = f"{paths.table(name, job)}/{file}"
        if _FILE_OF_GENERATION.fullmatch(file) is None:
            raise Missing(f"{self.uri}/{path}: there is no such file")
        return self._folder.reading_version(path)

    # Files below the root that do not belong to one job

    def below(self, path: str) -> Lake:
        """A lake of its own in a folder of this one."""
        return Lake(f"{self.uri}/{path}", storage_options=self._storage_options, mark=self._mark)

    def read_bytes(self, path: str) -> bytes:
        """One small file below the root. Raises `Missing`."""
        return self._folder.read(path)

    def files_below(self, path: str) -> dict[str, tuple[int, float]]:
        """The files in a folder and its folders, by their paths, with bytes and when they were written (POSIX)."""
        return self._folder.details(path)

    def drop(self, paths: Iterable[str]) -> None:
        """Delete files below the root; idempotent."""
        self._folder.remove(paths)

    def drop_folder(self, path: str) -> None:
        """Delete a folder below the root with all that it holds. Raises `Missing`."""
        self._folder.remove_folder(path)

    def write_bytes(self, path: str, content: bytes) -> str:
        """Write one small file below the root; its URI."""
        self._folder.write(path, lambda sink: sink.write(content))
        return f"{self.uri}/{path}"

    def write_current(self) -> None:
        """Write `current.sql`, the views that show the newest result of each image and pipeline; idempotent."""
        self.write_bytes(CURRENT, self.current().encode())

    def current(self) -> str:
        """The text of `current.sql` for this lake."""
        # The path stands in a text of SQL.
        root = _pattern(self._folder.uri).replace("'", "''")
        views = (Path(__file__).parent / CURRENT).read_text(encoding="utf-8").replace("{lake}", root)
        further = (Path(__file__).parent / FURTHER).read_text(encoding="utf-8")
        # DuckDB refuses a view of files that are not there, and the merged tables are read by the same views.
        roots = ("", f"{paths.MERGED}/") if self._folder.names(paths.MERGED) else ("",)
        for table in schemas.FURTHER:
            if all(self._folder.names(f"{one}{table}") for one in roots):
                views += further.replace("{table}", table)
        return views

    def write_file(self, path: str, fill: Callable[[Any], object]) -> None:
        """Let `fill` write a file below the root, durably, and whole or not at all."""
        self._folder.write(path, fill)
        self._folder.sync(path.rpartition("/")[0])

    def write_files(self, files: Mapping[str, Path]) -> None:
        """Copy local files to these paths below the root: all are there before the first replaces what was there."""
        todo = list(files.items())

        def put(rest: list[tuple[str, Path]]) -> None:
            (path, source), *others = rest

            def fill(sink: Any) -> None:
                with source.open("rb") as content:
                    shutil.copyfileobj(content, sink, BLOCK)
                if others:
                    put(others)

            self.write_file(path, fill)

        if todo:
            put(todo)

    def patterns(self, name: str, jobs: Iterable[JobId]) -> list[str]:
        """The files of a table of these jobs as DuckDB reads them, which takes every path for a pattern.

        Raises `Missing` when a job has none.
        """
        found = []
        for job in jobs:
            files = self._files(name, job)
            if not files:
                raise Missing(f"{self.table(name, job)}: the table is not there")
            found += [self.pattern(path) for path in files]
        return found

    def pattern(self, path: str) -> str:
        """A file below the root as DuckDB reads it."""
        return _pattern(f"{self._folder.uri}/{path}")

    def open_to(self, session: Any) -> None:
        """Let a DuckDB session read the lake where it is not a local folder, with the lake's own credentials."""
        if filesystem := self._folder.remote:
            session.register_filesystem(filesystem)

    def names(self, path: str) -> list[str]:
        """The names in a folder below the root; none if it does not exist."""
        return self._folder.names(path)

    def has_file(self, path: str) -> bool:
        """Whether a file below the root is there."""
        folder, _, name = path.rpartition("/")
        return name in self.names(folder)

    def batches_of_file(self, path: str) -> Iterator[pa.RecordBatch]:
        """A Parquet file below the root, in batches."""
        with self._folder.reading(path) as source:
            yield from pq.ParquetFile(source).iter_batches(batch_size=_ROW_GROUP // 8)

    def fetch(self, path: str, to: Path, *, most: int | None = None) -> None:
        """Copy a file below the root to this machine, its first `most` bytes if it is longer. Raises `Missing`."""
        with self._folder.reading(path, fresh=True) as source, to.open("wb") as sink:
            rest = most
            while block := source.read(BLOCK if rest is None else min(BLOCK, rest)):
                sink.write(block)
                rest = None if rest is None else rest - len(block)

    def reading_version(self, path: str) -> contextlib.AbstractContextManager[Version]:
        """A file below the root, opened for reading, with what names this version of it. Raises `Missing`."""
        return self._folder.reading_version(path)

    def metadata_of_file(self, path: str) -> dict[bytes, bytes] | None:
        """The key-value metadata of a Parquet file below the root; None if the file does not exist.

        Raises pyarrow's errors for a damaged one.
        """
        try:
            tail = self._tail(path, fresh=True)
        except Missing:
            return None
        return dict(pq.read_metadata(pa.BufferReader(tail)).metadata or {})

    # Files

    def _content(self, path: str, read: Callable[[str], bytes]) -> bytes | None:
        """What `read` returns for a file; None if the file does not exist. Raises `Unavailable` with the whole lake."""
        try:
            return read(path)
        except Missing:
            self._folder.check_mounted()
            logger.warning("%s/%s is gone", self.uri, path)
            return None

    def _tail(self, path: str, *, fresh: bool = False) -> bytes:
        """The end of a Parquet file with its whole footer, which is all that reading metadata needs."""
        with self._folder.reading(path, fresh=fresh) as source:
            size = source.seek(0, os.SEEK_END)
            source.seek(max(0, size - _TAIL))
            tail: bytes = source.read()
            # The footer, its length, and `PAR1`.
            footer = int.from_bytes(tail[-8:-4], "little") + 8
            if len(tail) < footer <= size:
                source.seek(size - footer)
                tail = source.read()
        return tail

    def _files(self, name: str, job: JobId) -> list[str]:
        """The paths of the Parquet files of a job's table. Raises `Unavailable` with the whole lake."""
        folder = paths.table(name, job)
        names = self._folder.names(folder)
        if not names:
            self._folder.check_mounted()
        return [f"{folder}/{file}" for file in names if file.endswith(".parquet")]

    def _batches(
        self, name: str, job: JobId, columns: list[str] | None, batch_size: int, without: Collection[int] = ()
    ) -> Iterator[pa.RecordBatch]:
        whole = schemas.ALL[name]
        schema = pa.schema([whole.field(column) for column in columns]) if columns else whole
        for path in self._files(name, job):
            if _generation(path) in without:
                continue
            with self._folder.reading(path) as source:
                for batch in pq.ParquetFile(source).iter_batches(batch_size=batch_size, columns=schema.names):
                    # A file of an earlier generation may have been written by an earlier version.
                    yield batch if batch.schema.equals(schema) else arrow.fitted(batch, schema)


def _pattern(path: str) -> str:
    """A path as DuckDB reads it, which takes every path for a pattern."""
    return re.sub(r"[\[*?]", r"[\g<0>]", path)


def _parts(job: JobId) -> str:
    return f"{paths.PARTS}/job_id={job}"


def _part(job: JobId, part: str, name: str) -> str:
    return f"{_parts(job)}/{part}/{name}.parquet"


def _slices(tables: Iterable[pa.Table], max_bytes: int) -> Iterator[pa.Table]:
    """Cut tables into slices of about `max_bytes`, but of at least one row."""
    for table in tables:
        step = max(1, min(_ROW_GROUP, table.num_rows * max_bytes // max(1, table.nbytes)))
        for start in range(0, table.num_rows, step):
            yield table.slice(start, step)


def _generation(path: str) -> int | None:
    match = _FILE_OF_GENERATION.fullmatch(path.rpartition("/")[2])
    return int(match.group(1)) if match else None
