"""Reads what a detector's program returns: boxes, scores and classes, as the YAML says they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from antenna_orchestration import errors
from antenna_orchestration.pipelines.declared.recipe import Output

_APART: Final = 7680
"""Boxes of different classes are moved apart by this much, in pixels, before the worse of two is dropped.

This is how YOLO keeps classes apart; the same number makes the same rounding, so that near ties fall alike."""

_INSIDE: Final = 0.7
"""Share of a box inside another, of one class, above which tiles saw one thing."""

_AT_EDGE: Final = 2.0
"""Pixels from a tile's inner edge within which a box probably goes on in the next tile."""


@dataclass(frozen=True, slots=True)
class Part:
    """The mask of one detection: a rectangle of its picture."""

    left: int
    top: int
    # Height x width.
    pixels: NDArray[np.bool_]


@dataclass(slots=True)
class Found:
    """The n detections in one picture, best first, on the CPU."""

    # n x 4: x1, y1, x2, y2 in pixels of the picture.
    boxes: NDArray[np.float32]
    # n, in [0, 1].
    scores: NDArray[np.float32]
    # n: indices of labels.
    classes: NDArray[np.int64]
    # n x 5: centre, size, and degrees clockwise; None for a model without.
    rotated: NDArray[np.float32] | None = None
    # One a detection; empty for a model without.
    masks: list[Part] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.scores)

    def some(self, indices: Sequence[int] | NDArray[np.int64]) -> Found:
        """These detections, in this order."""
        chosen = np.asarray(indices, np.int64)
        return Found(
            self.boxes[chosen],
            self.scores[chosen],
            self.classes[chosen],
            None if self.rotated is None else self.rotated[chosen],
            [self.masks[index] for index in chosen.tolist()] if self.masks else [],
        )

    def moved(self, left: int, top: int) -> Found:
        """The detections of a tile in pixels of the photograph."""
        rotated = None if self.rotated is None else self.rotated + np.array([left, top, 0, 0, 0], np.float32)
        boxes = self.boxes + np.array([left, top, left, top], np.float32)
        masks = [Part(one.left + left, one.top + top, one.pixels) for one in self.masks]
        return Found(boxes, self.scores, self.classes, rotated, masks)


def none_found(*, rotated: bool = False) -> Found:
    """An empty picture's detections."""
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
    return Found(*empty, np.zeros((0, 5), np.float32) if rotated else None)


def joined(parts: Sequence[Found]) -> Found:
    """The detections of several tiles together."""
    rotated = [one.rotated for one in parts if one.rotated is not None]
    return Found(
        np.concatenate([one.boxes for one in parts]),
        np.concatenate([one.scores for one in parts]),
        np.concatenate([one.classes for one in parts]),
        np.concatenate(rotated) if rotated else None,
        [mask for one in parts for mask in one.masks],
    )


@dataclass(frozen=True, slots=True)
class Decoded:
    """The n boxes of one picture as the program gave them, on the CPU."""

    # n x 4: x1, y1, x2, y2 in pixels of the input.
    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor


class Decoder:
    """Decodes outputs as an `Output` says, for a model with so many labels (0 if it names nothing)."""

    def __init__(self, given: Output, labels: int, place: str, file: str) -> None:
        self._given = given
        self._labels = labels
        self._place = f"{place}.output"
        self._file = file

    def decoded(
        self, outputs: Sequence[torch.Tensor], count: int, size: tuple[int, int], min_score: float
    ) -> list[Decoded]:
        """What was found in each of `count` pictures with a score above `min_score`.

        `size` is the input's width and height. Raises `InternalError` for outputs of other shapes than `format` says,
        for classes without a label, and for values that are not numbers.
        """
        values = [one.detach().cpu() for one in outputs]
        if any(bool(torch.isnan(one).any()) for one in values if one.is_floating_point()):
            raise errors.InternalError(f"{self._file} gives values that are not numbers (NaN)")
        read = {"yolo": self._yolo, "yolo5": self._yolo5, "end2end": self._end2end, "boxes": self._boxes}
        found = read[self._given.format](values, count, size)
        if len(found) != count:
            raise self._misfit(values, count)
        return [self._kept(one, min_score) for one in found]

    def _kept(self, one: Decoded, min_score: float) -> Decoded:
        keep = one.scores > min_score
        one = Decoded(one.boxes[keep], one.scores[keep], one.classes[keep])
        if len(one.scores) and not bool(torch.isfinite(one.boxes).all()):
            raise errors.InternalError(f"{self._file} gives boxes that are not finite")
        if self._labels and len(one.classes) and int(one.classes.max()) >= self._labels:
            raise errors.InternalError(
                f"{self._file} gives class {int(one.classes.max())}, and {self._labels} labels are given, from 0"
            )
        if self._given.nms is not None:
            apart = one.boxes + (one.classes * _APART)[:, None].to(one.boxes.dtype)
            best = nms(apart, one.scores, self._given.nms)
        else:
            best = one.scores.argsort(descending=True, stable=True)
        best = best[: self._given.most]
        return Decoded(one.boxes[best], one.scores[best], one.classes[best])

    def _yolo(self, values: Sequence[torch.Tensor], count: int, size: tuple[int, int]) -> list[Decoded]:
        raw = self._first(values, count)
        wanted = 4 + self._labels
        # Segmenting models have coefficients of masks behind the classes, and the masks as a second output.
        extra = values[1].shape[1] if len(values) > 1 and values[1].ndim == 4 else 0
        if self._labels:
            if raw.shape[1] != wanted + extra and raw.shape[2] == wanted + extra:
                raw = raw.transpose(1, 2)
            if raw.shape[1] != wanted + extra:
                raise self._misfit(values, count)
        elif raw.shape[1] > raw.shape[2]:
            raw = raw.transpose(1, 2)
        classes = raw.shape[1] - 4 - extra
        if classes < 1:
            raise self._misfit(values, count)
        raw = raw.transpose(1, 2).float()
        return [_best(_corners(one[:, :4]), self._active(one[:, 4 : 4 + classes])) for one in raw]

    def _yolo5(self, values: Sequence[torch.Tensor], count: int, size: tuple[int, int]) -> list[Decoded]:
        raw = self._first(values, count).float()
        if raw.shape[2] < 6 or (self._labels and raw.shape[2] != 5 + self._labels):
            raise self._misfit(values, count)
        return [_best(_corners(one[:, :4]), self._active(one[:, 5:]) * self._active(one[:, 4:5])) for one in raw]

    def _end2end(self, values: Sequence[torch.Tensor], count: int, size: tuple[int, int]) -> list[Decoded]:
        raw = self._first(values, count).float()
        if raw.shape[2] < 6:
            raise self._misfit(values, count)
        return [Decoded(one[:, :4], one[:, 4], one[:, 5].long()) for one in raw]

    def _boxes(self, values: Sequence[torch.Tensor], count: int, size: tuple[int, int]) -> list[Decoded]:
        told = dict(zip(self._given.outputs, values, strict=False))
        if not {"boxes", "scores"} <= set(told):
            raise self._misfit(values, count)
        boxes, scores = told["boxes"].float(), told["scores"].float()
        classes = told.get("labels")
        # Programs that take one picture may leave out the dimension of the batch.
        if boxes.ndim == 2:
            boxes, scores = boxes[None], scores[None]
            classes = None if classes is None else classes[None]
        fits = boxes.ndim == 3 and boxes.shape[2] == 4 and scores.shape[:2] == boxes.shape[:2] and scores.ndim in (2, 3)
        if not fits or len(boxes) != count or (classes is not None and classes.shape != boxes.shape[:2]):
            raise self._misfit(values, count)
        across, down = size
        if self._given.shares:
            boxes = boxes * torch.tensor([across, down, across, down])
        if self._given.corners == "cxcywh":
            boxes = _corners(boxes)
        elif self._given.corners == "xywh":
            boxes = torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1)
        if scores.ndim == 3:
            scores = self._active(scores)
            first = 1 if self._given.background == "first" else 0
            last = scores.shape[2] - (1 if self._given.background == "last" else 0)
            scores = scores[..., first:last]
            if scores.shape[2] < 1 or (self._labels and scores.shape[2] != self._labels):
                raise self._misfit(values, count)
            return [_best(*one) for one in zip(boxes, scores, strict=True)]
        if self._given.activation == "sigmoid":
            scores = scores.sigmoid()
        numbers = torch.zeros(scores.shape, dtype=torch.int64) if classes is None else classes.long()
        if self._given.background == "first" and classes is not None:
            numbers = numbers - 1
        return [
            # What is called background is nothing.
            Decoded(one[kind >= 0], score[kind >= 0], kind[kind >= 0])
            for one, score, kind in zip(boxes, scores, numbers, strict=True)
        ]

    def _active(self, scores: torch.Tensor) -> torch.Tensor:
        if self._given.activation == "softmax":
            return scores.softmax(dim=-1)
        return scores.sigmoid() if self._given.activation == "sigmoid" else scores

    def _first(self, values: Sequence[torch.Tensor], count: int) -> torch.Tensor:
        """The first output, which has three dimensions."""
        if not values or values[0].ndim != 3 or len(values[0]) != count:
            raise self._misfit(values, count)
        return values[0]

    def _misfit(self, values: Sequence[torch.Tensor], count: int) -> errors.InternalError:
        shapes = " and ".join(" x ".join(map(str, one.shape)) for one in values) or "nothing"
        classes = f"{self._labels} labels" if self._labels else "no labels"
        return errors.InternalError(
            f"{self._file} gives {shapes} for {count} pictures, which is not format {self._given.format} with "
            f"{classes}; see {self._place}.format and labels"
        )


def merged(parts: Sequence[Found], tiles: Sequence[tuple[int, int, int, int]], overlap: float) -> Found:
    """What tiles of one photograph found, in its pixels, with what several of them saw only once.

    Of two boxes of one class that are the same thing, the one that no tile's edge cuts off is kept, or else the better.
    """
    every = joined([one.moved(tile[0], tile[1]) for one, tile in zip(parts, tiles, strict=True)])
    if len(tiles) == 1:
        return every
    right, bottom = max(tile[2] for tile in tiles), max(tile[3] for tile in tiles)
    cut = np.concatenate([_cut(one.boxes, tile, right, bottom) for one, tile in zip(parts, tiles, strict=True)])
    is_kept = np.zeros(len(every), bool)
    areas = _areas(every.boxes)
    for index in np.lexsort((-every.scores, cut)).tolist():
        same = np.flatnonzero(is_kept & (every.classes == every.classes[index]))
        one, others = every.boxes[index], every.boxes[same]
        low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:], others[:, 2:])
        common = np.clip(high - low, 0, None).prod(1)
        share = common / np.maximum(np.minimum(areas[index], areas[same]), 1e-6)
        iou = common / np.maximum(areas[index] + areas[same] - common, 1e-6)
        is_kept[index] = not bool(((iou > overlap) | (share > _INSIDE)).any())
    kept = np.flatnonzero(is_kept)
    return every.some(kept[np.argsort(-every.scores[kept], kind="stable")])


def _cut(boxes: NDArray[np.float32], tile: tuple[int, int, int, int], right: int, bottom: int) -> NDArray[np.bool_]:
    """Which boxes of a tile, in its pixels, reach an edge of it that is not one of the photograph."""
    left, top, tile_right, tile_bottom = tile
    cut: NDArray[np.bool_] = (
        ((boxes[:, 0] < _AT_EDGE) & (left > 0))
        | ((boxes[:, 1] < _AT_EDGE) & (top > 0))
        | ((boxes[:, 2] > tile_right - left - _AT_EDGE) & (tile_right < right))
        | ((boxes[:, 3] > tile_bottom - top - _AT_EDGE) & (tile_bottom < bottom))
    )
    return cut


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    return areas


def _corners(boxes: torch.Tensor) -> torch.Tensor:
    """Centre and size as corners."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def _best(boxes: torch.Tensor, scores: torch.Tensor) -> Decoded:
    """Each box with its best class; `scores` is n x classes."""
    best, classes = scores.max(dim=1)
    return Decoded(boxes, best, classes)
