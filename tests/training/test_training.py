"""Seeds determine scenes, maps mark the insects, and training learns and continues where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from antenna_orchestration.pipelines.light_trap import insect_network
from antenna_orchestration.pipelines.light_trap.insect_network import STRIDE, InsectNetwork, Maps
from benchmarks import detector_scores
from training import examples, scenes, train_detector


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    one, again, other = scenes.draw_scene(3, 128), scenes.draw_scene(3, 128), scenes.draw_scene(4, 128)
    assert one.pixels.shape == (128, 128, 3)
    assert np.array_equal(one.pixels, again.pixels)
    assert one.insects == again.insects
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.long
def test_scenes_hold_both_kinds_of_all_sizes_within_their_edges() -> None:
    insects = [insect for seed in range(25) for insect in scenes.draw_scene(seed, 256).insects]
    sizes = [max(insect.box[2] - insect.box[0], insect.box[3] - insect.box[1]) for insect in insects]
    assert min(sizes) < 12
    assert max(sizes) > 110
    assert {insect.kind for insect in insects} == {"moth", "other"}
    assert all(0 <= side <= 256 for insect in insects for side in insect.box)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_turn_with_the_picture(quarters: int, mirrored: bool) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[10:20, 30:60] = 255
    turned, boxes = examples._turned(pixels, np.array([[30, 10, 60, 20]], np.float32), quarters, mirrored)
    x1, y1, x2, y2 = boxes[0].astype(int)
    assert turned[y1:y2, x1:x2].min() == 255
    assert turned.sum() == turned[y1:y2, x1:x2].sum()


def test_maps_that_are_right_give_the_boxes_and_kinds_back() -> None:
    boxes = np.array([[10, 20, 50, 60], [70, 30, 82, 44], [3, 90, 8, 94]], np.float32)
    example = examples.make_example(np.zeros((128, 128, 3), np.uint8), boxes, np.array([1, 0, 1], np.float32))
    cells = (torch.arange(32) + 0.5) * STRIDE
    x, y = cells[None].expand(32, 32), cells[:, None].expand(32, 32)
    x1, y1, x2, y2 = example.boxes
    maps = Maps(
        middle=torch.logit(example.middle, 1e-6)[None],
        reach=torch.stack([x - x1, y - y1, x2 - x, y2 - y])[None],
        moth=(example.moth * 8 - 4)[None],
    )
    found = insect_network.peaks(maps, 0, 0.9)
    assert {tuple(box) for box in found.boxes.tolist()} == {(10, 20, 50, 60), (70, 30, 82, 44)}
    assert sorted((found.moths > 0.5).tolist()) == [False, True]
    # The third is too small, so the loss ignores it.
    assert example.asked[92 // STRIDE, 5 // STRIDE] == 0
    middle, box, kind = train_detector.losses(maps, examples.collate([example])).tolist()
    assert middle < 0.1
    assert box < 1e-4
    assert kind < 0.05


def arguments(folder: Path, **changes: object) -> argparse.Namespace:
    usual = {
        "steps": 12, "batch": 2, "scenes": 4, "seed": 7, "rate": 2e-3, "device": "cpu", "threads": 1, "drawers": 0,
        "folder": folder, "start": None, "output": folder / "weights.pt", "side": 96, "keep_every": 6,
    }  # fmt: skip
    return argparse.Namespace(**{**usual, **changes})


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = train_detector.train(arguments(tmp_path / "whole"))
    # Stopped at step six, at the full rate: until there the learning rate does not depend on `steps`.
    stopped = arguments(tmp_path / "stopped")
    train_detector.train(stopped, stop_after=6)
    continued = train_detector.train(stopped)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, continued.state_dict()[name]), name


@pytest.mark.slow
def test_training_learns_and_its_weights_can_be_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "learning"
    scene = examples.Scenes(folder / "scenes", seed=7, distinct=2, count=2, side=96)
    batch = examples.collate([scene[0], scene[1]])
    before = loss(InsectNetwork(), batch)
    network = train_detector.train(arguments(folder, steps=60, scenes=2, rate=5e-3))
    digest = train_detector.write_weights(network, folder / "weights.pt")
    assert len(digest) == 64
    read = InsectNetwork()
    read.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    assert loss(read, batch) < 0.7 * before


def loss(network: InsectNetwork, batch: examples.Example) -> float:
    with torch.inference_mode():
        return float(train_detector.losses(network.eval()(batch.picture.float() / 255), batch).sum())


def test_an_empty_scene_has_its_sheet_and_no_insect() -> None:
    full, empty = scenes.draw_scene(3, 128), scenes.draw_scene(3, 128, empty=True)
    assert full.insects
    assert not empty.insects
    assert empty.pixels.shape == full.pixels.shape


def test_scores_are_as_good_as_the_share_of_insects_among_them() -> None:
    judged = [(0.05, False), (0.11, True), (0.19, False), (0.9, True), (1.0, True)]
    assert detector_scores.reliability(judged) == [
        {"from": 0.0, "to": 0.1, "boxes": 1, "share": 0.0},
        {"from": 0.1, "to": 0.2, "boxes": 2, "share": 0.5},
        {"from": 0.9, "to": 1.0, "boxes": 2, "share": 1.0},
    ]
