"""Boxes as files can have them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.exports import boxes

SIDES = st.integers(1, 20_000)
EDGES = st.floats(-1e5, 1e5, width=32)


@given(st.tuples(EDGES, EDGES, EDGES, EDGES), SIDES, SIDES, st.sampled_from([(5, 1), (6, 1), (4, 100)]))
def test_shares_of_any_box_are_within_the_photograph(
    edges: tuple[float, float, float, float], width: int, height: int, form: tuple[int, int]
) -> None:
    digits, whole = form
    x1, x2, y1, y2 = *sorted(edges[:2]), *sorted(edges[2:])
    box = boxes.clipped(boxes.Corners(x1, y1, x2, y2), width, height)
    if box is None:
        # Nothing of it is on the photograph.
        assert x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height or x1 == x2 or y1 == y2
        return
    found = boxes.shares(box, width, height, digits=digits, whole=whole)
    least = 10.0**-digits
    assert found.x >= 0 and found.y >= 0
    assert min(found.width, found.height) > least / 2
    assert max(found.x + found.width, found.y + found.height) <= whole + least / 100
    # What was rounded is where it was.
    for share, pixels, side in ((found.x, box.x1, width), (found.y, box.y1, height)):
        assert abs(share - pixels / side * whole) <= least * 1.01


@given(st.lists(st.floats(0, 400), min_size=3, max_size=3, unique=True))
def test_order_of_edges_survives_rounding(edges: list[float]) -> None:
    shared = [boxes.shares(boxes.Corners(0, 0, edge, 1), 400, 1, digits=5) for edge in sorted(edges) if edge > 0]
    assert all(one.width <= other.width for one, other in pairwise(shared))
