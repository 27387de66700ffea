"""Of an error's message the line that helps is shown."""

from __future__ import annotations

import pytest

from antenna_orchestration.domain.told_errors import MOST, MOST_TRACE, helpful_line, trace


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("no such file: w.pth", "no such file: w.pth"),
        ("first\nsecond", "first"),
        ("\n  only this  \n", "only this"),
        ("a heading:", "a heading:"),
        ("a heading:\n  one\n  two", "a heading: one two"),
        (
            'Error(s) in loading state_dict for ResNet:\n\tMissing key(s) in state_dict: "a", "b".\n'
            "\tsize mismatch for fc.weight: copying a param with shape torch.Size([3, 4]) from checkpoint.",
            "Error(s) in loading state_dict for ResNet: size mismatch for fc.weight: copying a param with shape "
            "torch.Size([3, 4]) from checkpoint.",
        ),
        ("Error(s) in loading:\n\tMissing key(s): a", "Error(s) in loading: Missing key(s): a"),
        ("x" * 2 * MOST, "x" * MOST),
    ],
)
def test_the_line_that_helps(message: str, line: str) -> None:
    assert helpful_line(message) == line


def test_a_trace_keeps_its_end() -> None:
    try:
        raise ValueError("x" * 2 * MOST_TRACE + " the end")
    except ValueError as error:
        told = trace(error)
    assert len(told) == MOST_TRACE
    assert told.endswith("the end")
