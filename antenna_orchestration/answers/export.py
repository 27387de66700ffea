"""Export: write the results of jobs or of a project in a format of other programs, to a folder or a bucket.

Tables that are out of date are derived first. What is written is whole or not there: it is made beside its place, or in
a temporary folder, and moved there when it is complete.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from antenna_orchestration import __version__, errors, kernel
from antenna_orchestration.answers import datasets
from antenna_orchestration.answers.local_tables import local_tables
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.exports.dataset import Dataset
from antenna_orchestration.exports.formats import Checked, Format, Written, in_words
from antenna_orchestration.exports.material import BOXES, Material, OfJob
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.folder import Folder, storage_options
from antenna_orchestration.processing import photographs
from antenna_orchestration.processing.services import Services

ABOUT: Final = "antenna-export.json"
"""The file in an exported folder that says what was exported, when and with what; a folder that has it is ours."""

UNFINISHED: Final = "antenna-export.unfinished"
"""In a folder of a bucket as long as it is written: a crash leaves half an export, which is ours as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to export, and how."""

    format: Format
    selection: Selection
    # A path or `s3://…`: of the file, or of the folder.
    out: str
    # What the format's `choices` name.
    options: Mapping[str, str] = field(default_factory=dict)
    # In place of what is kept of the project.
    dataset: Dataset | None = None
    partial: bool = False
    # Whether an earlier export in the same place may go.
    replace: bool = False
    # Whether it is checked as well, before it is moved to its place.
    check: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was exported, and where it is."""

    uri: str
    written: Written
    # False: images have no result yet, and the rows are those so far.
    is_complete: bool
    # None: it was not checked.
    checked: Checked | None = None

    @property
    def summary(self) -> str:
        """In one line, for people."""
        return f"{self.uri}: {in_words(self.written.counts)}"


def order(
    format: Format,
    selection: Selection,
    *,
    out: str,
    options: Mapping[str, str] | None = None,
    dataset: Dataset | None = None,
    partial: bool = False,
    replace: bool = False,
    check: bool = False,
) -> Order:
    """An order that the format can carry out. Raises `InvalidInput`."""
    if selection.threshold and not format.takes_threshold:
        raise errors.InvalidInput(
            f"{format.name} takes no threshold, as its counts are of all detections: set one in the project's recipe"
        )
    given = dict(options or {})
    for name, value in given.items():
        if name not in format.choices:
            raise errors.InvalidInput(f"{format.name} has no option --{name}")
        if value not in format.choices[name]:
            raise errors.InvalidInput(f"--{name} {value!r}: must be one of {', '.join(format.choices[name])}")
    every = {name: choices[0] for name, choices in format.choices.items()} | given
    if every.get("images") == "link" and out.startswith("s3://"):
        raise errors.InvalidInput("--images link: a bucket takes no links: leave it out, or name a folder with --out")
    return Order(
        format=format,
        selection=selection,
        out=out,
        options=every,
        dataset=dataset,
        partial=partial,
        replace=replace,
        check=check,
    )


def place_in_lake(services: Services, format: Format, job: JobId) -> str:
    """Where the export of a job in the lake is: its file, or its folder."""
    folder = f"{services.lake.uri}/{paths.EXPORTS}/{format.name}/job_id={job}"
    if "://" not in folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return f"{folder}/{format.file or format.name}"


async def export(services: Services, order: Order) -> Exported:
    """Write an export.

    Raises `Incomplete` if the format demands what nobody gave, `InvalidInput` for a selection or a place that cannot
    be, `NotFound` and `Conflict` as `local_tables` does, and `Unavailable`. Then nothing is written.
    """
    # Before the work.
    place = _place(services, order)
    async with material(services, order.selection, dataset=order.dataset, partial=order.partial) as made:
        try:
            return await asyncio.to_thread(_write, made, order, place)
        except OSError as error:
            # No space is left, for example.
            why = error.strerror or str(error)
            raise errors.Unavailable(
                f"{place.uri} cannot be written: {why}: nothing was kept; free some space, or name another place"
            ) from error


@asynccontextmanager
async def material(
    services: Services, selection: Selection, *, dataset: Dataset | None = None, partial: bool = False
) -> AsyncIterator[Material]:
    """What exports and reports of a selection are made from, as long as it is needed. Raises as `export` does.

    Without a `dataset`, the description that is kept of the project counts.
    """
    jobs = selection.jobs
    found = local_tables(
        services, jobs=jobs, project=None if jobs else selection.project, capture_set=selection.capture_set
    )
    async with found as tables, photographs.pictures(services.settings) as pictures:
        known = None if dataset else await datasets.of_project(services, tables.known.project)
        made = Material(
            selection=replace(selection, project=tables.known.project),
            lake=tables.lake,
            scope=tables.scope,
            jobs=[await _of_job(services, source.job_id) for source in tables.results.sources],
            places=tables.known.places,
            names=Names(tables.known.taxa),
            dataset=dataset or (known.dataset if known else Dataset()),
            pictures=pictures,
            partial=partial,
            pending=tables.results.pending,
            made_at=datetime.now(UTC),
        )
        yield made


async def _of_job(services: Services, job_id: JobId) -> OfJob:
    job = await services.catalog.jobs.get(job_id)
    versions = await services.catalog.generations.versions(job_id)
    return OfJob(job_id, job.name, job.pipeline, job.finished_at, tuple(versions))


def _write(made: Material, order: Order, place: _Place) -> Exported:
    """Blocks."""
    if not next(made.rows("SELECT count(*) AS photographs FROM photographs"))["photographs"]:
        raise errors.NotFound(f"{order.selection.name}: there is no photograph to export")
    with place.draft() as draft:
        written = order.format.write(made, draft, **order.options)
        if draft.is_dir():
            (draft / ABOUT).write_text(_about(made, order, written, files=_files_in(draft)), encoding="utf-8")
        checked = order.format.check(draft) if order.check else None
        place.publish(draft)
    return Exported(uri=place.uri, written=written, is_complete=made.is_complete, checked=checked)


def _about(made: Material, order: Order, written: Written, *, files: int) -> str:
    chosen = made.selection
    said = {
        "made_by": f"antenna {__version__}",
        "made_at": made.made_at.isoformat(timespec="seconds"),
        "format": order.format.name,
        "project": chosen.project,
        "jobs": [job.job_id for job in made.jobs],
        "pipeline": chosen.pipeline,
        "ran": _ran(made.jobs),
        "set": chosen.capture_set,
        "deployment": chosen.deployment,
        "from": chosen.first and chosen.first.isoformat(),
        "to": chosen.last and chosen.last.isoformat(),
        "threshold": chosen.threshold,
        "complete": made.is_complete,
        **order.options,
        "counts": dict(written.counts),
        # Besides this one: a folder with more has some that people put there.
        "files": files,
        "left_out": list(written.left_out),
        "notes": [BOXES, *written.notes],
    }
    return json.dumps(said, ensure_ascii=False, indent=2) + "\n"


def _ran(jobs: Sequence[OfJob]) -> dict[str, list[str]]:
    """The versions of each pipeline that processed the images, in order."""
    versions: dict[str, list[str]] = {}
    for job in jobs:
        of_pipeline = versions.setdefault(job.pipeline, [])
        of_pipeline += [version for version in job.versions if version not in of_pipeline]
    return versions


class _Place(Protocol):
    """Where an export goes."""

    uri: str

    def draft(self) -> AbstractContextManager[Path]:
        """A path for it to be made at, which does not exist yet and is gone in the end."""

    def publish(self, draft: Path) -> None:
        """Move or copy what was made to its place."""


def _place(services: Services, order: Order) -> _Place:
    """Raises `InvalidInput` for a place that is taken, or cannot be."""
    if not order.out.strip():
        raise errors.InvalidInput("--out is empty: name a file or a folder")
    if "://" in order.out and not order.out.startswith("file://"):
        if not order.out.startswith("s3://"):
            raise errors.InvalidInput(f"--out {order.out}: name a path of this machine, or s3://bucket/…")
        return _Bucket(services, order)
    return _Disk(order)


class _Disk:
    """A file or folder of this machine."""

    def __init__(self, order: Order) -> None:
        self._path = Path(order.out.removeprefix("file://")).expanduser().absolute()
        self.uri = str(self._path)
        _check_name(order, self._path.name)
        if not self._path.parent.is_dir():
            raise errors.InvalidInput(f"{self._path.parent} is not a folder: make it, or name another place with --out")
        self._order = order
        self._require_replaceable()

    @contextmanager
    def draft(self) -> Iterator[Path]:
        with _draft_folder(".antenna-export-", self._path.parent) as folder:
            yield folder / "draft"

    def publish(self, draft: Path) -> None:
        # Somebody may have put something there meanwhile.
        self._require_replaceable()
        earlier = draft.with_name("earlier")
        if self._path.is_dir():
            # An empty folder, or an earlier export: it goes with the draft's folder.
            self._path.rename(earlier)
        try:
            draft.replace(self._path)
        except OSError:
            if earlier.exists() and not os.path.lexists(self._path):
                earlier.rename(self._path)
            raise
        kernel.sync_folder(self._path.parent)

    def _require_replaceable(self) -> None:
        if os.path.lexists(self._path):
            _check_replaceable(self._order, self._path)


class _Bucket:
    """A file or folder of an object store."""

    def __init__(self, services: Services, order: Order) -> None:
        self.uri = order.out.rstrip("/")
        folder, _, self._name = self.uri.rpartition("/")
        if folder.endswith(("/", ":")):
            raise errors.InvalidInput(f"{order.out}: name something in the bucket, such as {self.uri}/export")
        _check_name(order, self._name)
        self._folder = Folder(folder, storage_options=storage_options(services.settings, folder))
        self._order = order
        self._is_file = order.format.file is not None
        self._require_replaceable()

    @contextmanager
    def draft(self) -> Iterator[Path]:
        with _draft_folder("antenna-export-", Path(tempfile.gettempdir())) as folder:
            yield folder / self._name

    def publish(self, draft: Path) -> None:
        # Somebody may have put something there meanwhile.
        there = self._require_replaceable()
        made = Folder(str(draft.parent))
        if self._is_file:
            self._folder.copy_from(made, [self._name])
            return
        unfinished, about = f"{self._name}/{UNFINISHED}", f"{self._name}/{ABOUT}"
        self._folder.write(unfinished, lambda sink: sink.write(b"written\n"))
        paths = [f"{self._name}/{path}" for path in made.find(self._name)]
        # What says what a folder holds comes last.
        kept = {*paths, unfinished} - {about}
        self._folder.remove(path for path in there if path not in kept)
        self._folder.copy_from(made, [path for path in paths if path != about])
        self._folder.copy_from(made, [path for path in paths if path == about])
        self._folder.remove([unfinished])

    def _require_replaceable(self) -> list[str]:
        """The files of the folder that is there. Raises `InvalidInput` unless what is there may go."""
        if self._is_file:
            if self._name in self._folder.names(""):
                _refuse_unless_replaced(self._order, self.uri, is_ours=True)
            return []
        there = self._folder.find(self._name)
        if there:
            _refuse_unless_replaced(self._order, self.uri, is_ours=bool({ABOUT, UNFINISHED} & set(there)))
            if UNFINISHED not in there:
                about = self._folder.read(f"{self._name}/{ABOUT}")
                _refuse_files_of_people(self.uri, len([path for path in there if path != ABOUT]), about)
        return [f"{self._name}/{path}" for path in there]


@contextmanager
def _draft_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """A folder that is gone in the end. Raises `InvalidInput` if none can be made."""
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise errors.InvalidInput(f"{parent}: nothing can be written there: {why}; name another place") from error
    with made as folder:
        yield Path(folder)


def _check_name(order: Order, name: str) -> None:
    """Raise `InvalidInput` for a name that programs would not take for the format's."""
    if not name or name in (".", ".."):
        raise errors.InvalidInput(f"--out {order.out} has no name: name a file or a folder")
    usual = order.format.file
    suffix = Path(usual).suffix if usual else ""
    if suffix and not name.lower().endswith(suffix):
        raise errors.InvalidInput(f"{order.format.name} is one file: name it with --out, such as {usual}")


def _check_replaceable(order: Order, path: Path) -> None:
    """Raise `InvalidInput` unless what is at the path may go."""
    if order.format.file is not None:
        if path.is_dir():
            raise errors.InvalidInput(f"{path} is a folder: {order.format.name} is a file, such as {order.format.file}")
        _refuse_unless_replaced(order, str(path), is_ours=True)
        return
    if not path.is_dir() or path.is_symlink():
        raise errors.InvalidInput(f"{path} exists and is not a folder: name a new one with --out")
    if any(path.iterdir()):
        _refuse_unless_replaced(order, str(path), is_ours=(path / ABOUT).is_file())
        _refuse_files_of_people(str(path), _files_in(path), (path / ABOUT).read_bytes())


def _refuse_unless_replaced(order: Order, where: str, *, is_ours: bool) -> None:
    if not is_ours:
        raise errors.InvalidInput(f"{where} holds files that are not an export: name a new folder with --out")
    if not order.replace:
        raise errors.InvalidInput(f"{where} exists: name another place with --out, or replace it with --replace")


def _files_in(folder: Path) -> int:
    """Files and links in a folder, besides what says what it is and what desktops leave there."""
    return sum(
        not (one.is_dir() and not one.is_symlink()) and one.name not in (ABOUT, *_OF_DESKTOPS)
        for one in folder.rglob("*")
    )


_OF_DESKTOPS: Final = (".DS_Store", "Thumbs.db", "desktop.ini")


def _refuse_files_of_people(where: str, files: int, about: bytes) -> None:
    """Raise `InvalidInput` if an earlier export has more files than were exported: they would go with it."""
    try:
        exported = int(json.loads(about)["files"])
    except (ValueError, KeyError, TypeError):
        exported = 0
    if files > exported:
        raise errors.InvalidInput(
            f"{where} holds {counted(files - exported, 'file')} that the export did not write: move them away, or name "
            "another place with --out"
        )
