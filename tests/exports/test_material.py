"""What exports are made from."""

from datetime import date
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.exports.material import path_below
from antenna_orchestration.exports.selection import Selection
from tests.exports.materials import material_of


def test_every_photograph_comes_once_with_what_is_on_it(tmp_path: Path) -> None:
    photographs = list(material_of(tmp_path).photographs("taxon", "detector_score"))

    assert [(one.path, one.row["status"], one.row["reason"]) for one in photographs] == [
        ("001.jpg", "done", None),
        ("002.jpg", "done", None),
        ("003.jpg", "done", None),
        ("004.jpg", "failed", "cannot be decoded"),
    ]
    assert [[found["taxon"] for found in one.observations] for one in photographs] == [
        ["Autographa gamma", "Noctua pronuba"],
        ["Autographa gamma"],
        [],
        [],
    ]
    assert [one.row["detections"] for one in photographs] == [2, 1, 0, None]


@pytest.mark.parametrize(
    ("selection", "photographs", "observations"),
    [
        (Selection(project="pond", deployment="by the pond"), 4, 3),
        (Selection(project="pond", deployment="by the 'sea'"), 0, 0),
        (Selection(project="pond", pipeline="moths", first=date(2026, 6, 12), last=date(2026, 6, 12)), 4, 3),
        (Selection(project="pond", first=date(2026, 6, 13)), 0, 0),
        (Selection(project="pond", threshold=0.75), 4, 3),
        # A detection without a score is below no threshold.
        (Selection(project="pond", threshold=0.8), 4, 1),
    ],
)
def test_a_selection_narrows(tmp_path: Path, selection: Selection, photographs: int, observations: int) -> None:
    found = list(material_of(tmp_path, selection=selection).photographs())
    assert (len(found), sum(len(one.observations) for one in found)) == (photographs, observations)


@pytest.mark.parametrize("wrong", [{"first": date(2026, 6, 2), "last": date(2026, 6, 1)}, {"threshold": 1.5}])
def test_a_selection_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidInput):
        Selection(project="pond", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base", "url", "path"),
    [
        ("file:///card/", "file:///card/a%20b/1.jpg", "a b/1.jpg"),
        ("", "s3://bucket/a/1.jpg", "bucket/a/1.jpg"),
        ("s3://bucket/", "s3://bucket/100%25 of it/a%2Fb.jpg", "100%25 of it/a%2Fb.jpg"),
        ("https://x.org/t/", "https://x.org/t/1.jpg?sig=secret", "1.jpg"),
        ("file:///card/", "file:///card/..%2F..%2Fetc/passwd", "etc/passwd"),
    ],
)
def test_paths_lie_below_the_common_folder(base: str, url: str, path: str) -> None:
    assert path_below(base, url) == path
