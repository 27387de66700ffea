"""Draws the scenes to train on: parts of photographs with their insects, at the resolution of the network's input.

Scenes are drawn like the photographs of `synthetic.captures`, but with more species, sizes, sheets and clutter. The
same seed gives the same scene.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration.synthetic import captures
from training import clutter, insects

LENGTHS = (13.0, 130.0)
"""Range of the length of a scene's medium-sized moth in pixels, log-uniform. Insects are 1/3 to 3 times as long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture, and the insects that the network should find in it."""

    # RGB, uint8, side x side x 3.
    pixels: NDArray[np.uint8]
    insects: list[captures.TrueInsect]


def draw_scene(seed: int, side: int = 512, *, empty: bool = False) -> Scene:
    """Draw one scene of `side` x `side` pixels; with `empty` what else is on the sheet, and no insect."""
    rng = np.random.default_rng([seed, side, 77])
    # The network gets shrunk photographs, so many scenes are drawn larger and then shrunk.
    zoom = float(rng.choice([1.0, 1.0, 1.5, 2.0]))
    drawn = round(side * zoom)
    picture, sheet = captures.draw_trap(rng, drawn, drawn)
    if rng.random() < 0.5:
        captures.add_debris(picture, rng)
    medium = zoom * float(np.exp(rng.uniform(*np.log(LENGTHS))))
    picture = Image.fromarray(clutter.lay_out(np.array(picture), rng))
    true = captures.add_insects(
        picture, rng, sheet, 0 if empty else _how_many(rng, drawn / medium), medium=medium, draw=insects.draw_varied
    )
    if rng.random() < 0.15:
        captures.add_stamp(picture, rng)
    pixels = np.asarray(picture)
    if rng.random() < 0.2:
        pixels = clutter.coloured_light(pixels, rng)
    pixels = _through_the_camera(pixels, rng)
    if drawn != side:
        pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return Scene(
        pixels=_as_file(pixels, rng),
        insects=[
            captures.TrueInsect(box=tuple(value / zoom for value in insect.box), kind=insect.kind)  # type: ignore[arg-type]
            for insect in true
        ],
    )


def _how_many(rng: np.random.Generator, across: float) -> int:
    """A random number of insects, 0 to 40; `across` is how many medium-sized moths fit side by side."""
    if rng.random() < 0.05:
        return 0
    share = float(np.exp(rng.uniform(np.log(0.03), np.log(0.5))))
    return int(np.clip(share * across**2, 1, 40))


def _through_the_camera(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Apply blur, the denoising and sharpening that cameras do, exposure, tone and noise."""
    if rng.random() < 0.4:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < 0.1:
        reach = int(rng.integers(3, 9))
        streak = np.zeros((reach, reach), np.float32)
        streak[reach // 2] = 1 / reach
        turn = cv2.getRotationMatrix2D((reach / 2 - 0.5, reach / 2 - 0.5), rng.uniform(0, 180), 1)
        streak = cv2.warpAffine(streak, turn, (reach, reach))
        pixels = cv2.filter2D(pixels, -1, streak / max(1e-3, streak.sum()))
    if rng.random() < 0.15:
        pixels = cv2.medianBlur(pixels, 3)
    if rng.random() < 0.4:
        soft = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 2.5))
        amount = rng.uniform(0.3, 2.0)
        pixels = cv2.addWeighted(pixels, 1 + amount, soft, -amount, 0)
    values = pixels.astype(np.float32) / 255
    values = values ** rng.uniform(0.7, 1.4) * rng.uniform(0.75, 1.1)
    if rng.random() < 0.3:
        grey = values.mean(2, keepdims=True)
        values = grey + (values - grey) * rng.uniform(0.0, 1.6)
    height, width = pixels.shape[:2]
    values += rng.standard_normal((height, width, 1)).astype(np.float32) * rng.uniform(0, 0.03)
    if rng.random() < 0.3:
        values += rng.standard_normal((height, width, 3)).astype(np.float32) * rng.uniform(0, 0.02)
    return (values * 255).clip(0, 255).astype(np.uint8)


def _as_file(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Compress the picture as a JPEG and decode it again, in six of ten cases."""
    if rng.random() < 0.4:
        return pixels
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(rng.integers(45, 96)))
    return np.array(Image.open(stream))
