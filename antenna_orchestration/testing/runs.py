"""Runs a pipeline on photographs as a worker does, and tells two results apart."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import Classification, Detection, GivenBox
from antenna_orchestration.pipelines import outcomes
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, RawImage
from antenna_orchestration.testing.photographs import Photograph

NEAR: Final = 0.5
"""Pixels by which a box may differ between two runs: networks compute a batch in another order than single images."""

ALIKE: Final = 1e-3
"""By how much a score may differ between two runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What the pipeline said of one photograph."""

    photograph: str
    result: ImageResult
    # By stage: `prepare`, `infer`, `finish`.
    seconds: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a check found out about a pipeline without faults."""

    pipeline: str
    version: str
    device: str
    # Seconds of `load`.
    load: float
    seen: Sequence[Seen] = field(default_factory=list)

    def __str__(self) -> str:
        """A line for the pipeline, and one for each photograph."""
        lines = [f"{self.pipeline} {self.version} on {self.device}: loaded in {self.load:.1f} s"]
        for one in self.seen:
            spent = ", ".join(f"{stage} {1000 * seconds:.0f} ms" for stage, seconds in one.seconds.items())
            labels = Counter(
                said[-1].label
                for said in (*(box.classifications for box in one.result.detections), list(one.result.labels))
                if said
            )
            named = ", ".join(f"{count} {label}" for label, count in labels.most_common(5))
            lines.append(
                f"  {one.photograph}: {len(one.result.detections)} detections{f' ({named})' if named else ''}; {spent}"
            )
        return "\n".join(lines)


class Runner:
    """A loaded pipeline, whose results are checked as in a worker. Methods raise what the pipeline raises."""

    def __init__(self, pipeline: Pipeline[Any, Any]) -> None:
        self.pipeline = pipeline
        self._declared = outcomes.declared_by(pipeline.spec)

    def prepare(self, photograph: Photograph, given: Sequence[GivenBox] | None = None) -> Any:
        """The photograph, prepared."""
        return self.pipeline.prepare(
            RawImage(
                # The same photograph is the same image, wherever it stands: some pipelines go by that.
                image=zlib.crc32(photograph.data) // 2 + 1,
                uri=f"file:///{photograph.name}",
                data=photograph.data,
                detections=given,
            )
        )

    def infer(self, prepared: Sequence[Any]) -> list[Any]:
        """One raw result for each. Raises `InternalError` for another number of them."""
        raws = self.pipeline.infer(list(prepared))
        if len(raws) != len(prepared):
            raise errors.InternalError(f"infer gave {len(raws)} results for {len(prepared)} images")
        return list(raws)

    def finish(self, prepared: Any, raw: Any, given: Sequence[GivenBox] | None = None) -> ImageResult:
        """The result, checked. Raises `InvalidInput` for what no photograph can show."""
        return outcomes.checked(self.pipeline.finish(prepared, raw), self._declared, given=given)

    def alone(self, photograph: Photograph, given: Sequence[GivenBox] | None = None) -> ImageResult:
        """All three stages for one photograph."""
        prepared = self.prepare(photograph, given)
        return self.finish(prepared, self.infer([prepared])[0], given)

    def timed(self, photograph: Photograph) -> Seen:
        """The same with the seconds of each stage."""
        moments = [time.perf_counter()]
        prepared = self.prepare(photograph)
        moments.append(time.perf_counter())
        [raw] = self.infer([prepared])
        moments.append(time.perf_counter())
        result = self.finish(prepared, raw)
        moments.append(time.perf_counter())
        spent = [after - before for before, after in pairwise(moments)]
        return Seen(
            photograph=photograph.name,
            result=result,
            seconds=dict(zip(("prepare", "infer", "finish"), spent, strict=True)),
        )


def difference(one: ImageResult, other: ImageResult) -> str | None:
    """In what two results of one photograph differ more than by rounding; None if they are alike. Order is nothing."""
    if (one.width, one.height) != (other.width, other.height):
        return f"size {one.width} x {one.height}, then {other.width} x {other.height}"
    if len(one.detections) != len(other.detections):
        return f"{len(one.detections)} detections, then {len(other.detections)}"
    left = list(other.detections)
    for number, box in enumerate(one.detections):
        near = [each for each in left if _away(box, each) <= NEAR]
        if not near:
            return f"detections[{number}], box {_spelled(box)}, is not there again"
        reasons = [_unlike(box, each) for each in near]
        if None not in reasons:
            return f"detections[{number}], box {_spelled(box)}: {reasons[0]}"
        # By identity: equal ones may be there several times.
        taken = near[reasons.index(None)]
        left = [each for each in left if each is not taken]
    return _unlike_labels(one.labels, other.labels)


def _away(one: Detection, other: Detection) -> float:
    return max(abs(a - b) for a, b in zip(one.box, other.box, strict=True))


def _unlike(one: Detection, other: Detection) -> str | None:
    if one.algorithm != other.algorithm or _differ(one.score, other.score):
        return f"score {_score(one.score)}, then {_score(other.score)}"
    return _unlike_labels(one.classifications, other.classifications)


def _unlike_labels(one: Sequence[Classification], other: Sequence[Classification]) -> str | None:
    if len(one) != len(other):
        return f"{len(one)} classifications, then {len(other)}"
    for before, after in zip(one, other, strict=True):
        said, then = f"{before.label} {_score(before.score)}", f"{after.label} {_score(after.score)}"
        if before.algorithm != after.algorithm or _differ(before.score, after.score):
            return f"{said}, then {then}"
        if before.label != after.label and before.label not in after.top_labels[:2]:
            return f"{said}, then {then}"
    return None


def _differ(one: float | None, other: float | None) -> bool:
    return (one is None) != (other is None) or abs((one or 0.0) - (other or 0.0)) > ALIKE


def _score(score: float | None) -> str:
    return "without a score" if score is None else f"{score:.4f}"


def _spelled(box: Detection) -> str:
    return f"({', '.join(f'{value:.1f}' for value in box.box)})"
