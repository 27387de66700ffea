"""Declared pipelines: they give what the model gives, in pixels of the photograph, and refuse what does not fit."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tracemalloc
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.ops import nms

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import AlgorithmRef, GivenBox
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.declared import inputs, outputs, recipe, turns
from antenna_orchestration.pipelines.interface import ImageResult
from tests.pipelines.declared_models import (
    RUNTIMES,
    SmallClassifier,
    SmallYolo,
    declared,
    drawn,
    file_of,
    has_onnx,
    results,
    seeded,
    write,
)

LABELS = ["moth", "beetle", "fly"]
SPECIES = ["a", "b", "c", "d"]

DETECTOR = """
slug: finds
detector:
  runtime: {runtime}
  file: {file}
  labels: [moth, beetle, fly]
  input: {{size: 160}}
  output: {{format: yolo, nms: 0.5, min_score: 0.6}}
"""

PHOTOGRAPHS = [drawn(640, 480, 1), drawn(300, 500, 2), drawn(160, 160, 3), drawn(97, 41, 4)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for runtime in ["torchscript"] if has_onnx.args[0] else ["torchscript", "onnx"]:
        write(seeded(SmallYolo()), folder / f"finds.{runtime}", torch.rand(2, 3, 160, 160))
        write(seeded(SmallClassifier(), 1), folder / f"names.{runtime}", torch.rand(2, 3, 64, 64))
    return folder


def run_directly(path: Path, values: NDArray[np.float32]) -> torch.Tensor:
    """A program's only output, as a person runs it."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        return torch.from_numpy(session.run(None, {"images": values})[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.load(str(path))
    output: torch.Tensor = program(torch.from_numpy(values))
    return output.detach()


def letterboxed(picture: NDArray[np.uint8], side: int) -> tuple[NDArray[np.float32], list[int], list[float]]:
    height, width = picture.shape[:2]
    gain = min(side / width, side / height)
    across, down = round(width * gain), round(height * gain)
    left, top = (side - across) // 2, (side - down) // 2
    small = cv2.resize(picture, (across, down), interpolation=cv2.INTER_LINEAR)
    whole = cv2.copyMakeBorder(
        small, top, side - down - top, left, side - across - left, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )
    return whole.transpose(2, 0, 1)[None].astype(np.float32) / 255, [left, top] * 2, [across / width, down / height] * 2


def found_directly(path: Path, picture: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[float], list[str]]:
    """What the small detector finds, without any of our code."""
    height, width = picture.shape[:2]
    values, before, gain = letterboxed(picture, 160)
    raw = run_directly(path, values)[0].T
    centre, size = raw[:, :2], raw[:, 2:4]
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    scores, classes = raw[:, 4:].max(dim=1)
    keep = scores > 0.6
    boxes, scores, classes = boxes[keep], scores[keep], classes[keep]
    best = nms(boxes + classes[:, None] * 7680, scores, 0.5)[:300]
    boxes = ((boxes[best] - torch.tensor(before)) / torch.tensor(gain)).numpy()
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    return boxes, scores[best].tolist(), [LABELS[index] for index in classes[best].tolist()]


def boxes_of(result: ImageResult) -> NDArray[np.float64]:
    return np.array([one.box for one in result.detections]).reshape(-1, 4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_declared_detector_finds_what_its_program_finds(models: Path, runtime: str) -> None:
    file = models / f"finds.{runtime}"
    pipeline = declared(models, DETECTOR.format(runtime=runtime, file=file.name))
    # The turn is of the file, and pixels stay as they are stored.
    found = results(pipeline, [file_of(one, turn) for one, turn in zip(PHOTOGRAPHS, (1, 6, 3, 8), strict=True)])
    assert max(len(one.detections) for one in found) > 20
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        assert (one.height, one.width) == picture.shape[:2]
        boxes, scores, names = found_directly(file, picture)
        assert [said.label for d in one.detections for said in d.classifications] == names
        assert [d.score for d in one.detections] == pytest.approx(scores, abs=1e-5)
        np.testing.assert_allclose(boxes_of(one), boxes, atol=0.01)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("fields", "transform"),
    [
        ("size: 64", lambda image: image.resize((64, 64), Image.Resampling.BILINEAR)),
        ("size: 64, resize: pillow-bicubic", lambda image: image.resize((64, 64), Image.Resampling.BICUBIC)),
        (
            "size: 64, fit: crop, shorter: 80",
            lambda image: image.resize(
                (80, int(80 * image.height / image.width))
                if image.width <= image.height
                else (int(80 * image.width / image.height), 80),
                Image.Resampling.BILINEAR,
            ),
        ),
    ],
)
def test_whole_photographs_get_labels_and_no_box(models: Path, runtime: str, fields: str, transform: Any) -> None:
    file = models / f"names.{runtime}"
    pipeline = declared(
        models,
        f"slug: names\nclassifiers:\n  - runtime: {runtime}\n    file: {file.name}\n    labels: {SPECIES}\n"
        f"    input: {{{fields}}}\n",
    )
    found = results(pipeline, [file_of(one, 6) for one in PHOTOGRAPHS])
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        small = np.asarray(transform(Image.fromarray(picture)))
        if "crop" in fields:
            top, left = round((small.shape[0] - 64) / 2), round((small.shape[1] - 64) / 2)
            small = small[top : top + 64, left : left + 64]
        values = (small.astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        values = values.transpose(2, 0, 1)[None].astype(np.float32)
        wanted = run_directly(file, values).softmax(dim=1)[0]
        assert one.detections == []
        [said] = one.labels
        assert said.algorithm == AlgorithmRef("names_classifier", "1")
        assert said.terminal
        told = dict(zip(said.top_labels, said.top_scores, strict=True))
        assert [told[label] for label in SPECIES] == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.parametrize("resize", ["opencv-linear", "pillow-bilinear", "pillow-lanczos", "torch-bicubic"])
@pytest.mark.parametrize("turned", [False, True])
def test_the_middle_of_a_strip_takes_little_memory(resize: recipe.Resize, turned: bool) -> None:
    """One of 1 x 30,000 pixels became 256 x 7,680,000 before its middle was cut out: 6 GB, and four times that."""

    shaper = inputs.Shaper(recipe.Input(fit="crop", resize=resize), size=(64, 64), shorter=80)

    def turn(picture: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(picture.transpose(1, 0, 2)) if turned else picture

    thin = np.zeros((6_000, 1, 3), np.uint8)
    thin[2_997:3_003] = 200
    tracemalloc.start()
    try:
        middle = shaper.shaped(turn(thin))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert middle.pixels.shape == (64, 64, 3)
    assert np.unique(middle.pixels.round()).tolist() == [200]
    assert most < 2**21

    # The same as resizing the whole strip.
    rows = np.random.default_rng(2).integers(0, 255, (600, 8, 3)).astype(np.uint8)
    whole = inputs.resized(turn(rows), (6_000, 80) if turned else (80, 6_000), resize)
    np.testing.assert_allclose(turn(shaper.shaped(turn(rows)).pixels), turn(whole)[2_968:3_032, 8:72], atol=1.0)


CHAIN = """
slug: chain
version: 3
detector:
  runtime: torchscript
  file: finds.torchscript
  labels: [moth, beetle, fly]
  input: {size: 160}
  output: {format: yolo, nms: 0.5, min_score: 0.4}
classifiers:
  - runtime: torchscript
    file: names.torchscript
    labels: [a, b, c, d]
    of: [moth]
    input: {size: 64, margin: 0.1}
  - key: sexes
    runtime: torchscript
    file: names.torchscript
    labels: {m: 0, f: 1, x: 2, y: 3}
    output: {activation: sigmoid}
    of: [a, beetle]
    input: {size: 64, square: true}
"""


@pytest.mark.long
def test_crops_go_to_the_classifiers_that_ask_for_their_label(models: Path) -> None:
    pipeline = declared(models, CHAIN)
    found = [
        one
        for result in results(pipeline, [file_of(drawn(640, 480, n)) for n in range(6)])
        for one in result.detections
    ]
    assert {one.algorithm for one in found} == {AlgorithmRef("chain_detector", "3")}
    seen = set()
    for one in found:
        path = [(said.algorithm.key, said.label, said.terminal) for said in one.classifications]
        keys = [key for key, _, _ in path]
        first = path[0][1]
        seen.add((first, len(path)))
        assert keys[0] == "chain_detector_labels"
        # The last word is terminal, and steps on the way to it are not.
        assert path[-1][2]
        assert not path[0][2] or len(path) == 1
        if first == "moth":
            assert keys[1] == "chain_classifier_1"
            assert (len(path) == 3) == (path[1][1] == "a") == (not path[1][2])
        else:
            assert keys[1:] == (["sexes"] if first == "beetle" else [])
    assert {("beetle", 2), ("moth", 3)} <= seen


def test_a_crop_is_its_box_with_a_margin_within_the_photograph() -> None:
    picture = np.arange(100 * 80 * 3, dtype=np.int64).reshape(80, 100, 3).astype(np.uint8)
    plain = recipe.Input(fit="stretch", resize=None)
    assert inputs.crop(picture, (10.9, 20.2, 30.9, 30.8), plain).shape == (10, 20, 3)  # type: ignore[union-attr]
    wide = recipe.Input(fit="stretch", resize=None, margin=0.5)
    assert inputs.crop(picture, (10, 20, 30, 30), wide).shape == (20, 40, 3)  # type: ignore[union-attr]
    square = recipe.Input(fit="stretch", resize=None, square=True)
    assert inputs.crop(picture, (10, 20, 30, 30), square).shape == (20, 20, 3)  # type: ignore[union-attr]
    assert inputs.crop(picture, (-5, -5, 30, 30), square).shape == (30, 30, 3)  # type: ignore[union-attr]
    for outside in [(10.2, 1, 10.9, 9), (-9, 2, -1, 9), (100, 2, 120, 9)]:
        assert inputs.crop(picture, outside, wide) is None


def test_given_boxes_are_classified_and_no_detector_runs(models: Path) -> None:
    pipeline = declared(models, CHAIN.replace("    of: [moth]\n", ""))
    assert pipeline.spec.takes_detections
    other = AlgorithmRef("other", "9")
    given = [GivenBox((10.5, 20, 90, 80), 0.3, other), GivenBox((-20, -20, -5, -5), None, other)]
    [found] = results(pipeline, [file_of(PHOTOGRAPHS[0])], detections=given)
    assert [(one.box, one.score, one.algorithm) for one in found.detections] == [(g.box, g.score, other) for g in given]
    assert [len(one.classifications) for one in found.detections] in ([1, 0], [2, 0])
    # Their labels by this detector are not known, so what asks for one cannot be served.
    assert not declared(models, CHAIN.replace("slug: chain", "slug: chain-of")).spec.takes_detections


@pytest.mark.long
def test_a_shipped_pipeline_finds_and_own_models_name(models: Path) -> None:
    text = """
slug: shipped
detector: {pipeline: light_trap_insects, config: {min_score: 0.2}}
classifiers:
  - {runtime: torchscript, file: names.torchscript, labels: [a, b, c, d], of: [moth], input: {size: 64}}
"""
    pipeline = declared(models, text)
    shipped = registry.get("light_trap_insects")
    assert pipeline.config == {**shipped.default_config, "min_score": 0.2}
    assert [one.key for one in pipeline.spec.algorithms] == [
        *(one.key for one in shipped.algorithms), "shipped_classifier"
    ]  # fmt: skip
    from antenna_orchestration.pipelines import interface

    alone = interface.build(shipped, {"min_score": 0.2})
    alone.load("cpu")
    sheet = np.full((600, 800, 3), 225, np.uint8)
    for x in (100, 300, 500):
        cv2.ellipse(sheet, (x, 300), (60, 25), 20, 0, 360, (60, 50, 40), -1)
    files = [file_of(sheet), file_of(sheet[:, ::-1].copy(), 6)]
    asked = 0
    for one, wanted in zip(results(pipeline, files), results(alone, files), strict=True):
        assert [d.box for d in one.detections] == [d.box for d in wanted.detections]
        for detection, before in zip(one.detections, wanted.detections, strict=True):
            is_moth = before.classifications[0].label == "moth"
            asked += is_moth
            assert len(detection.classifications) == 1 + is_moth
            assert detection.classifications[0].terminal != is_moth
    assert asked


@pytest.mark.parametrize("turn", range(1, 9))
def test_what_is_found_in_turned_photographs_is_turned_back(models: Path, turn: int) -> None:
    text = DETECTOR.format(runtime="torchscript", file="finds.torchscript").replace("finds\n", "turns\n")
    pipeline = declared(models, f"rotate: exif{text}")
    picture = PHOTOGRAPHS[1]
    stored = turns.turned_back(picture, turn)
    [as_people_see] = results(pipeline, [file_of(picture)])
    [as_stored] = results(pipeline, [file_of(np.ascontiguousarray(stored), turn)])
    height, width = stored.shape[:2]
    assert (as_stored.width, as_stored.height) == (width, height)
    assert len(as_stored.detections) == len(as_people_see.detections)
    for one, seen in zip(as_stored.detections, as_people_see.detections, strict=True):
        assert one.score == seen.score
        # What the box shows is the same, once it is turned; rounded outwards, for half pixels.
        x1, y1, x2, y2 = (*map(math.floor, one.box[:2]), *map(math.ceil, one.box[2:]))
        u1, v1, u2, v2 = (*map(math.floor, seen.box[:2]), *map(math.ceil, seen.box[2:]))
        np.testing.assert_array_equal(turns.turned(stored[y1:y2, x1:x2], turn), picture[v1:v2, u1:u2])
        [back] = turns.boxes_turned(np.array([one.box]), turn, width, height)
        np.testing.assert_allclose(back, seen.box, atol=1e-3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_rectangle_has_its_corners_where_they_belong(turn: int) -> None:
    def corners(cx: float, cy: float, across: float, down: float, degrees: float) -> NDArray[np.float64]:
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        return np.array(
            [(cx + c * x * across - s * y * down, cy + s * x * across + c * y * down) for x in (-1, 1) for y in (-1, 1)]
        )

    seen = corners(30, 20, 9, 4, 25)
    [angle] = turns.angles_back(np.array([25.0]), turn)
    [[cx, cy, _, _]] = turns.boxes_back(np.array([[30.0, 20, 30, 20]]), turn, 70, 50)
    back = turns.boxes_turned(np.concatenate([corners(cx, cy, 9, 4, angle)] * 2, axis=1), turn, 70, 50)[:, :2]
    for point in back:
        assert np.abs(seen - point).sum(axis=1).min() < 1e-9


def test_tiles_cover_a_photograph_and_overlap_as_asked() -> None:
    for width, height, size, overlap in [(4096, 2160, 1280, 0.2), (1281, 100, 1280, 0.5), (640, 640, 640, 0.9)]:
        boxes = inputs.tiles(recipe.Tile(size=size, overlap=overlap, merge=0.5, whole=False), width, height)
        seen = np.zeros((height, width), bool)
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert (right - left, bottom - top) == (min(size, width), min(size, height))
            seen[top:bottom, left:right] = True
        assert seen.all()
        lefts = sorted({left for left, _, _, _ in boxes})
        steps = np.diff(lefts)
        assert not len(steps) or steps.max() <= size * (1 - overlap) + 1


def test_what_two_tiles_see_is_found_once_and_uncut() -> None:
    def seen(*rows: tuple[float, float, float, float, float, int]) -> outputs.Found:
        values = np.array(rows, np.float32).reshape(-1, 6)
        return outputs.Found(values[:, :4], values[:, 4], values[:, 5].astype(np.int64))

    tiles = [(0, 0, 100, 100), (80, 0, 180, 100)]
    found = outputs.merged(
        [
            # Cut off by the first tile's edge, with a better score than the whole insect in the second.
            seen((85, 10, 100, 30, 0.95, 0), (10, 10, 20, 20, 0.5, 0)),
            seen((5, 10, 30, 30, 0.6, 0), (5, 10, 30, 30, 0.4, 1), (90, 90, 100, 100, 0.3, 0)),
        ],
        tiles,
        0.5,
    )
    assert found.boxes.tolist() == [[85, 10, 110, 30], [10, 10, 20, 20], [85, 10, 110, 30], [170, 90, 180, 100]]
    assert found.classes.tolist() == [0, 0, 1, 0]


@pytest.mark.long
def test_small_things_in_large_photographs_are_found_in_tiles(models: Path) -> None:
    text = DETECTOR.format(runtime="torchscript", file="finds.torchscript").replace("finds\n", "tiled\n")
    tile = "tile: {size: 120, overlap: 0.25}"
    pipeline = declared(models, text.replace("{size: 160}", f"{{size: 160, {tile}}}"))
    picture = drawn(400, 280, 7)
    [found] = results(pipeline, [file_of(picture)])
    seen = []
    for left, top, right, bottom in inputs.tiles(recipe.Tile(size=120, overlap=0.25, merge=0.5, whole=False), 400, 280):
        boxes, scores, names = found_directly(models / "finds.torchscript", picture[top:bottom, left:right])
        seen += zip(np.add(boxes, [left, top, left, top]).tolist(), scores, names, strict=True)
    assert 0 < len(found.detections) < len(seen)
    told = [(one.box, one.score, one.classifications[0].label) for one in found.detections]
    for box, score, name in told:
        # Each is what a tile showed, in pixels of the photograph.
        assert any(
            name == other[2] and score == pytest.approx(other[1]) and np.abs(np.subtract(box, other[0])).max() < 0.01
            for other in seen
        )
    for box, _, name in seen:
        # And nothing is left out but what another one covers.
        assert any(name == other[2] and shared(box, other[0]) > 0.5 for other in told)


def shared(one: Any, other: Any) -> float:
    """The common part of two boxes, as a share of the smaller one; 1 for those without any area."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(np.clip(high - low, 0, None).prod() / min(areas)) if min(areas) > 0 else 1.0


HALF = torch.tensor([[[10.0, 20, 30, 40]]])


@pytest.mark.parametrize(
    ("given", "labels", "values", "wanted"),
    [
        ({"format": "yolo"}, 2, [torch.tensor([[[20.0], [30], [20], [20], [0.2], [0.9]]])], (10, 20, 30, 40, 0.9, 1)),
        ({"format": "yolo"}, 2, [torch.tensor([[[20.0, 30, 20, 20, 0.2, 0.9]] * 7])], (10, 20, 30, 40, 0.9, 1)),
        ({"format": "yolo5"}, 2, [torch.tensor([[[20.0, 30, 20, 20, 0.5, 0.2, 0.8]]])], (10, 20, 30, 40, 0.4, 1)),
        ({"format": "end2end"}, 2, [torch.tensor([[[10.0, 20, 30, 40, 0.9, 1]]])], (10, 20, 30, 40, 0.9, 1)),
        ({}, 2, [HALF, torch.tensor([[0.9]]), torch.tensor([[1]])], (10, 20, 30, 40, 0.9, 1)),
        ({}, 2, [HALF[0], torch.tensor([0.9]), torch.tensor([1])], (10, 20, 30, 40, 0.9, 1)),
        ({}, 0, [HALF, torch.tensor([[0.9]])], (10, 20, 30, 40, 0.9, 0)),
        ({}, 2, [HALF, torch.tensor([[[0.2, 0.9]]])], (10, 20, 30, 40, 0.9, 1)),
        ({"shares": True}, 0, [HALF / 100, torch.tensor([[0.9]])], (10, 20, 30, 40, 0.9, 0)),
        (
            {"corners": "xywh"}, 0, [torch.tensor([[[10.0, 20, 20, 20]]]), torch.tensor([[0.9]])],
            (10, 20, 30, 40, 0.9, 0),
        ),
        (
            {"corners": "cxcywh", "activation": "softmax", "background": "last"}, 2,
            [torch.tensor([[[20.0, 30, 20, 20]]]), torch.tensor([[[0.0, 4, 0]]])], (10, 20, 30, 40, 0.9647, 1),
        ),
        (
            {"outputs": ("boxes", "labels", "scores"), "background": "first"}, 2,
            [HALF, torch.tensor([[2]]), torch.tensor([[0.9]])], (10, 20, 30, 40, 0.9, 1),
        ),
        ({"activation": "sigmoid"}, 0, [HALF, torch.tensor([[2.0]])], (10, 20, 30, 40, 0.8808, 0)),
    ],
)  # fmt: skip
def test_outputs_are_read_as_they_are_declared(
    given: dict[str, Any], labels: int, values: list[torch.Tensor], wanted: tuple[float, ...]
) -> None:
    decoder = outputs.Decoder(recipe.Output(**{"nms": 0.5, **given}), labels, "detector", "m.onnx")
    [one] = decoder.decoded(values, 1, (100, 100), 0.3)
    assert [*one.boxes[0].tolist(), float(one.scores[0]), int(one.classes[0])] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "values", "complaint"),
    [
        ({"format": "yolo"}, [torch.rand(1, 84, 10)], r"1 x 84 x 10 for 1 pictures.*format yolo with 2 labels"),
        ({"format": "yolo5"}, [torch.rand(1, 84, 10)], "is not format yolo5"),
        ({"format": "end2end"}, [torch.rand(1, 84)], "is not format end2end"),
        ({}, [torch.rand(1, 9, 4)], "is not format boxes"),
        ({}, [torch.rand(1, 9, 4), torch.rand(1, 8)], "is not format boxes"),
        ({}, [HALF, torch.tensor([[0.9]]), torch.tensor([[2]])], "gives class 2, and 2 labels are given"),
        ({}, [HALF, torch.tensor([[torch.nan]])], "not numbers"),
        ({}, [HALF * torch.inf, torch.tensor([[0.9]])], "not finite"),
    ],
)
def test_outputs_that_are_something_else_are_said_so(
    given: dict[str, Any], values: list[torch.Tensor], complaint: str
) -> None:
    decoder = outputs.Decoder(recipe.Output(**given), 2, "detector", "m.onnx")
    with pytest.raises(errors.InternalError, match=complaint):
        decoder.decoded(values, 1, (100, 100), 0.3)


LOADS = DETECTOR.format(runtime="torchscript", file="finds.torchscript")
NAMES = """
slug: names
classifiers:
  - {runtime: torchscript, file: names.torchscript, labels: [a, b, c, d], input: {size: 64}}
"""

LAUGHS = (
    "[&a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"
    + "".join(f", &{name} [{', '.join([f'*{before}'] * 10)}]" for before, name in pairwise("abcdefgh"))
    + "]"
)
"""Aliases of aliases: a hundred million values, if they were written out."""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LOADS.replace("slug: finds", "slug: Finds It"), "'Finds It' is not a slug"),
        (
            LOADS.replace("format: yolo", "format: yolo8"),
            r"Invalid enum value 'yolo8' - at `\$.detector.output.format`",
        ),
        (LOADS.replace("size", "sise"), "unknown field `sise`.*is 'size' meant"),
        (LOADS.replace("format: yolo, ", ""), "detector.output.format is missing"),
        (LOADS.replace("runtime: torchscript", "runtime: timm"), "detector.runtime timm does not find boxes"),
        (LOADS.replace("  runtime: torchscript\n", ""), "detector names no runtime or a pipeline"),
        (LOADS.replace("  file: finds.torchscript\n", ""), "detector.file is missing"),
        (
            LOADS.replace("  file:", "  model: x\n  file:"),
            "detector.model is given, and runtime torchscript takes file",
        ),
        (LOADS.replace("size: 160", "size: 0"), "detector.input.size must be at least 1"),
        (LOADS.replace("size: 160", "fit: crop, size: 3"), "would not show the detector the edges"),
        (LOADS.replace("size: 160", "fit: none, size: 3"), "fit none keeps each picture's own"),
        (LOADS.replace("size: 160", "size: 3, std: [1, 0, 1]"), "std must be above 0"),
        (LOADS.replace("size: 160", "size: 3, fit: stretch, pad: 3"), "pad is for fit letterbox"),
        (LOADS.replace("size: 160", "size: 3, margin: 0.1"), "margin is for classifiers"),
        (LOADS.replace("size: 160", "size: 3, tile: {size: 640, overlap: 1}"), "overlap is a share"),
        (LOADS.replace("nms: 0.5", "nms: 45"), "nms is an overlap"),
        (LOADS.replace("nms: 0.5", "background: first"), "background is for format boxes"),
        (LOADS.replace("min_score: 0.6", "min_score: 6"), "min_score is 0 to 1"),
        (LOADS.replace("[moth, beetle, fly]", "[yes, no]"), r"Expected `int \| str`, got `bool`.*; put it in quotes"),
        (LOADS + "version: 1.10\n", r"got `float` - at `\$.version`; put it in quotes"),
        (
            LOADS.replace("min_score: 0.6", "min_score: 6e-1"),
            r"got `str` - at .*; a number is written as 0.0008 or 8.0e-4",
        ),
        (LOADS + "slug: again\n", r"line \d+: 'slug' is there twice; the first is in line 2"),
        (LOADS.replace("min_score: 0.6", "min_score: 0.6, min_score: 0.7"), "line .*'min_score' is there twice"),
        (LOADS.replace("  runtime", "\truntime"), "line .*there is a tab, and YAML indents with blanks"),
        (LOADS.replace("detector:", "detektor:"), "unknown field `detektor`; is 'detector' meant"),
        (
            f"slug: x\ndetector: {{pipeline: light_trap_insects, config: {{min_score: {LAUGHS}}}}}\n",
            "more than 1,000,000 values",
        ),
        (
            "slug: x\ndetector: &d {pipeline: light_trap_insects, config: {x: *d}}\n",
            "an alias stands within its own anchor",
        ),
        ("slug: [" * 2000, "own.yaml: "),
        (LOADS.replace("[moth, beetle, fly]", "[a, a]"), "label 'a' is there twice"),
        (LOADS.replace("[moth, beetle, fly]", "{a: 0, b: 2}"), "do not count from 0"),
        (LOADS + "batch_size: 0\n", "batch_size must be at least 1"),
        (LOADS + "program: x.pt2\n", "unknown field `program`"),
        (NAMES.replace("labels: [a, b, c, d], ", ""), r"classifiers\[0\].labels is missing"),
        (NAMES.replace("size: 64", "margin: 0.1"), "margin is for classifiers of what a detector found"),
        (NAMES.replace("size: 64}", "size: 64}, output: {nms: 0.5}"), "nms is for detectors"),
        (NAMES.replace("size: 64}", "size: 64}, of: [moth]"), "nothing names a photograph before"),
        (
            NAMES.replace("runtime: torchscript", "runtime: yolo").replace("size: 64", "std: [1, 1, 1]"),
            "input.std: runtime yolo prepares its input itself",
        ),
        ("slug: x\nclassifiers: []\n", "neither a detector nor classifiers"),
        ("slug: x\ndetector: {pipeline: lepinet}\n", "'lepinet' is none of this project's: light_trap_insects"),
        ("slug: x\ndetector: {pipeline: light_trap_insects, file: x}\n", "so it takes no file"),
        ("slug: x\ndetector: {pipeline: light_trap_insects, config: {min_score: 3}}\n", "detector.config: setting"),
        (CHAIN.replace("of: [moth]", "of: [moht]"), r"classifiers\[0\].of: nothing before it says 'moht'; is 'moth'"),
        (CHAIN.replace("key: sexes", "key: chain_detector"), "two of its models have the key 'chain_detector'"),
    ],
)
def test_a_wrong_declaration_is_one_line_with_file_and_field(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    from antenna_orchestration.pipelines.declared import description

    with pytest.raises(errors.InvalidSetting, match=complaint) as caught:
        description.from_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(
            LOADS.replace("torchscript", "onnx").replace("160", "320"),
            r"\[160, 160\] .*YAML says size: \[320, 320\]",
            marks=has_onnx,
        ),
        pytest.param(
            LOADS.replace("torchscript", "onnx").replace("160", "160, layout: nhwc"),
            "its input is layout: nchw",
            marks=has_onnx,
        ),
        (
            LOADS.replace("[moth, beetle, fly]", "[moth]"),
            "is not format yolo with 1 labels; see detector.output.format",
        ),
        (LOADS.replace("input: {size: 160}\n", "input: {}\n"), "detector.input.size is missing"),
        pytest.param(
            LOADS.replace("runtime: torchscript", "runtime: onnx"),
            "finds.torchscript cannot be read as ONNX",
            marks=has_onnx,
        ),
        (LOADS.replace("runtime: torchscript", "runtime: pt2"), "the file is a TorchScript program"),
        (
            NAMES.replace("d], ", "d, e], "),
            r"classifiers\[0\]: names.torchscript gives 1 x 4 for 1 pict",
        ),
        (
            NAMES.replace("size: 64}", "size: 64}, output: {activation: none}"),
            r"classifiers\[0\].output.activation is none, and names.torchscript gives",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_told_in_yaml_words(models: Path, text: str, complaint: str) -> None:
    with pytest.raises(errors.InternalError, match=complaint):
        results(declared(models, text), [file_of(PHOTOGRAPHS[2])])


@has_onnx
def test_a_program_of_a_fixed_number_runs_with_any_number(tmp_path: Path) -> None:
    write(seeded(SmallYolo()), tmp_path / "finds.onnx", torch.rand(3, 3, 160, 160), dynamic=False)
    text = DETECTOR.format(runtime="onnx", file="finds.onnx")
    files = [file_of(one) for one in PHOTOGRAPHS]
    found = results(declared(tmp_path, text), files)
    for one, file in zip(found, files, strict=True):
        [alone] = results(declared(tmp_path, text), [file])
        np.testing.assert_allclose(boxes_of(one), boxes_of(alone), atol=0.01)
    with pytest.raises(errors.InternalError, match="it takes exactly 3 at once, and the YAML says at_once: 8"):
        declared(tmp_path, text.replace("{size: 160}", "{size: 160, at_once: 8}"))


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("l.txt", "a\n b \nc\n\n", ("a", "b", "c")),
        ("l.txt", "\ufeffä\nb", ("ä", "b")),
        # The index before each was a part of the label.
        ("l.txt", "0 moth\n1 butterfly, small\n", ("moth", "butterfly, small")),
        ("l.txt", "1: b\n00: a\n", ("a", "b")),
        ("l.txt", "0\ta\n1\tb", ("a", "b")),
        # Names that begin with numbers, and no indices.
        ("l.txt", "2 spots\n7 spots", ("2 spots", "7 spots")),
        ("l.txt", "0 moth\nnothing", ("0 moth", "nothing")),
        ("l.txt", "0 spots", ("0 spots",)),
        ("l.txt", "0\n1", ("0", "1")),
        ("l.txt", "0.5 mm\n1.5 mm", ("0.5 mm", "1.5 mm")),
        ("l.json", '["a", "b"]', ("a", "b")),
        ("l.json", '{"b": 1, "a": 0}', ("a", "b")),
        ("l.json", '{"1": "b", "0": "a"}', ("a", "b")),
        ("l.json", '{"797": 1, "1": 0}', ("1", "797")),
        ("config.json", '{"model_type": "vit", "id2label": {"0": "a", "1": "b"}}', ("a", "b")),
        ("data.yaml", "path: x\nnames:\n  0: a\n  1: b\n", ("a", "b")),
        ("data.yaml", "names: [a, b]\n", ("a", "b")),
    ],
)
def test_labels_are_read_from_files_of_every_kind(
    tmp_path: Path, name: str, content: str, wanted: tuple[str, ...]
) -> None:
    from antenna_orchestration.pipelines import labels

    (tmp_path / name).write_text(content, encoding="utf-8")
    assert labels.read_labels(tmp_path / name) == wanted


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("l.txt", "a\n\nb\n", "label 1 is empty"),
        ("l.txt", "", "holds no labels"),
        ("l.txt", "a\na\n", "label 'a' is there twice"),
        ("l.txt", "0 a\n1 a\n", "label 'a' is there twice"),
        ("l.json", "[true]", "label 0 is True, not text; put it in quotes"),
        ("l.yaml", "names: [no, yes]", "label 0 is False, not text; put it in quotes"),
        ("l.yaml", "a: [", "not YAML"),
        ("l.json", '{"0": "a", "2": "b"}', "do not count from 0"),
    ],
)
def test_files_without_usable_labels_are_one_line(tmp_path: Path, name: str, content: str, complaint: str) -> None:
    from antenna_orchestration.pipelines import labels

    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(errors.InternalError, match=complaint) as caught:
        labels.read_labels(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_reading_a_declaration_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(CHAIN)
    code = (
        "import sys; from pathlib import Path; from antenna_orchestration.pipelines.declared import description; "
        f"spec = description.from_yaml(Path({str(tmp_path / 'own.yaml')!r})); "
        "print([name for name in ('torch', 'numpy', 'cv2', 'PIL', 'onnxruntime') if name in sys.modules], spec.slug)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert told.strip() == "[] chain"


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(errors.InternalError, match=r"finds-.*yaml: runtime onnx needs onnxruntime.*\[onnx\]"):
        declared(models, DETECTOR.format(runtime="onnx", file="finds.onnx"))


def test_labels_inside_yolo_files_are_not_needed_to_read_the_declaration(tmp_path: Path) -> None:
    from antenna_orchestration.pipelines.declared import description

    path = tmp_path / "own.yaml"
    path.write_text("slug: own\ndetector: {runtime: yolo, file: best.pt}\n")
    spec = description.from_yaml(path)
    assert [(one.key, one.labels, one.uri) for one in spec.algorithms] == [
        ("own_detector", (), str(tmp_path / "best.pt")),
        ("own_detector_labels", (), str(tmp_path / "best.pt")),
    ]
    assert json.dumps(dict(spec.default_config)) == '{"min_score": 0.25}'
