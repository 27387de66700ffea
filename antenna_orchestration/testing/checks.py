"""`check_pipeline`: everything that a worker expects of a pipeline and does not look at itself, tried out."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from antenna_orchestration import errors, settings
from antenna_orchestration.domain.messages import AlgorithmRef, GivenBox
from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec
from antenna_orchestration.testing import photographs, version_lock
from antenna_orchestration.testing.photographs import Photograph
from antenna_orchestration.testing.runs import Report, Runner, Seen, difference

T = TypeVar("T")

THREADS: Final = 4
"""Threads that prepare and finish at once; a worker has as many as there are processors."""


class PipelineFaults(AssertionError):
    """What is wrong with a pipeline, all of it."""

    def __init__(self, pipeline: str, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        lines = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(
            f"pipeline {pipeline} has {len(self.faults)} {'fault' if len(faults) == 1 else 'faults'}:{lines}"
        )


def check_pipeline(
    pipeline: PipelineSpec | str,
    photos: Iterable[Photograph | Path | str | bytes] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    device: str = "cpu",
    lock: Path | str | None = None,
) -> Report:
    """Run a pipeline in this process as a worker would, and raise `PipelineFaults` with all that is wrong.

    `pipeline` is a description or a slug that `antenna pipelines list` knows; `photos` are files, or their bytes; None
    has three drawn. `config` are a job's settings. `lock` is the path of a `pipelines.lock` to compare with.

    Checked are: the description; that results say what the description declares, as the worker checks it; the size of
    the photograph; that a second run, a batch, another order in the batch, and several threads at once give the same
    result (boxes within half a pixel, scores within 0.001); odd photographs, and such as cannot be decoded; given
    boxes, where the pipeline takes them.

    Raises `InvalidInput` and `UnknownPipeline` for arguments that cannot be used.
    """
    spec = registry.imported(pipeline) if isinstance(pipeline, str) else pipeline
    taken = photographs.read(photos)
    check = _Checks(spec, config or {}, device)
    check.description()
    if lock is not None:
        check.faults += version_lock.faults(Path(lock), spec)
    if check.load():
        check.run(taken)
    if check.faults:
        raise PipelineFaults(spec.slug, check.faults)
    return Report(pipeline=spec.slug, version=spec.version, device=device, load=check.loaded_in, seen=check.seen)


class _Checks:
    """The checks of one pipeline; each adds to `faults`."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], device: str) -> None:
        self._spec = spec
        self._config = config
        self._device = device
        self.faults: list[str] = []
        self.seen: list[Seen] = []
        self.loaded_in = 0.0

    def description(self) -> None:
        """The defaults fit the settings that they are of, and so do ranges, choices and meanings."""
        spec = self._spec
        try:
            spec.merged_config(spec.default_config)
            json.dumps(dict(spec.default_config), allow_nan=False)
        except (errors.InvalidInput, TypeError, ValueError) as error:
            self.faults.append(f"default_config: {error}")
        for name in ("choices", "ranges", "meanings"):
            for key in sorted(set(getattr(spec, name)) - set(spec.default_config)):
                self.faults.append(f"{name} names a setting {key!r} that default_config lacks")
        keys = [algorithm.ref for algorithm in spec.algorithms]
        self.faults += [f"algorithm {key.key} {key.version} is declared twice" for key in keys if keys.count(key) > 1]
        for algorithm in spec.algorithms:
            twice = sorted({label for label in algorithm.labels if algorithm.labels.count(label) > 1})[:3]
            if twice:
                self.faults.append(f"algorithm {algorithm.key} has labels that are there twice: {', '.join(twice)}")
        if spec.batch_size < 1:
            self.faults.append(f"batch_size is {spec.batch_size}; it is 1 or more")

    def load(self) -> bool:
        """Build and load it, and run its example; whether there is anything to check further."""
        before = len(self.faults)
        built = self._tried("the class", lambda: interface.build(self._spec, self._config, top_k=settings.get().top_k))
        if built is None:
            return False
        if not isinstance(built, Pipeline):
            self.faults.append(f"{self._spec.factory} is not a subclass of Pipeline")
            return False
        began = time.perf_counter()
        self._tried("load", lambda: built.load(self._device))
        self.loaded_in = time.perf_counter() - began
        if len(self.faults) > before:
            return False
        self._runner = Runner(built)
        self._tried("example", self._example)
        return len(self.faults) == before

    def _example(self) -> None:
        example = self._runner.pipeline.example()
        if example is not None:
            self._runner.alone(Photograph("example", example.data, None))

    def run(self, taken: Sequence[Photograph]) -> None:
        """All that needs photographs. What fails on single ones is not tried in batches."""
        alone: dict[int, ImageResult] = {}
        for number, photograph in enumerate(taken):
            seen = self._tried(photograph.name, partial(self._runner.timed, photograph))
            if seen is not None:
                self.seen.append(seen)
                alone[number] = seen.result
                self._check_size(photograph, seen.result)
        if len(alone) == len(taken):
            singles = [alone[number] for number in range(len(taken))]
            self._compare("run again", taken, singles, lambda: [self._runner.alone(one) for one in taken])
            self._in_batches(taken, singles)
            self._compare("on several threads at once", taken, singles, lambda: self._on_threads(taken))
        self._odd()
        if self._spec.takes_detections:
            self._given(taken[0])

    def _in_batches(self, taken: Sequence[Photograph], singles: Sequence[ImageResult]) -> None:
        prepared = self._tried("prepare", lambda: [self._runner.prepare(one) for one in taken])
        if prepared is None:
            return
        size = max(2, self._spec.batch_size)

        def batches(order: Sequence[int]) -> list[ImageResult]:
            raws: dict[int, Any] = {}
            for start in range(0, len(order), size):
                some = order[start : start + size]
                raws.update(zip(some, self._runner.infer([prepared[index] for index in some]), strict=True))
            return [self._runner.finish(prepared[index], raws[index]) for index in range(len(taken))]

        # Twice as many as there are, so that one photograph alone is a batch, too.
        order = list(range(len(taken)))
        if len(order) == 1:
            prepared.append(prepared[0])
            taken, singles, order = [*taken, taken[0]], [*singles, singles[0]], [0, 1]
        # `infer` is called again with the same inputs when a batch failed, so that the last one has to agree, too.
        for how, some in (
            (f"in a batch of {min(size, len(order))}", order),
            ("in a batch in the other order", order[::-1]),
            ("inferred again from the same inputs", order),
        ):
            if not self._compare(how, taken, singles, partial(batches, some)):
                return

    def _on_threads(self, taken: Sequence[Photograph]) -> list[ImageResult]:
        many = [*taken] * 2
        with ThreadPoolExecutor(THREADS) as threads:
            prepared = list(threads.map(self._runner.prepare, many))
            raws = [self._runner.infer([one])[0] for one in prepared]
            found = list(threads.map(self._runner.finish, prepared, raws))
        # The second round is compared as well, by whichever differs.
        return [
            other if difference(one, other) else one
            for one, other in zip(found[: len(taken)], found[len(taken) :], strict=True)
        ]

    def _odd(self) -> None:
        for photograph in photographs.odd():
            result = self._tried(f"a photograph that is {photograph.name}", partial(self._runner.alone, photograph))
            if result is not None:
                self._check_size(photograph, result)
        for photograph in photographs.unusable():
            try:
                result = self._runner.alone(photograph)
            except errors.ImageUnusable:
                continue
            except BaseException as error:
                self.faults.append(
                    f"{photograph.name}: raise ImageUnusable, as images.decode does, or it is tried "
                    f"{settings.get().max_attempts} times; it raises {_told(error)}"
                )
                continue
            # A pipeline that does not open photographs cannot know; it tells no size.
            if result.width is not None:
                self.faults.append(f"{photograph.name}: has a result; raise ImageUnusable, as images.decode does")

    def _given(self, photograph: Photograph) -> None:
        """Boxes of another job come back, also beyond the edge, and none without any."""
        width, height = photograph.size or (640, 480)
        finder = AlgorithmRef("finder_of_another_job", "1")
        corners = [
            (0.1 * width, 0.1 * height, 0.4 * width, 0.5 * height),
            (-20.0, -5.0, 0.2 * width, 0.3 * height),
            (5.2, 5.2, 5.8, 30.0),
            (width + 50.0, 10.0, width + 90.0, 60.0),
        ]
        for given in ([GivenBox(box, 0.5, finder) for box in corners], []):
            self._tried(f"{len(given)} given boxes", partial(self._runner.alone, photograph, given))

    def _compare(
        self,
        how: str,
        taken: Sequence[Photograph],
        singles: Sequence[ImageResult],
        run: Callable[[], Sequence[ImageResult]],
    ) -> bool:
        """Whether the photographs give what they gave alone; if not, that is a fault."""
        found = self._tried(how, run)
        if found is None:
            return False
        for photograph, one, other in zip(taken, singles, found, strict=True):
            if (why := difference(one, other)) is not None:
                self.faults.append(f"{photograph.name} gives another result {how}: {why}")
                return False
        return True

    def _check_size(self, photograph: Photograph, result: ImageResult) -> None:
        size = (result.width, result.height)
        if photograph.size is not None and result.width is not None and size != photograph.size:
            self.faults.append(
                f"{photograph.name}: width and height are {result.width} x {result.height}, and it is stored with "
                f"{photograph.size[0]} x {photograph.size[1]} pixels; boxes refer to these, without EXIF rotation"
            )

    def _tried(self, what: str, act: Callable[[], T]) -> T | None:
        """What `act` returns; None if it raised, which is a fault, `SystemExit` included."""
        try:
            return act()
        except KeyboardInterrupt:
            raise
        except errors.InvalidInput as error:
            self.faults.append(f"{what}: {error}")
        except BaseException as error:
            self.faults.append(f"{what}: raises {_told(error)}")
        return None


def _told(error: BaseException) -> str:
    """The error, and where in somebody's file it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(str(Path(__file__).parents[1]))]
    last = (own or frames)[-1] if frames else None
    where = f" ({last.filename}, line {last.lineno})" if last else ""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"
