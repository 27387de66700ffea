"""`antenna pipelines try`: one pipeline on a few photographs, as a worker would run it, without a stack."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.catalog.jobs import SubmittedImage
    from antenna_orchestration.domain.messages import Classification, Detection
    from antenna_orchestration.loading.loader import Loader
    from antenna_orchestration.pipelines.interface import PipelineSpec
    from antenna_orchestration.settings import Settings
    from antenna_orchestration.worker.trial.client import PipelineRefused, Trial
    from antenna_orchestration.worker.trial.messages import Ended, Loaded, Photograph, Tried

PATIENCE: Final = 120.0
"""Seconds that a step may take by default, for pipelines of other people; they have their weights at hand."""

PATIENCE_OF_OURS: Final = 1800.0
"""The same for built-in ones, which may download a gigabyte in `load`."""

_MOST_ROWS: Final = 20
"""Rows of one photograph that are shown."""

_SUFFIX: Final = ".boxes.jpg"
"""What pictures are called, after the photograph: no photograph has such a name, so none is written over."""


class _Outcome(NamedTuple):
    """What came of a photograph."""

    # What it is called here.
    name: str
    tried: Tried
    # The picture with what was found drawn in, if one was wanted.
    picture: Path | None = None


@dataclass(kw_only=True)
class _Report:
    """What a trial showed."""

    spec: PipelineSpec
    loaded: Loaded
    # None if the process was lost.
    ended: Ended | None = None
    # In the order in which photographs were named; those after a lost process are missing.
    outcomes: list[_Outcome] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Say it at once, and keep it for JSON."""
        self.warnings.append(text)
        output.warn(text)

    @property
    def failed(self) -> list[_Outcome]:
        """The photographs that have no result."""
        return [one for one in self.outcomes if one.tried.failed]


def try_(
    pipeline: Annotated[
        str, typer.Argument(metavar="SLUG|FILE", help="A pipeline, or the file that defines it.", show_default=False)
    ],
    photographs: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO…", help="Photographs, folders of them, or what submit takes.", show_default=False
        ),
    ],
    *,
    config: Annotated[
        str, typer.Option(metavar="JSON", help="Settings of the pipeline to change, such as '{\"min_score\": 0.5}'.")
    ] = "{}",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Draw what is found, one picture a photograph, into this folder.", show_default=False
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    limit: Annotated[int, typer.Option(min=1, help="Try at most this many photographs, the first ones.")] = 20,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="SECONDS",
            help="How long loading may take, and each step of a photograph.",
            show_default="120; 1,800 for built-in ones",
        ),
    ] = None,
    slug: Annotated[
        str | None,
        typer.Option(metavar="SLUG", help="Which pipeline of FILE, if it defines several.", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with all rows.")] = False,
) -> None:
    """Try a pipeline on photographs as a worker runs it, without a stack.

    A process of its own loads the pipeline, processes the photographs in batches and checks each result as workers do.
    Prints what was found, the time of each step and the memory, and every error with its whole trace. The exit code is
    1 if the pipeline cannot be loaded or a photograph fails.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.cli.submit import parse_config

    values = parse_config(config)
    settings = settings_module.get()
    # Whoever tries has rights of their own; the folders that workers may read are another matter.
    settings = settings.model_copy(update={"image_roots": ()})
    spec, paths = _found(pipeline, slug, settings)
    settings = settings.model_copy(update={"pipeline_paths": paths})
    spec.merged_config(values)
    images = _images(photographs, settings, limit)
    patience = time_limit or (PATIENCE_OF_OURS if spec.origin.is_built_in else PATIENCE)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(_tried(spec, images, settings, config=values, device=device, time_limit=patience, out=out))
    if json_:
        output.as_json(_as_dict(report))
    else:
        _show(report)
    if failed := len(report.failed):
        raise errors.InternalError(f"{failed} of {counted(len(images), 'photograph')} failed")


# What is tried.


def _found(pipeline: str, slug: str | None, settings: Settings) -> tuple[PipelineSpec, tuple[Path, ...]]:
    """The pipeline, and the paths in which the registry finds it. Raises `UnknownPipeline` and `InvalidInput`."""
    from antenna_orchestration.pipelines import registry, sources

    file = Path(pipeline).expanduser()
    if not pipeline.endswith(sources.SUFFIXES):
        if slug is not None:
            raise errors.InvalidInput("--slug is for a FILE that defines several pipelines")
        return registry.get(pipeline, settings.pipeline_paths), tuple(settings.pipeline_paths)
    if not file.is_file():
        raise errors.InvalidInput(f"there is no file {file}")
    paths = (file.resolve(),)
    found = registry.read(paths)
    for one in found.broken:
        if one.origin == str(paths[0]):
            for line in one.trace.splitlines():
                output.note(line)
            raise errors.InvalidSetting(str(one))
    own = {one: spec for one, spec in found.pipelines.items() if spec.origin.name == str(paths[0])}
    if slug is None and len(own) != 1:
        raise errors.InvalidInput(f"{file} defines {len(own)} pipelines: say --slug, one of {', '.join(own)}")
    wanted = slug or next(iter(own))
    if wanted not in own:
        raise errors.UnknownPipeline(f"{file} defines no pipeline {wanted!r}; it has: {', '.join(own)}")
    return own[wanted], paths


def _images(photographs: Sequence[str], settings: Settings, limit: int) -> list[SubmittedImage]:
    from antenna_orchestration.submission import capture_times, sources

    gathered = sources.gather(photographs, settings=settings)
    for warning in gathered.warnings:
        output.warn(warning)
    images = gathered.images[:limit]
    if len(gathered.images) > limit:
        output.note(f"the first {limit} of {len(gathered.images):,} photographs; --limit takes more")
    timed, _ = capture_times.fill(images, exif="auto", progress=lambda count: None)
    return list(timed)


async def _tried(
    spec: PipelineSpec,
    images: Sequence[SubmittedImage],
    settings: Settings,
    *,
    config: Mapping[str, Any],
    device: str,
    time_limit: float,
    out: Path | None,
) -> _Report:
    from antenna_orchestration.worker.trial import client

    before = _state_of_packages(spec)
    try:
        async with client.started(
            settings, slug=spec.slug, config=config, device=device, time_limit=time_limit, on_line=output.note
        ) as trial:
            report = _Report(spec=spec, loaded=await trial.loaded())
            await _run(trial, report, images, settings, out)
    except client.PipelineRefused as error:
        raise _explained(error, spec) from None
    except client.PipelineLost as error:
        raise errors.InternalError(f"pipeline {spec.slug} cannot be loaded: {error}") from None
    if written := sorted(file for file, _ in _state_of_packages(spec) ^ before):
        report.warn(
            f"{written[0]} was written while the pipeline ran, and belongs to its code: workers take it for another "
            "pipeline then; write to a folder outside of the package"
        )
    return report


def _state_of_packages(spec: PipelineSpec) -> set[tuple[str, int]]:
    """The files of the pipeline's packages, with the time of their last change."""
    from antenna_orchestration.pipelines import identity

    found = set()
    for package in spec.origin.packages:
        for file in itertools.islice(identity.walk(Path(package)), identity.MOST_FILES):
            # It may be gone again.
            with contextlib.suppress(OSError):
                found.add((str(file), file.stat().st_mtime_ns))
    return found


def _explained(error: PipelineRefused, spec: PipelineSpec) -> errors.InternalError:
    """Print the whole trace of a pipeline that cannot be loaded; returns the error with the line that helps."""
    refused = error.refused
    for line in refused.trace.splitlines():
        output.note(line)
    where = f" ({refused.where})" if refused.where else ""
    return errors.InternalError(f"pipeline {spec.slug}: {refused.step} failed: {refused.reason}{where}")


async def _run(
    trial: Trial, report: _Report, images: Sequence[SubmittedImage], settings: Settings, out: Path | None
) -> None:
    """Load the photographs as workers load them, and try them batch by batch."""
    from antenna_orchestration.loading.loader import Loader
    from antenna_orchestration.loading.memory import MemoryBudget
    from antenna_orchestration.worker.trial.client import PipelineLost
    from antenna_orchestration.worker.trial.messages import Tried

    names = _names(images)
    pictures = _picture_names(names)
    numbers = range(len(images))
    lost = None
    async with Loader(settings=settings, memory=MemoryBudget(settings.max_image_bytes)) as loader:
        for start in numbers[:: report.loaded.batch_size]:
            batch, tried = await _read(loader, images, numbers[start : start + report.loaded.batch_size])
            try:
                tried += await trial.run(batch)
            except PipelineLost as error:
                lost = error
                tried += [Tried(number, {}, failed=lost.step, reason=str(lost)) for number in lost.numbers]
            data = {one.number: one.data for one in batch}
            for one in sorted(tried, key=lambda one: one.number):
                picture = None
                if out is not None and not one.failed:
                    picture = out / pictures[one.number]
                    await asyncio.to_thread(_draw, picture, data[one.number], one.detections, report)
                report.outcomes.append(_Outcome(names[one.number], one, picture))
            if lost is not None:
                break
    if lost is None:
        report.ended = await trial.end()
    elif left := len(images) - len(report.outcomes):
        report.warn(f"{counted(left, 'photograph')} not tried: the pipeline's process is gone")
    for note in trial.notes:
        report.warn(note)
    for path in report.ended.unnamed if report.ended else []:
        report.warn(
            f"{report.spec.slug} reads {path}, which no algorithm names (uri, labels_uri): when that file changes, "
            "nobody notices, and new results are booked under the old version"
        )


async def _read(
    loader: Loader, images: Sequence[SubmittedImage], numbers: Sequence[int]
) -> tuple[list[Photograph], list[Tried]]:
    """The photographs with their bytes, and those that cannot be read."""
    from antenna_orchestration.worker.trial.messages import Photograph, Tried

    found: list[Photograph] = []
    unread: list[Tried] = []
    for number in numbers:
        image = images[number]
        try:
            data = await loader.load(image.link or image.uri, version=image.version)
        except errors.ImageError as error:
            unread.append(Tried(number, {}, failed="reading", reason=str(error)))
        else:
            # They are few.
            loader.memory.release(len(data))
            found.append(Photograph(number, image.uri, data, image.captured_at, image.deployment))
    return found, unread


def _picture_names(names: Sequence[str]) -> list[str]:
    from antenna_orchestration.exports import file_names

    stems = [str(Path(name).with_suffix("")) for name in names]
    parts = file_names.parts_of(stems)
    return [f"{parts[stem]}{_SUFFIX}" for stem in stems]


def _names(images: Sequence[SubmittedImage]) -> list[str]:
    """What to call each photograph: its file's name where no other has it, else its path or address."""
    from antenna_orchestration.domain import addresses

    paths = [addresses.path_of(one.uri) if one.uri.startswith("file:") else one.uri.partition("?")[0] for one in images]
    stems = Counter(Path(path).stem.casefold() for path in paths)
    return [path if stems[Path(path).stem.casefold()] > 1 else Path(path).name for path in paths]


def _draw(picture: Path, data: bytes, found: Sequence[Detection], report: _Report) -> None:
    from antenna_orchestration.pipelines import pictures

    try:
        picture.write_bytes(pictures.draw_boxes(data, found, pictures.FULL_WIDTH, max_bytes=None))
    except errors.ImageError as error:
        # The pipeline may read what we cannot.
        report.warn(f"{picture.name} is not drawn: {error}")


# What is shown.


def _show(report: _Report) -> None:
    spec, loaded = report.spec, report.loaded
    from antenna_orchestration.pipelines import identity

    console = output.console()
    took = ", ".join(f"{step} {_seconds(value)}" for step, value in loaded.seconds.items())
    memory = f"{_megabytes(loaded.memory)} for the pipeline"
    if report.ended is not None:
        memory += f", {_megabytes(report.ended.peak)} at most of the process"
        if report.ended.device_peak is not None:
            memory += f", {_megabytes(report.ended.device_peak)} at most on the GPU"
    values = {
        "pipeline": f"{spec.slug} {spec.version}",
        "from": str(spec.origin),
        "digest": identity.digest_of(spec) or "unknown: a file is not on this machine",
        "device": f"{loaded.device} ({loaded.device_name})",
        "loading": took,
        "memory": memory,
    }
    output.show_pairs(values)
    for outcome in report.failed:
        one = outcome.tried
        for line in one.trace.splitlines():
            output.note(line)
        where = f" ({one.where})" if one.where else ""
        output.note(f"{outcome.name}: {one.failed} failed: {one.reason}{where}")
    if report.outcomes:
        console.print()
        output.show_table(
            ("PHOTOGRAPH", "SIZE", "FOUND", "PREPARE", "INFER", "FINISH"),
            [_photograph_row(one) for one in report.outcomes],
            numbers=("FOUND", "PREPARE", "INFER", "FINISH"),
            shrinks=("PHOTOGRAPH",),
        )
    if rows := [row for one in report.outcomes if not one.tried.failed for row in _rows(one)]:
        console.print()
        output.show_table(
            ("PHOTOGRAPH", "BOX (x1 y1 x2 y2)", "SCORE", "LABEL", "SCORE "),
            rows,
            numbers=("SCORE", "SCORE "),
            shrinks=("PHOTOGRAPH",),
            wraps=("LABEL",),
        )
    drawn = [one.picture for one in report.outcomes if one.picture is not None and one.picture.exists()]
    if drawn:
        console.print()
        for path in drawn:
            output.line(str(path))


def _photograph_row(outcome: _Outcome) -> tuple[str, ...]:
    one = outcome.tried
    size = f"{one.width} x {one.height}" if one.width else ""
    found = "failed" if one.failed else str(len(one.detections))
    times = (_seconds(one.seconds[step]) if step in one.seconds else "" for step in ("prepare", "infer", "finish"))
    return (outcome.name, size, found, *times)


def _rows(outcome: _Outcome) -> list[tuple[Any, ...]]:
    """What a photograph shows: what is said of it as a whole, then its boxes, the surest first."""
    path, one = outcome.name, outcome.tried
    rows: list[tuple[Any, ...]] = []
    if one.labels or one.attributes:
        rows.append((path, "whole photograph", "", *_said(one.labels, one.attributes)))
    best = sorted(one.detections, key=lambda found: found.score or 0.0, reverse=True)
    for found in best[:_MOST_ROWS]:
        box = " ".join(f"{side:.0f}" for side in found.box)
        beside = {"mask": "yes"} if found.mask else {}
        if found.rotated:
            beside["turned"] = f"{found.rotated.angle:.0f} degrees"
        attributes = {**beside, **(found.attributes or {})}
        rows.append((path, box, _score(found.score), *_said(found.classifications, attributes)))
    if len(best) > _MOST_ROWS:
        rows.append((path, f"… {len(best) - _MOST_ROWS:,} more (--json)", "", "", ""))
    return rows


def _said(said: Sequence[Classification], attributes: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """A line for each classification and each attribute, and the scores beside them."""
    labels = [f"{one.label}{'' if one.terminal else ' (step)'}" for one in said]
    return (
        [*labels, *(f"{name}: {value}" for name, value in attributes.items())],
        [_score(one.score) for one in said],
    )


def _as_dict(report: _Report) -> dict[str, Any]:
    from antenna_orchestration.pipelines import identity

    spec, loaded, ended = report.spec, report.loaded, report.ended
    return {
        "pipeline": spec.slug,
        "version": spec.version,
        "from": str(spec.origin),
        "digest": identity.digest_of(spec) or None,
        "device": loaded.device,
        "device_name": loaded.device_name,
        "seconds": loaded.seconds,
        "memory_bytes": loaded.memory,
        "peak_memory_bytes": ended.peak if ended else None,
        "peak_device_memory_bytes": ended.device_peak if ended else None,
        "unnamed_files": ended.unnamed if ended else [],
        "warnings": report.warnings,
        "photographs": [_outcome_as_dict(one) for one in report.outcomes],
    }


def _outcome_as_dict(outcome: _Outcome) -> dict[str, Any]:
    import msgspec

    one = outcome.tried
    shown = {"photograph": outcome.name, "seconds": one.seconds}
    if one.failed:
        return {**shown, "failed": one.failed, "reason": one.reason, "where": one.where, "trace": one.trace}
    return {
        **shown,
        "width": one.width,
        "height": one.height,
        "detections": msgspec.to_builtins(one.detections),
        "labels": msgspec.to_builtins(one.labels),
        "attributes": one.attributes,
        "picture": str(outcome.picture) if outcome.picture else None,
    }


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _megabytes(value: int) -> str:
    return f"{value / 2**20:,.0f} MB"
