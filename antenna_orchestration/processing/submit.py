"""Submit: check what is asked for, write the job with its images, and publish its first tasks.

The one verb behind the command line, the Dagster job `submit_job` and `submit_images`, the function for Python.
Everything is checked before anything is written, and the writing is one transaction.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar
from urllib.parse import unquote

from antenna_orchestration import errors, kernel, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.catalog.jobs import KeptDeployment, NewJob, SubmittedImage
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.catalog.sources import SourceClaim
from antenna_orchestration.domain import (
    capture_sets,
    ids,
    job_config,
    nights,
    score_vectors,
    terminal,
    texts,
    times,
)
from antenna_orchestration.domain.capture_sets import NotChosen, Rule
from antenna_orchestration.domain.ids import ImageId, JobId, PipelineSlug
from antenna_orchestration.domain.job import DispatchMode, Job, JobStatus
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.ecology import places
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
from antenna_orchestration.processing import given_detections, publish, services
from antenna_orchestration.processing.bound import bind
from antenna_orchestration.processing.services import Services
from antenna_orchestration.submission import capture_times, kinds, limits, locations, narrowing, versions
from antenna_orchestration.submission import sources as sources_module
from antenna_orchestration.submission.capture_times import ExifMode
from antenna_orchestration.submission.sources import LeftOut

MAX_INTERACTIVE: Final = 20
"""Most images of an interactive job. Such jobs go first, so they are limited to what a person waits for."""

DEFAULT_PROJECT: Final = "default"

_MAX_NAME = 200

THREADS: Final = 4
"""Submissions of one process that look for their images at the same time."""

_threads: Final = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="submission")
"""Where sources are read: it takes as long as a client's folders and patterns make it."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """What is to be processed, and how."""

    # Folders, patterns, files, s3:// and http(s):// locations, and lists of them.
    sources: Sequence[str] = ()
    # Images named one by one, in addition to those of the sources, or instead.
    images: Sequence[SubmittedImage] = ()
    pipeline: str = registry.DEFAULT_PIPELINE
    project: str = DEFAULT_PROJECT
    # Empty: made from the first source.
    name: str = ""
    # Values that override the pipeline's defaults.
    config: Mapping[str, Any] = field(default_factory=dict)
    # Share of the workers that the job gets, relative to others.
    priority: int = 1
    # By when the results are wanted, as `times.due` reads it; more workers are started for it. Empty: no matter.
    due: str = ""
    # Goes first; at most `MAX_INTERACTIVE` images.
    interactive: bool = False
    # Most images to take: the first ones or, with `shuffle`, random ones.
    limit: int | None = None
    shuffle: bool = False
    # Makes a shuffle repeatable.
    seed: int | None = None
    # Also take images that this pipeline has processed before.
    reprocess: bool = False
    # For images without a deployment of their own.
    deployment: str | None = None
    exif: ExifMode = "auto"
    # Whether workers lease the tasks or a push worker sends them to a processing service; None: as the project says.
    dispatch_mode: DispatchMode | None = None
    # At whose noon nights are cut, such as `Europe/Berlin`; empty: as the setting TIME_ZONE says.
    time_zone: str = ""
    # Who submits, for people; empty for the user of this process.
    created_by: str = ""
    # A finished job whose boxes are classified instead of looking for insects anew. Without sources or images, all of
    # its images that are done; the project is its project.
    detections_of: int | None = None
    # Instead of sources and images: all photographs of the project that the catalog knows, or those of a capture set.
    known: bool = False
    capture_set: str | None = None
    # Which of all these are taken: deployments by name (empty: all), nights as `nights.nights_named` reads them, and
    # the first photograph in each interval of a night, such as `10m`.
    only_deployments: Sequence[str] = ()
    nights: str = ""
    every: str = ""

    @property
    def takes_known(self) -> bool:
        """Whether the images are photographs that the catalog knows."""
        return self.known or self.capture_set is not None

    def rule(self, time_zone: str) -> Rule:
        """Which photographs are taken; nights are cut in `time_zone` where no other is known. Raises `InvalidInput`."""
        return Rule(
            deployments=tuple(self.only_deployments),
            nights=nights.nights_named(self.nights),
            every=capture_sets.every_seconds(self.every),
            time_zone=time_zone,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """A job as it was written."""

    job_id: JobId
    name: str
    project: str
    pipeline: PipelineSlug
    # QUEUED; SUCCESS if there is nothing to process, because all images were skipped.
    status: JobStatus
    # Images to process, without the skipped ones.
    total: int
    # Images left out because the pipeline processed them before.
    skipped: int
    # Images that were named more than once and are processed once.
    duplicates: int
    # Warnings for people, one line each; they do not stop the job.
    warnings: tuple[str, ...]
    # Files and folders below the sources that were not taken.
    left_out: tuple[LeftOut, ...] = ()
    # Photographs that were named and not wanted, by the reason.
    not_chosen: NotChosen = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The images of a submission, before anything is written."""

    images: list[SubmittedImage]
    duplicates: int
    # What is said differently of some of these, by URI.
    conflicts: Mapping[str, str]
    warnings: list[str]
    left_out: list[LeftOut]
    # What listings of buckets said of the images' versions.
    versions: dict[str, Version]
    # Images that were named and not wanted, by the reason.
    not_chosen: NotChosen = field(default_factory=dict)

    @classmethod
    def of_nothing(cls) -> Selection:
        """For a submission that names no images."""
        return cls(images=[], duplicates=0, conflicts={}, warnings=[], left_out=[], versions={})

    @property
    def about_duplicates(self) -> str:
        """A warning about images that were named more than once; empty if none was."""
        return sources_module.about_duplicates(self.duplicates, self.conflicts)


async def submit(
    services: Services,
    submission: Submission,
    *,
    allowed_roots: Sequence[Path] | None = None,
    allowed_buckets: Sequence[str] | None = None,
    most_interactive: int | None = None,
    within: float | None = None,
    selection: Selection | None = None,
    claim: SourceClaim | None = None,
    progress: Callable[[str, int], None] = lambda what, count: None,
) -> Submitted:
    """Write a job and publish its first tasks. A job of which every image is skipped is over at once.

    `allowed_roots` are the folders that local images may lie in: None stands for the setting `IMAGE_ROOTS` (any folder
    when that is not set), an empty sequence for no local images at all. `allowed_buckets` are the `s3://bucket/prefix`
    locations that images in buckets may lie in; None for all that the credentials of this process reach.
    `most_interactive` is how many interactive jobs of the project may be under way, this one among them. `progress` is
    told, mostly on another thread, what was done and how often so far, such as `images found`. Looking for the images
    ends after `within` seconds, None: no matter how long it takes. With `selection` nothing is looked for: these are
    the images of the submission. `claim` are the files of a watched source that they are.

    Raises `InvalidInput` and its kinds, such as `OtherVersion` for a pipeline that changed under its version;
    `Conflict` for an interactive job too many, or for files of a source that are in another job; `Unavailable` for the
    catalog or a bucket; with nothing written. A queue that cannot be reached is only a warning: the sensor publishes
    later.
    """
    source = await given_detections.source_of(services, submission.detections_of, submission.project)
    if source is not None:
        submission = replace(submission, project=source.project)
    spec = await spec_of(services, submission.pipeline, submission.project)
    config = check(submission, spec)
    # Before the images are looked for, which may take long.
    binding = await bind(services, spec, config)
    time_zone = submission.time_zone or services.settings.time_zone
    nights.zone_named(time_zone)
    known = await services.catalog.deployments.places(submission.project)
    deadline = limits.Deadline(within)
    look = partial(
        select,
        settings=services.settings,
        known=known,
        allowed_roots=allowed_roots,
        allowed_buckets=allowed_buckets,
        deadline=deadline,
        progress=progress,
    )
    try:
        taken = await _take(services, submission, source=source, known=known, given=selection, look=look)
    except asyncio.CancelledError:
        # Python waits for the thread that looks before it ends.
        deadline.give_up()
        raise
    chosen, selected = taken.images, taken.selected
    if spec.slug in registry.all_pipelines():
        # Once more: the files may have changed meanwhile.
        binding = await bind(services, spec, config)
        await services.catalog.pipelines.register(pipeline_row(spec))
    copies = 0 if source else await services.catalog.images.likely_copies(submission.project, chosen)
    kept: list[KeptDeployment] = []
    by = submission.created_by or kernel.user_of_this_process()
    boxes = f" with the boxes of job {source.job_id}" if source else ""

    def first_line(images: int) -> str:
        line = f"Submitted {counted(images, 'image')} to {spec.slug} {spec.version}{boxes}"
        if claim is not None:
            line += f", of source {claim.source_id}, night {claim.night or nights.TIME_UNKNOWN}"
        if left_out := kinds.summary(sources_module.count_left_out(selected.left_out)):
            line += f"; left out: {left_out}"
        if taken.not_chosen:
            line += f"; not chosen: {capture_sets.in_words(taken.not_chosen)}"
        return line

    progress("images handed to the catalog", len(chosen))
    job_id = await services.catalog.jobs.create(
        NewJob(
            project=submission.project,
            name=submission.name.strip() or _name_of(submission, chosen),
            pipeline=PipelineSlug(spec.slug),
            config=config,
            config_hash=config_hash(spec, config),
            priority=submission.priority,
            interactive=submission.interactive,
            due_at=times.due(submission.due, datetime.now(UTC)),
            reprocess=submission.reprocess,
            duplicates=selected.duplicates,
            source_kinds=locations.source_kinds((image.uri for image in chosen), services.settings),
            dispatch_mode=submission.dispatch_mode,
            created_by=by,
            time_zone=time_zone,
            most_interactive=most_interactive,
            detections_of=source.job_id if source else None,
            digest=binding.digest,
            of_version=binding.of_version,
            claim=claim,
            deployments_are_known=submission.takes_known or claim is not None,
        ),
        chosen,
        told=kept.extend,
        first_line=first_line,
    )
    job = await services.catalog.jobs.get(job_id)
    warnings = [*binding.warnings, *selected.warnings, *filter(None, [selected.about_duplicates])]
    if job.skipped:
        everything = "all " if not job.total and job.skipped > 1 else ""
        warnings.append(
            f"{everything}{counted(job.skipped, 'image')} skipped, processed by version {spec.version} of {spec.slug} "
            f"before{boxes} (--reprocess takes {'it' if job.skipped == 1 else 'them'} too)"
        )
    if kept:
        warnings.append(about_kept(kept, submission.project))
    warnings += about_zones(taken.zoneless, known, submission.project)
    warnings += capture_times.unlike_their_places(chosen, known)
    if copies:
        warnings.append(f"{about_copies(copies)}; `antenna jobs cancel {job_id}` stops that")
    if queue_warning := await publish.publish_first(services, job_id):
        warnings.append(queue_warning)
    warnings = [texts.storable(warning) for warning in (*warnings, *taken.warnings)]
    warnings += await _log_warnings(services, job, warnings)
    return Submitted(
        job_id=job_id,
        name=job.name,
        project=job.project,
        pipeline=job.pipeline,
        status=job.status,
        total=job.total,
        skipped=job.skipped,
        duplicates=job.duplicates,
        warnings=tuple(warnings),
        left_out=tuple(selected.left_out),
        not_chosen=taken.not_chosen,
    )


class _Taken(NamedTuple):
    """The images of a job, before it is written."""

    images: list[SubmittedImage]
    # What was found where the submission looked.
    selected: Selection
    not_chosen: NotChosen
    # The deployments whose images have digits without a zone, and of which no zone is known.
    zoneless: Sequence[str]
    # What is to be said of versions and boxes.
    warnings: Sequence[str]


async def _take(
    services: Services,
    submission: Submission,
    *,
    source: Job | None,
    known: Mapping[str, Place],
    given: Selection | None,
    look: Callable[[Submission], Selection],
) -> _Taken:
    """The images of a submission with their moments and versions or, if they are of a job `source`, its boxes."""
    offered = submission if source is None else replace(submission, limit=None, shuffle=False, interactive=False)
    names_none = not submission.sources and not submission.images and not submission.takes_known
    if names_none:
        selected = Selection.of_nothing()
    elif submission.takes_known:
        selected = await select_known(services.catalog, offered, services.settings)
    elif given is not None:
        selected = given
    elif source is None:
        selected = await _on_a_thread(look, offered)
    else:
        # They are narrowed below, by what is known of them.
        selected = await _on_a_thread(look, replace(offered, only_deployments=(), nights="", every=""))
    if source is None:
        placed, zoneless = await _on_a_thread(capture_times.at_places, selected.images, known)
        if submission.takes_known:
            # A known photograph is these bytes, whatever its URL stands for by now.
            return _Taken(placed, selected, selected.not_chosen, zoneless, ())
        found = await _on_a_thread(versions.fill, placed, selected.versions, services.settings)
        return _Taken(found[0], selected, selected.not_chosen, zoneless, found[1])
    done, warning = await given_detections.images_of(
        services, source, None if names_none else selected.images, deployment=submission.deployment
    )
    not_chosen = selected.not_chosen
    rule = submission.rule(submission.time_zone or services.settings.time_zone)
    if not (submission.takes_known or rule.takes_all):
        done, not_chosen = await _on_a_thread(_narrowed, done, rule, known)
    boxed = await _on_a_thread(
        given_detections.with_boxes, services.lake, source, done, partial(_choose, submission=submission)
    )
    placed, zoneless = await _on_a_thread(capture_times.at_places, boxed, known)
    warnings = [*filter(None, [warning, given_detections.about_boxes(placed)])]
    return _Taken(placed, selected, not_chosen, zoneless, warnings)


async def select_known(catalog: Catalog, submission: Submission, settings: settings_module.Settings) -> Selection:
    """The known photographs that a submission takes; writes nothing.

    Raises `NotFound` for a project, deployment or capture set that does not exist, and `InvalidInput` if none is left.
    """
    one = None
    if submission.capture_set is not None:
        one = await catalog.capture_sets.get(submission.project, submission.capture_set)
    images, not_chosen = await catalog.capture_sets.photographs(
        submission.project, submission.rule(submission.time_zone or settings.time_zone), of_set=one
    )
    return replace(Selection.of_nothing(), images=_choose(images, submission), not_chosen=not_chosen)


def _narrowed(
    done: Mapping[ImageId, SubmittedImage], rule: Rule, known: Mapping[str, Place]
) -> tuple[dict[ImageId, SubmittedImage], NotChosen]:
    """Those of a job's images that the rule wants, and why not others."""
    placed, _ = capture_times.at_places(list(done.values()), known)
    at = dict(zip(placed, done, strict=True))
    kept, not_chosen = narrowing.narrow(placed, rule, known)
    return {at[image]: image for image in kept}, not_chosen


def select(
    submission: Submission,
    settings: settings_module.Settings,
    *,
    known: Mapping[str, Place] | None = None,
    allowed_roots: Sequence[Path] | None = None,
    allowed_buckets: Sequence[str] | None = None,
    deadline: limits.Deadline | None = None,
    progress: Callable[[str, int], None] = lambda what, count: None,
) -> Selection:
    """The images that a submission names and takes, with their capture times, as `submit` takes them; writes nothing.

    `known` are the places of the project's deployments, at whose noon nights are cut; None: nobody could be asked.
    Raises `InvalidInput` and its kinds, also when the deadline is over, and `Unavailable` for a bucket.
    """
    ends = deadline or limits.Deadline()

    def opened(count: int) -> None:
        ends.check()
        progress("files read for their capture times", count)

    gathered = sources_module.gather(
        submission.sources,
        submission.images,
        settings=settings,
        allowed_roots=allowed_roots,
        allowed_buckets=allowed_buckets,
        deployment=submission.deployment,
        deadline=ends,
        progress=lambda count: progress("images found", count),
    )
    rule = submission.rule(submission.time_zone or settings.time_zone)
    # Times are looked for last: for a few of many images that is little, unless they decide which.
    offered = gathered.images if not rule.takes_all else _choose(gathered.images, submission)
    images, warnings = capture_times.fill(
        offered,
        exif=submission.exif,
        progress=opened,
    )
    not_chosen: NotChosen = {}
    if not rule.takes_all:
        placed, _ = capture_times.at_places(images, known or {})
        images, not_chosen = narrowing.narrow(placed, rule, known or {})
        images = _choose(images, submission)
    _check_deployments(images)
    return Selection(
        images=images,
        duplicates=gathered.duplicates,
        conflicts=gathered.conflicts,
        warnings=[*gathered.warnings, *warnings],
        left_out=gathered.left_out,
        versions=gathered.versions,
        not_chosen=not_chosen,
    )


def about_copies(count: int) -> str:
    """A warning about files that have the size they had before, and another time."""
    has, is_, was = "have the size that they", "they are", "they were"
    if count == 1:
        has, is_, was = "has the size that it", "it is", "it was"
    return (
        f"{counted(count, 'image')} {has} had before at the same path, and another time of change: {is_} taken as new, "
        f"also if {was} only copied again (`cp -p` keeps the time)"
    )


def about_kept(kept: Sequence[KeptDeployment], project: str) -> str:
    """A warning about skipped images whose results are of another deployment than was said; `kept` is not empty."""
    count = sum(one.images for one in kept)
    pairs = texts.listed([f"{one.images:,} of {one.has}, said to be of {one.said}" for one in kept], 3)
    return (
        f"{counted(count, 'skipped image')} stay{'s' if count == 1 else ''} in another deployment than was said, in "
        f"the tables, too: {pairs}; `antenna deployments rename {shlex.quote(kept[0].has)} {shlex.quote(kept[0].said)} "
        f"--project {project}` gives a deployment another name, --reprocess processes images again in another one"
    )


def about_zones(zoneless: Sequence[str], known: Mapping[str, Place], project: str) -> list[str]:
    """Warnings about deployments without a time zone that can be used, whose photographs' times do not say theirs."""
    named = [known[name] for name in zoneless if name in known and known[name].time_zone]
    names = [name for name in zoneless if name not in known or not known[name].time_zone]
    lines = [places.about_unknown_zones(named, project)]
    if names:
        lines.append(
            f"no time zone is known for {counted(len(names), 'deployment')} ({texts.listed(names)}): the cameras' "
            f"times count as UTC; `antenna deployments import FILE --project {project}` says it, or, once a deployment "
            f"is there, `antenna deployments set NAME --time-zone ZONE --project {project}`"
        )
    return [line for line in lines if line]


def submit_images(
    *sources: str,
    settings: settings_module.Settings | None = None,
    allowed_roots: Sequence[Path] | None = None,
    **fields: Any,
) -> Submitted:
    """Submit from plain Python: `submit_images("/data/night-1", pipeline="null", limit=10)`.

    `fields` are those of `Submission`. Connects, submits, and disconnects. Raises what `submit` raises.
    """
    submission = Submission(sources=sources, **fields)

    async def run() -> Submitted:
        async with services.opened(settings or settings_module.get()) as opened:
            return await submit(opened, submission, allowed_roots=allowed_roots)

    return asyncio.run(run())


def config_hash(spec: PipelineSpec, config: Mapping[str, Any]) -> str:
    """Hash of a pipeline's version and its whole configuration. Raises `InvalidInput` for values that JSON lacks."""
    try:
        text = json.dumps(
            {"pipeline": spec.slug, "version": spec.version, "config": dict(config)},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise errors.InvalidInput(f"the configuration cannot be written as JSON: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def pipeline_row(spec: PipelineSpec) -> PipelineRow:
    """A pipeline as the catalog registers it."""
    return PipelineRow(
        slug=spec.slug,
        name=spec.name,
        version=spec.version,
        description=spec.description,
        default_config=spec.default_config,
        takes_detections=spec.takes_detections,
        algorithms=tuple(
            AlgorithmRow(
                key=algorithm.key,
                version=algorithm.version,
                name=algorithm.name,
                task=algorithm.task,
                description=algorithm.description,
                uri=algorithm.uri,
                labels=algorithm.labels,
                categories=algorithm.categories,
            )
            for algorithm in spec.algorithms
        ),
    )


async def spec_of(services: Services, slug: str, project: str) -> PipelineSpec:
    """The pipeline: of this installation, public, or as a worker behind the gateway registered it for the project.

    Raises `UnknownPipeline`, also for one of other projects.
    """
    ids.slug(slug, "pipeline")
    if slug in registry.all_pipelines():
        return registry.get(slug)
    row = await services.catalog.pipelines.find(slug, project=project)
    if row is None:
        return registry.get(slug)
    return registered_spec(row)


def registered_spec(row: PipelineRow) -> PipelineSpec:
    """The description of a pipeline that a worker behind the gateway registered."""
    return PipelineSpec(
        slug=row.slug,
        name=row.name,
        version=row.version,
        description=row.description,
        # Whoever registered it runs it.
        factory="",
        takes_any_config=True,
        takes_detections=row.takes_detections,
        default_config=row.default_config,
        choices={score_vectors.SETTING: score_vectors.CHOICES},
        algorithms=tuple(
            AlgorithmSpec(
                key=algorithm.key,
                version=algorithm.version,
                name=algorithm.name,
                task=algorithm.task,
                description=algorithm.description,
                labels=tuple(algorithm.labels),
                uri=algorithm.uri,
                categories=tuple(algorithm.categories),
            )
            for algorithm in row.algorithms
        ),
    )


def check(submission: Submission, spec: PipelineSpec) -> dict[str, Any]:
    """Everything else that can be checked without looking at a source; the pipeline's whole configuration."""
    ids.slug(submission.project, "project")
    job_config.check(submission.config)
    config = spec.merged_config(submission.config)
    if config.get(score_vectors.SETTING) == score_vectors.AUTO:
        del config[score_vectors.SETTING]
    config_hash(spec, config)
    if not 1 <= submission.priority <= 100:
        raise errors.InvalidInput(f"priority {submission.priority} is not between 1 and 100")
    times.due(submission.due, datetime.now(UTC))
    if submission.limit is not None and submission.limit < 1:
        raise errors.InvalidInput(f"limit {submission.limit} leaves no image; it is 1 or more")
    if submission.detections_of is not None and not spec.takes_detections:
        raise errors.InvalidInput(
            f"pipeline {spec.slug} cannot classify the boxes of another job, or does not say that it can; those here "
            f"that can are {texts.listed(_that_take_boxes())}"
        )
    _check_known(submission)
    submission.rule(nights.UTC_NAME)
    if (
        not submission.sources
        and not submission.images
        and not submission.takes_known
        and submission.detections_of is None
    ):
        raise errors.InvalidSource(
            "no images: name a folder, a list, or URLs, or photographs that are known with --known or --set NAME"
        )
    _check_text(submission.name, "name")
    _check_text(submission.deployment or "", "deployment")
    _check_text(submission.created_by, "created_by")
    return config


def _check_known(submission: Submission) -> None:
    """Raise `InvalidInput` for what contradicts known photographs."""
    if not submission.takes_known:
        return
    named = "--known" if submission.known else "--set"
    if submission.known and submission.capture_set is not None:
        raise errors.InvalidInput("--known takes all known photographs, --set those of a capture set: choose one")
    if submission.sources or submission.images:
        raise errors.InvalidInput(f"{named} takes photographs that are known: name no sources with it")
    if submission.deployment is not None:
        raise errors.InvalidInput(
            f"--deployment says of which deployment new images are: with {named}, --only-deployment chooses one"
        )
    if submission.capture_set is not None:
        ids.slug(submission.capture_set, "set")


def _that_take_boxes() -> list[str]:
    return [slug for slug, spec in registry.all_pipelines().items() if spec.takes_detections]


def _check_text(text: str, what: str) -> None:
    """Refuse texts that PostgreSQL cannot store or a listing cannot show."""
    if len(text) > _MAX_NAME:
        raise errors.InvalidInput(f"{what} {text[:40]!r}… is longer than {_MAX_NAME} characters")
    if not text.isprintable():
        raise errors.InvalidInput(f"{what} {text!r} holds characters that cannot be printed")


def _check_deployments(images: Sequence[SubmittedImage]) -> None:
    for deployment in {image.deployment for image in images}:
        _check_text(deployment or "", "deployment")


def _choose(images: Sequence[SubmittedImage], submission: Submission) -> list[SubmittedImage]:
    """Shuffle, then limit."""
    chosen = list(images)
    if submission.shuffle:
        random.Random(submission.seed).shuffle(chosen)  # noqa: S311  # no secret hangs on it
    chosen = chosen[: submission.limit]
    if submission.interactive and len(chosen) > MAX_INTERACTIVE:
        raise errors.InvalidInput(
            f"an interactive job takes at most {MAX_INTERACTIVE} images, these are {len(chosen)}: "
            f"use --limit {MAX_INTERACTIVE}, or submit without --interactive"
        )
    return chosen


def _name_of(submission: Submission, images: Sequence[SubmittedImage]) -> str:
    """The default name of a job: the last part of its first source."""
    if submission.detections_of is not None:
        return f"{submission.pipeline} on boxes of {submission.detections_of}"
    if submission.capture_set is not None:
        return f"set {submission.capture_set}"
    if submission.known:
        narrowed = [*submission.only_deployments, submission.nights, submission.every]
        return " ".join(["known photographs", *filter(None, narrowed)])[:_MAX_NAME]
    first = submission.sources[0] if submission.sources else images[0].uri
    scheme = locations.scheme_of(first)
    if scheme in ("http", "https"):
        # Everybody who lists jobs sees their names; signatures and passwords are for those who load the image.
        first = server_urls.without_password(first).partition("#")[0]
    if not submission.sources:
        first = unquote(first)
    if scheme is None:
        first = str(Path(first).expanduser().absolute())
    last = first.rstrip("/").rsplit("/", 1)[-1] or first
    others = len(submission.sources or images) - 1
    # It must stand in lists, as a name that somebody gives has to.
    name = terminal.line(last)[: _MAX_NAME - 20]
    return f"{name} and {others} more" if others else name


async def _on_a_thread(function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Call a function that may take long on a thread that nothing but submissions waits for."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(function, *arguments, **options))


async def _log_warnings(services: Services, job: Job, warnings: Sequence[str]) -> list[str]:
    """Log them. What goes wrong is one more warning, which it returns."""
    try:
        for warning in warnings:
            await services.catalog.job_log.add(job.job_id, "submitted", warning, level="WARNING")
    except errors.AntennaError as error:
        return [f"the job's log lacks what is said of it here: {error}"]
    return []
