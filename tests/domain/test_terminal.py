"""M3: text of others is read on a terminal and in spreadsheets, and commands nothing there."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.domain import csv_cells, terminal

HOSTILE = [
    "\x1b[2J\x1b[31mgone", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x9b31mred",
    "\x9d0;title\x9c", "a\rantenna: all is well", "a\nantenna: error: no", "\x08\x08\x08ok", "\u202egpj.exe",
    "\u2066a\u2069", "\u200fa", "\udcff", "\ue000", "\U000e0041", "a\u2028b", "a\x85b", "\x7f", "\t", "[red]",
    "=1+1", " =1+1", "\n=1+1",
    "\uff1d1+1", "-2+3", "@SUM(A1)", '"', "a,b", "Käfer 蛾 🦋", "نام\u200cها",
]  # fmt: skip

hostile = st.one_of(st.sampled_from(HOSTILE), st.text(), st.lists(st.sampled_from(HOSTILE)).map("".join),
                    st.text(alphabet="\x1b\x9b\x07[]0;m\r\n\t\u202e\u2066=+-@ 'a\""))  # fmt: skip


def is_harmless(text: str) -> bool:
    """Whether a terminal shows each of these characters, and does nothing else."""
    return all(one.isprintable() or one in "\u200c\u200d" for one in text)


@given(hostile)
def test_a_line_is_one_line_that_commands_nothing(text: str) -> None:
    shown = terminal.line(text)
    assert is_harmless(shown)
    assert len(shown) == len(text)
    if is_harmless(text):
        assert shown == text


@given(st.lists(hostile))
def test_json_means_what_it_meant_and_commands_nothing(texts: list[str]) -> None:
    for indent in (None, 2):
        shown = terminal.json_text(json.dumps(texts, ensure_ascii=False, indent=indent))
        assert all(map(is_harmless, shown.split("\n")))
        # Halves of characters may have met.
        assert json.loads(shown) == json.loads(json.dumps(texts))


@given(hostile)
def test_no_cell_is_a_formula_or_holds_a_control(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow(["before", csv_cells.cell(text), "after"])
    [[_, cell, after]] = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert after == "after"
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    # Neither controls nor halves of characters.
    assert not {unicodedata.category(one) for one in cell if one not in "\t\n"} & {"Cc", "Cs"}
    # Of writing direction: in an editor, the columns behind one read as others.
    assert not set(cell) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("text", ["Noctua pronuba", "a-b", "1.5", "two\nlines", "'quoted'", "Käfer 蛾 🦋"])
def test_ordinary_cells_stay_as_they_are(text: str) -> None:
    assert csv_cells.cell(text) == text
