"""Fits the two logistic regressions of the default pipeline, and writes `pipelines/light_trap/insect_shape.json`.

    python benchmarks/fit_insect_shape.py [--photographs 240] [--seed 1]

It takes a few minutes on two cores. It uses drawn photographs only; `detector_accuracy.py` measures on real ones.
"""

from __future__ import annotations

import argparse
import io
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration.domain.boxes import overlap
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.light_trap import blob_detector, blobs, insect_shape, sheets
from antenna_orchestration.synthetic import captures

OUTPUT = Path(insect_shape.__file__).with_name(insect_shape.FILE)

SIZES = ((1600, 1200), (2048, 1080), (1280, 960), (3200, 1800))


def main() -> None:
    """Draw, find, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--photographs", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    seeds = [arguments.seed * 1_000_003 + index for index in range(arguments.photographs)]
    with ProcessPoolExecutor() as pool:
        parts = list(pool.map(examples, seeds, chunksize=4))
    features = np.concatenate([part[0] for part in parts])
    insect = np.concatenate([part[1] for part in parts])
    moth = np.concatenate([part[2] for part in parts])
    print(f"{len(features)} blobs, {insect.mean():.0%} insects, of which {moth[insect].mean():.0%} moths")
    fitted = {
        "insect": fit(features, insect, "insect"),
        "moth": fit(features[insect], moth[insect], "moth"),
    }
    arguments.output.write_text(json.dumps(fitted, indent=1) + "\n")


def examples(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """The n blobs of one drawn photograph: features (n x features), whether it is an insect (n), and a moth (n).

    A blob is an insect if its IoU with a drawn insect is at least 0.4.
    """
    cv2.setNumThreads(1)
    width, height = SIZES[seed % len(SIZES)]
    data, insects = captures.draw_capture(seed, width, height)
    pixels = images.shrink(np.asarray(Image.open(io.BytesIO(data))), blob_detector.WORKING_SIDE)
    scale = width / pixels.shape[1]
    found = blobs.find_blobs(sheets.compare_with_sheet(pixels), blob_detector.LEAST_SIZE)
    overlaps = [[overlap([value * scale for value in blob.box], insect.box) for insect in insects] for blob in found]
    best = [max(range(len(insects)), key=row.__getitem__, default=-1) for row in overlaps]
    is_insect = [index >= 0 and row[index] >= 0.4 for index, row in zip(best, overlaps, strict=True)]
    is_moth = [good and insects[index].kind == "moth" for index, good in zip(best, is_insect, strict=True)]
    features = np.array([blob.features for blob in found], np.float32).reshape(-1, len(blobs.FEATURES))
    return features, np.array(is_insect, bool), np.array(is_moth, bool)


def fit(features: NDArray[np.float32], truth: NDArray[np.bool_], name: str, penalty: float = 3.0) -> dict[str, object]:
    """Fit a logistic regression with an L2 penalty by Newton's method; returns its record for the JSON file.

    Every fifth example is held out, to print the accuracy.
    """
    mean = features.mean(0).astype(float)
    deviation = features.std(0).astype(float) + 1e-6
    design = insect_shape.terms(features, mean, deviation)
    aside = np.arange(len(design)) % 5 == 0
    x, y = design[~aside], truth[~aside].astype(float)
    weights = np.zeros(design.shape[1])
    ridge = penalty * np.eye(design.shape[1])
    ridge[-1, -1] = 0
    for _ in range(30):
        probability = 1 / (1 + np.exp(-(x @ weights)))
        slope = x.T @ (probability - y) + ridge @ weights
        curve = (x * (probability * (1 - probability))[:, None]).T @ x + ridge
        weights -= np.linalg.solve(curve + 1e-9 * np.eye(len(curve)), slope)
    right = ((design[aside] @ weights > 0) == truth[aside]).mean()
    print(f"{name}: {right:.1%} of {aside.sum()} held-out examples are classified correctly")
    strongest = np.argsort(-np.abs(weights[: len(blobs.FEATURES)]))[:8]
    print("   " + ", ".join(f"{blobs.FEATURES[index]} {weights[index]:+.2f}" for index in strongest))
    return {
        "features": list(blobs.FEATURES),
        "mean": [round(float(value), 5) for value in mean],
        "deviation": [round(float(value), 5) for value in deviation],
        "weights": [round(float(value), 5) for value in weights],
    }


if __name__ == "__main__":
    main()
