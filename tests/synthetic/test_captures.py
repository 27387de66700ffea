"""The drawn photographs match the list of their insects."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from antenna_orchestration.domain import capture_time
from antenna_orchestration.synthetic import captures


def grey(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(float)


def test_a_seed_gives_the_same_photograph_and_another_seed_another() -> None:
    assert captures.draw_capture(3, 640, 480) == captures.draw_capture(3, 640, 480)
    assert captures.draw_capture(3, 640, 480)[0] != captures.draw_capture(4, 640, 480)[0]


def test_boxes_lie_in_the_picture_and_hold_something_unlike_what_surrounds_them() -> None:
    unlike = total = 0
    for seed in range(6):
        data, insects = captures.draw_capture(seed, 1200, 900, insects=8)
        pixels = grey(data)
        for insect in insects:
            x1, y1, x2, y2 = (int(value) for value in insect.box)
            assert 0 <= x1 < x2 <= 1200
            assert 0 <= y1 < y2 <= 900
            sheet = np.median(pixels[max(0, y1 - 20) : y2 + 20, max(0, x1 - 20) : x2 + 20])
            unlike += np.abs(pixels[y1:y2, x1:x2] - sheet).max() > 25
            total += 1
    assert total > 35
    assert unlike / total > 0.9


def test_both_kinds_and_many_sizes_are_drawn() -> None:
    insects = [insect for seed in range(6) for insect in captures.draw_capture(seed, 1200, 900, insects=12)[1]]
    moths = sum(insect.kind == "moth" for insect in insects)
    assert 0.4 < moths / len(insects) < 0.85
    sizes = [max(insect.box[2] - insect.box[0], insect.box[3] - insect.box[1]) for insect in insects]
    assert min(sizes) < 30
    assert max(sizes) > 90


def test_an_empty_sheet_has_no_insects() -> None:
    assert captures.draw_capture(1, 640, 480, insects=0)[1] == []


def test_samples_look_like_one_night_of_one_trap(tmp_path: Path) -> None:
    files = captures.write_samples(tmp_path / "night", 3, seed=5, width=800, height=600)
    assert [file.name for file in files] == [
        "20260612220500-00-01.jpg", "20260612221200-00-02.jpg", "20260612221900-00-03.jpg"
    ]  # fmt: skip
    assert capture_time.from_name(files[1].name) == (datetime(2026, 6, 12, 22, 12), None)
    truth = json.loads((tmp_path / "night" / "truth.json").read_text())
    assert list(truth) == [file.name for file in files]
    assert truth[files[0].name]["width"] == 800
    assert {insect["kind"] for entry in truth.values() for insect in entry["insects"]} <= {"moth", "other"}
    first, second = (Image.open(io.BytesIO(file.read_bytes())).convert("RGB").resize((20, 15)) for file in files[:2])
    colours = np.median(np.asarray(first, float), (0, 1)) - np.median(np.asarray(second, float), (0, 1))
    # The sheet is the same: between two exposures, all three channels change by the same factor.
    assert np.ptp(colours) < 8
