"""Runs a declared pipeline: finds what there is, and names it by one classifier after another.

Only device processes import this module. In this order: the photograph is decoded, and turned if the YAML says so; the
detector looks at it, or at its tiles; each classifier gets the crops that were called what its `of` says. Without a
detector the classifiers name the whole photograph.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import structs

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, GivenBox, RotatedBox
from antenna_orchestration.pipelines import images, interface, masks, scoring
from antenna_orchestration.pipelines.declared import classifiers, detectors, inputs, outputs, recipe, turns
from antenna_orchestration.pipelines.declared.description import SHIPPED
from antenna_orchestration.pipelines.declared.inputs import Picture
from antenna_orchestration.pipelines.declared.outputs import Found
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage

Tile = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One photograph on its way to the models."""

    # Size in pixels, as stored, and how it was turned for the models, by EXIF's number.
    width: int
    height: int
    turn: int
    # RGB, turned; None if nothing has to be cut out of it.
    picture: Picture | None
    # For the detector, tile by tile.
    tiles: Sequence[Tile] = ()
    shaped: Sequence[Any] = ()
    # For the classifiers of whole photographs, in their order.
    whole: Sequence[Any] = ()
    # What the shipped pipeline prepared.
    inner: Any = None
    given: Sequence[GivenBox] | None = None


@dataclass(slots=True)
class Thing:
    """Something that was found, with what the classifiers say of it; without a detector, the whole photograph."""

    # As the detector or the shipped pipeline gives it; None for the whole photograph.
    detection: Detection | None
    # In pixels of the turned photograph.
    box: Sequence[float] = ()
    # What it was called so far.
    called: set[str] = field(default_factory=set)
    # Number of the classifier and its probabilities, in order.
    said: list[tuple[int, torch.Tensor]] = field(default_factory=list)


class DeclaredPipeline(Pipeline[Prepared, list[Thing]]):
    """Runs the `Recipe` that is the spec's recipe."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        if not isinstance(spec.recipe, recipe.Recipe):
            raise errors.InternalError(f"pipeline {spec.slug} has no recipe")
        self._recipe = spec.recipe
        # For messages.
        self._file = Path(spec.origin.name).name
        self._inner: Pipeline[Any, Any] | None = None
        if spec.recipe.pipeline:
            shipped = SHIPPED[spec.recipe.pipeline]
            own = {key: self.config[key] for key in shipped.default_config}
            self._inner = interface.build(shipped, own, top_k=top_k)

    def load(self, device: str) -> None:
        """Fetch and open all models.

        Raises `Unavailable` if a file cannot be fetched, and `InternalError` for one that is broken or does not fit.
        """
        where = torch.device(device)
        said = self._recipe
        try:
            if self._inner is not None:
                self._inner.load(device)
            self._detector = detectors.load(said.detector, where) if said.detector else None
            self._judges = [classifiers.load(one, where) for one in said.classifiers]
            self._reachable()
        except errors.InternalError as error:
            raise errors.InternalError(f"{self._file}: {error}") from error
        # What a shipped pipeline does on CPU threads, as it would in a worker.
        self._finishers = ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) if self._inner else None

    def prepare(self, image: RawImage) -> Prepared:
        """Decode and turn a photograph, and shape it for the models. Raises `ImageUnusable` as `images.decode` does."""
        decoded = images.decode(image.data)
        turn = images.orientation(image.data) if self._recipe.turns else 1
        picture = turns.turned(decoded.pixels, turn)
        height, width = picture.shape[:2]
        tiles: Sequence[Tile] = ()
        shaped: Sequence[Any] = ()
        if self._detector and self._recipe.detector and image.detections is None:
            tile = self._recipe.detector.input.tile
            tiles = inputs.tiles(tile, width, height) if tile else [(0, 0, width, height)]
            shaped = [self._detector.prepared(picture[top:bottom, left:right]) for left, top, right, bottom in tiles]
        finds = self._detector is not None or self._inner is not None
        return Prepared(
            width=decoded.width,
            height=decoded.height,
            turn=turn,
            picture=picture if finds and self._judges else None,
            tiles=tiles,
            shaped=shaped,
            whole=[] if finds else [judge.prepared(picture) for judge in self._judges],
            inner=self._inner.prepare(image) if self._inner and image.detections is None else None,
            given=image.detections,
        )

    def infer(self, batch: Sequence[Prepared]) -> Sequence[list[Thing]]:
        """Find what is in each photograph, then name the crops of all of them together.

        Raises `InternalError` if a model gives something else than the YAML says.
        """
        with torch.inference_mode():
            things = self._found(batch)
            for number, (judge, model) in enumerate(zip(self._judges, self._recipe.classifiers, strict=True)):
                asked: list[Thing] = []
                shown: list[Any] = []
                for one, some in zip(batch, things, strict=True):
                    for thing in some:
                        if model.of and not thing.called & set(model.of):
                            continue
                        if thing.detection is None:
                            asked.append(thing)
                            shown.append(one.whole[number])
                        elif one.picture is not None:
                            crop = inputs.crop(one.picture, thing.box, model.input)
                            if crop is not None:
                                asked.append(thing)
                                shown.append(judge.prepared(crop))
                if not asked:
                    continue
                rows = judge.probabilities(shown)
                for thing, row in zip(asked, rows, strict=True):
                    thing.said.append((number, row))
                    thing.called.add(judge.labels[int(row.argmax())])
        return things

    def finish(self, prepared: Prepared, raw: list[Thing]) -> ImageResult:
        """Detections, best score first, each with what the classifiers said of it; or what the photograph shows."""
        found = [thing for thing in raw if thing.detection is not None]
        return ImageResult(
            width=prepared.width,
            height=prepared.height,
            detections=[self._detection(thing) for thing in found],
            labels=[one for thing in raw if thing.detection is None for one in self._named(thing)],
        )

    def example(self) -> RawImage:
        """A grey photograph, which also shows whether models give what the YAML says."""
        return images.grey_photograph()

    def _found(self, batch: Sequence[Prepared]) -> list[list[Thing]]:
        if self._inner is not None:
            return self._found_by_shipped(batch)
        if self._detector is None:
            return [[Thing(None)] for _ in batch]
        every = [one for prepared in batch for one in prepared.shaped]
        parts = iter(self._detector.detect(every, self.config["min_score"]) if every else [])
        return [
            _given(one) if one.given is not None else self._things(one, [next(parts) for _ in one.shaped])
            for one in batch
        ]

    def _found_by_shipped(self, batch: Sequence[Prepared]) -> list[list[Thing]]:
        inner, pool = self._inner, self._finishers
        assert inner is not None
        assert pool is not None
        asked = [one for one in batch if one.given is None]
        raw = inner.infer([one.inner for one in asked]) if asked else []
        results = iter(pool.map(inner.finish, [one.inner for one in asked], raw))
        things = []
        for one in batch:
            if one.given is not None:
                things.append(_given(one))
                continue
            found = next(results).detections
            boxes = np.array([detection.box for detection in found], np.float64).reshape(-1, 4)
            boxes = turns.boxes_turned(boxes, one.turn, one.width, one.height)
            things.append(
                [
                    Thing(detection, box, {said.label for said in detection.classifications})
                    for detection, box in zip(found, boxes.tolist(), strict=True)
                ]
            )
        return things

    def _things(self, prepared: Prepared, parts: Sequence[Found]) -> list[Thing]:
        """What a detector found in the tiles of one photograph."""
        model, detector = self._recipe.detector, self._detector
        assert model is not None
        assert detector is not None
        found = outputs.merged(parts, prepared.tiles, model.input.tile.merge if model.input.tile else 1.0)
        stored = turns.boxes_back(found.boxes, prepared.turn, prepared.width, prepared.height)
        rotated = _rotated_back(found, prepared)
        things = []
        for index in range(len(found)):
            label = detector.labels[int(found.classes[index])] if detector.labels else None
            score = min(1.0, float(found.scores[index]))
            x1, y1, x2, y2 = stored[index].tolist()
            extra: dict[str, Any] = {}
            if rotated:
                extra["rotated"] = rotated[index]
            if found.masks:
                extra["mask"] = _mask_back(found.masks[index], prepared)
            detection = Detection(
                box=(x1, y1, x2, y2),
                score=score,
                algorithm=model.algorithm.ref,
                classifications=[_only(model.names.ref, label, score)] if label is not None and model.names else [],
                **extra,
            )
            things.append(Thing(detection, found.boxes[index].tolist(), {label} if label is not None else set()))
        return things

    def _detection(self, thing: Thing) -> Detection:
        assert thing.detection is not None
        before = thing.detection.classifications
        if thing.said:
            # What the detector called it is a step on the way now.
            before = [structs.replace(one, terminal=False) for one in before]
        return structs.replace(thing.detection, classifications=[*before, *self._named(thing)])

    def _named(self, thing: Thing) -> list[Classification]:
        said = []
        for number, row in thing.said:
            judge, model = self._judges[number], self._recipe.classifiers[number]
            label = judge.labels[int(row.argmax())]
            later = [self._recipe.classifiers[other] for other, _ in thing.said if other > number]
            said.append(
                scoring.classification(
                    model.algorithm.ref,
                    row,
                    judge.labels,
                    top_k=self.top_k,
                    # A vector whose order nobody knows outside this process is of no use.
                    whole=bool(model.algorithm.labels or model.algorithm.labels_uri)
                    and score_vectors.is_kept(self.config[score_vectors.SETTING], len(judge.labels)),
                    # A later classifier that was asked because of this name has the last word.
                    terminal=not any(label in one.of for one in later),
                )
            )
        return said

    def _reachable(self) -> None:
        """Raise `InternalError` for an `of` that no model before can say, now that all labels are known."""
        known = set(self._detector.labels) if self._detector else set()
        shipped = self._inner.spec.algorithms if self._inner else ()
        known |= {label for one in shipped for label in one.labels}
        # Labels of published pipelines are in files that only they open.
        all_known = not any(one.task == "classification" and not one.labels for one in shipped)
        for judge, model in zip(self._judges, self._recipe.classifiers, strict=True):
            missing = [label for label in model.of if label not in known]
            if missing and all_known:
                raise errors.InternalError(f"{model.place}.of: nothing before it says {missing[0]!r}")
            known |= set(judge.labels)


def _given(prepared: Prepared) -> list[Thing]:
    """The boxes that came with a photograph. Scores and detector are those of the job that found them."""
    given = prepared.given or ()
    boxes = np.array([one.box for one in given], np.float64).reshape(-1, 4)
    turned = turns.boxes_turned(boxes, prepared.turn, prepared.width, prepared.height)
    return [
        Thing(Detection(box=one.box, score=one.score, algorithm=one.algorithm), box)
        for one, box in zip(given, turned.tolist(), strict=True)
    ]


def _only(algorithm: AlgorithmRef, label: str, score: float) -> Classification:
    """What a detector calls a box: it gives the best class only."""
    return Classification(algorithm=algorithm, label=label, score=score, top_labels=[label], top_scores=[score])


def _rotated_back(found: Found, prepared: Prepared) -> list[RotatedBox]:
    if found.rotated is None:
        return []
    values = found.rotated.astype(np.float64)
    centres = np.concatenate([values[:, :2], values[:, :2]], axis=1)
    centres = turns.boxes_back(centres, prepared.turn, prepared.width, prepared.height)
    angles = turns.angles_back(values[:, 4], prepared.turn)
    return [
        RotatedBox(cx, cy, width, height, math.fmod(angle, 360))
        for (cx, cy, _, _), (width, height), angle in zip(
            centres.tolist(), values[:, 2:4].tolist(), angles.tolist(), strict=True
        )
    ]


def _mask_back(part: outputs.Part, prepared: Prepared) -> Any:
    down, across = part.pixels.shape
    box = np.array([[part.left, part.top, part.left + across, part.top + down]], np.int64)
    [[left, top, _, _]] = turns.boxes_back(box, prepared.turn, prepared.width, prepared.height).tolist()
    pixels = turns.turned_back(part.pixels, prepared.turn)
    return masks.encoded(pixels, left=left, top=top, width=prepared.width, height=prepared.height)
