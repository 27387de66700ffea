"""Masks: COCO's text, and the edges of what it says."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from antenna_orchestration import errors
from antenna_orchestration.domain import masks
from antenna_orchestration.domain.messages import Mask, RotatedBox

Pixels = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

PIXELS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(PIXELS)
def test_a_mask_comes_back_as_it_was(pixels: Pixels) -> None:
    mask = masks.of_array(pixels)
    assert np.array_equal(masks.to_array(mask), pixels)
    assert masks.area(mask) == pixels.sum()
    assert masks.counts_of(masks.runs_of(mask.counts)) == mask.counts


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@given(PIXELS)
def test_pycocotools_writes_and_reads_the_same_text(pixels: Pixels) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = masks.of_array(pixels)
    encoded = coco.encode(np.asfortranarray(pixels.astype(np.uint8)))
    assert (encoded["size"], encoded["counts"].decode()) == ([mask.height, mask.width], mask.counts)
    decoded = coco.decode({"size": [mask.height, mask.width], "counts": mask.counts})
    assert np.array_equal(decoded.astype(bool), pixels)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("", "0 pixels"),
        ("5", "5 pixels"),
        ("=", "13 pixels"),
        ("\u00ff", "not COCO"),
        (" ", "not COCO"),
        ("Q", "the middle of a number"),
        ("oooooooo0", "not COCO"),
        ("\u0100", "not COCO"),
        ("12@", "impossible length"),
        ("1" * (2**20 + 1), "the most are 1,048,576"),
    ],
)
def test_what_is_no_mask_of_its_image_is_refused(counts: str, message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message):
        masks.to_array(Mask(3, 4, counts))


@pytest.mark.parametrize(("height", "width"), [(0, 4), (-3, -4), (1, 10**6 + 1), (40_000, 40_000)])
def test_a_few_bytes_do_not_stand_for_gigabytes(height: int, width: int) -> None:
    whole = masks.counts_of([0, height * width])
    with pytest.raises(errors.InvalidInput, match="is of no photograph"):
        masks.checked(Mask(height, width, whole))


def test_an_outline_takes_memory_for_its_corners_only() -> None:
    """Upright edges were cut into pixels: of stripes that forty kilobytes write, a million corners became a billion."""
    high = 10**6
    stripes = Mask(high, 999, masks.counts_of([high] * 999))
    tracemalloc.start()
    found = masks.outlines(stripes)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 499 and most < 10 * 2**20
    assert found[0] == [(1, 0), (2, 0), (2, high), (1, high)]


@given(PIXELS)
def test_outlines_hold_the_mask_and_its_holes(pixels: Pixels) -> None:
    found = masks.outlines(masks.of_array(pixels))
    if found:
        assert {(x, y) for one in found for x, y in one} <= {
            (x, y) for x in range(pixels.shape[1] + 1) for y in range(pixels.shape[0] + 1)
        }
    filled = np.zeros_like(pixels)
    for one in found:
        filled |= inside(one, pixels.shape)
    assert (filled | pixels).sum() == filled.sum(), "every pixel is within an outline"
    if pixels.all():
        height, width = pixels.shape
        assert found == [[(0, 0), (width, 0), (width, height), (0, height)]]


def inside(polygon: list[masks.Point], shape: tuple[int, int]) -> Pixels:
    """Which pixels' centres a polygon holds, by how often a ray from each meets its sides."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    odd = np.zeros(shape, bool)
    for (x1, y1), (_, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        if y1 != y2:
            odd ^= (np.minimum(y1, y2) < y) & (y < np.maximum(y1, y2)) & (x < x1)
    return odd


def test_the_largest_part_comes_first_and_corners_stay_apart() -> None:
    pixels = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]], bool)
    assert masks.outlines(masks.of_array(pixels)) == [
        [(1, 1), (3, 1), (3, 3), (1, 3)],
        [(0, 0), (1, 0), (1, 1), (0, 1)],
    ]


def test_a_rotated_box_turns_clockwise_as_seen() -> None:
    corners = masks.corners_of(RotatedBox(10.0, 20.0, 4.0, 2.0, 90.0))
    assert np.allclose(corners, [(11, 18), (11, 22), (9, 22), (9, 18)])


@given(PIXELS, st.floats(0, 2))
def test_an_outline_keeps_near_its_mask(pixels: Pixels, tolerance: float) -> None:
    mask = masks.of_array(pixels)
    exact, found = masks.outlines(mask), masks.outline(mask, tolerance=tolerance)
    if not exact:
        assert found == []
        return
    assert len(found) >= 3 and set(found) <= set(exact[0])
    if tolerance == 0:
        assert found == exact[0]
