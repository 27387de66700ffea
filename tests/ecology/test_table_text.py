"""Tables as people save them: encodings, ends of lines, and separators, the same for sites, names and reviews."""

from __future__ import annotations

import pytest

from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology import name_files, reviews, sites, table_text

SITES = "deployment,latitude,longitude\nwood,55.5,10.25\n"
NAMES = "label,scientificName,taxonRank\nmoth,Lepidoptera,order\n"
REVIEWS = "detection_id,label\n42-1007-0,Noctua\n"

SAVED = [
    lambda text: text.encode(),
    lambda text: text.encode("utf-8-sig"),
    lambda text: text.encode("utf-16"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: ("\n" + text.replace(",", ";")).encode(),
    lambda text: text.replace(",", "\t").encode("utf-16"),
    lambda text: ("sep=;\n" + text.replace(",", ";")).encode(),
    lambda text: ('"sep=;"\r\n' + text.replace(",", ";").replace("\n", "\r\n")).encode("utf-8-sig"),
    lambda text: ("sep=;\r" + text.replace(",", ";").replace("\n", "\r")).encode(),
]
"""A table in the ways in which programs save it."""


@pytest.mark.parametrize("saved", SAVED)
def test_all_three_readers_take_a_table_however_it_was_saved(saved: object) -> None:
    assert callable(saved)
    [wood] = sites.read_csv(saved(SITES), {})
    assert (wood.deployment, wood.latitude, wood.longitude) == ("wood", 55.5, 10.25)
    assert name_files.read_taxa(saved(NAMES), "f").taxa["moth"].name == "Lepidoptera"
    [given] = reviews.read(saved(REVIEWS), "f").given
    assert (given.review.job_id, given.review.label) == (JobId(42), "Noctua")


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [(b"a\n\xff", 2, "not UTF-8 text"), (b"a\0", None, "not a CSV file"), (b"\xff\xfea", 1, "not")],
)
def test_bytes_that_are_no_text_are_told(data: bytes, line: int | None, why: str) -> None:
    with pytest.raises(table_text.NotText, match=why) as raised:
        table_text.decoded(data)
    assert raised.value.line == line
