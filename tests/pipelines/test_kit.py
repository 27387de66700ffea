"""The kit for repositories of own pipelines: what it finds, what it lets pass, and that the shipped pipelines pass."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antenna_orchestration import errors
from antenna_orchestration.pipelines import helpers, images
from antenna_orchestration.pipelines.interface import AlgorithmSpec
from antenna_orchestration.testing import PipelineFaults, check_pipeline, photographs, write_lock
from tests.pipelines.wrong_in_one_way import FINDER, NAMER, spec

pytest_plugins = ["pytester"]


@pytest.mark.long
@pytest.mark.parametrize(
    "slug",
    ["null", "light_trap_blobs", "light_trap_insects", pytest.param("light_trap_network", marks=pytest.mark.slow)],
)
def test_the_shipped_pipelines_pass(slug: str) -> None:
    report = check_pipeline(slug)
    assert report.pipeline == slug
    assert sum(len(one.result.detections) for one in report.seen) > 0
    # A line for the pipeline, and one for each photograph.
    assert len(str(report).splitlines()) == 4


@pytest.fixture(scope="module")
def sheet() -> list[photographs.Photograph]:
    """Two photographs of one size and one of another."""
    return list(photographs.drawn())


def test_a_right_pipeline_has_no_faults(sheet: list[photographs.Photograph]) -> None:
    report = check_pipeline(spec(takes_detections=True), sheet)
    assert [len(one.result.detections) for one in report.seen] == [1, 1, 1]
    # One photograph is enough, and so are its bytes.
    assert len(check_pipeline(spec(), [sheet[0].data]).seen) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("exits", r"load: raises SystemExit: 3 \(.*wrong_in_one_way.py, line \d+\)"),
        ("does not load", "load: raises RuntimeError: the weights do not fit: fc.weight is 3 x 4, and 3 x 5 is wanted"),
        ("takes anything", "width and height are 8 x 8, and it is stored with 480 x 320 pixels"),
        ("takes anything", "a truncated JPEG: has a result; raise ImageUnusable, as images.decode does"),
        (
            "own error",
            r"an empty file: raise ImageUnusable, .* or it is tried \d+ times; it raises ValueError: cannot read",
        ),
        ("two sizes", "a photograph that is 1 x 1 pixel: raises ZeroDivisionError: division by zero"),
        ("turned", "turned by its EXIF data: width and height are 48 x 64, and it is stored with 64 x 48 pixels"),
        ("shares", "width and height are"),
        ("one less", "in a batch of 3: raises InternalError: infer gave 2 results for 3 images"),
        ("batch", "gives another result in a batch of 3: .*bright"),
        ("order", "gives another result in a batch"),
        ("changes", "gives another result in a batch in the other order"),
        ("random", "drawn 1 .480 x 320. gives another result run again"),
        ("logits", r"detections\[0\].classifications\[0\].score is 4.5, not a probability"),
        ("own boxes", "4 given boxes: box 0, 0, 1, 1 is none of those given"),
    ],
)
def test_each_way_to_be_wrong_is_found(wrong: str, message: str, sheet: list[photographs.Photograph]) -> None:
    with pytest.raises(PipelineFaults, match=message) as caught:
        check_pipeline(spec(wrong, takes_detections=wrong == "own boxes"), sheet)
    assert isinstance(caught.value, AssertionError)
    assert all("\n" not in fault for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"default_config": {"wrong": "", "x": 3}, "ranges": {"x": (0, 2)}}, "default_config: setting 'x' of pipeline"),
        ({"default_config": {"wrong": "", "x": {1}}}, "default_config: .*not JSON serializable"),
        ({"meanings": {"y": "?"}}, "meanings names a setting 'y' that default_config lacks"),
        ({"algorithms": (FINDER, NAMER, FINDER)}, "algorithm spot 1 is declared twice"),
        ({"algorithms": (FINDER, replace(NAMER, labels=("a", "b", "a")))}, "algorithm tone has labels .* twice: a"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"factory": "nowhere:Spots"}, "the class: raises InternalError: pipeline spots: cannot import nowhere:Spots"),
        ({"factory": "pathlib:Path"}, "the class: raises|is not a subclass of Pipeline"),
    ],
)
def test_each_fault_of_a_description_is_found(
    changes: dict[str, Any], message: str, sheet: list[photographs.Photograph]
) -> None:
    with pytest.raises(PipelineFaults, match=message):
        check_pipeline(spec(**changes), sheet[:1])


def test_all_faults_are_told_together(sheet: list[photographs.Photograph]) -> None:
    with pytest.raises(PipelineFaults) as caught:
        check_pipeline(spec("own error", meanings={"y": "?"}), sheet)
    # One of the description, and three kinds of files that are not photographs.
    assert len(caught.value.faults) == 4
    assert str(caught.value).count("\n  - ") == 4


def test_photographs_that_are_none_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("none")
    for wrong, message in (
        ([tmp_path / "b.jpg"], "b.jpg: No such file"),
        ([tmp_path / "a.jpg"], "a.jpg: not an image"),
        ([], "no photographs"),
    ):
        with pytest.raises(errors.InvalidInput, match=message):
            check_pipeline(spec(), wrong)
    (tmp_path / "a.jpg").write_bytes(images.grey_photograph().data)
    (tmp_path / "notes.txt").write_text("of the folder")
    assert [one.photograph for one in check_pipeline(spec(), [tmp_path]).seen] == ["a.jpg"]


def test_labels_are_locked_to_their_version(tmp_path: Path, sheet: list[photographs.Photograph]) -> None:
    lock = tmp_path / "pipelines.lock"
    with pytest.raises(
        PipelineFaults, match=r"algorithm tone 1 is not in pipelines.lock: `pytest --antenna-lock` writes"
    ):
        check_pipeline(spec(), sheet[:1], lock=lock)
    assert write_lock(lock, [spec()]) == ["pipeline spots 1", "algorithm tone 1"]
    before = lock.read_text()
    check_pipeline(spec(), sheet[:1], lock=lock)
    swapped = spec(algorithms=(FINDER, replace(NAMER, labels=("dark", "bright"))))
    for found in (
        lambda: check_pipeline(swapped, sheet[:1], lock=lock),
        lambda: write_lock(lock, [swapped]),
    ):
        with pytest.raises(
            (PipelineFaults, errors.InvalidInput), match=r"has other .*labels than pipelines.lock says: raise"
        ):
            found()
    assert lock.read_text() == before
    # A new version is added, and the old one stays.
    newer = replace(swapped, version="2", algorithms=(FINDER, replace(swapped.algorithms[1], version="2")))
    assert write_lock(lock, [newer]) == ["pipeline spots 2", "algorithm tone 2"]
    assert set(json.loads(lock.read_text())["algorithms"]) == {"tone 1", "tone 2"}
    lock.write_text("[]")
    with pytest.raises(errors.InvalidInput, match="not a lock of pipelines"):
        write_lock(lock, [newer])


OURS_ALONE = ("-p", "antenna_orchestration.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture
def lab(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A repository in which pytest loads no plugin by itself, which takes a second less."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


PIPELINE_FILE = """
from antenna_orchestration.pipelines.interface import PipelineSpec
from tests.pipelines import wrong_in_one_way
PIPELINES = [wrong_in_one_way.spec(slug="lab-spots"), wrong_in_one_way.spec("batch", slug="lab-wrong")]
"""

LAB_TEST = """
import sys
from antenna_orchestration.testing import check_pipeline

def test_pipeline(pipeline, photographs, pipelines_lock):
    check_pipeline(pipeline, photographs, lock=pipelines_lock)

def test_known(antenna_pipelines):
    assert set(antenna_pipelines) == {"lab-spots", "lab-wrong"}
    # Only pipelines that need it import it.
    assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_a_labs_repository_tests_its_pipelines(lab: pytest.Pytester) -> None:
    folder = lab.mkdir("lab")
    (folder / "spots_of_lab.py").write_text(PIPELINE_FILE)
    (folder / "broken_of_lab.py").write_text("import numpy\nimport no_such_module\n")
    lab.makeini("[pytest]\nantenna_pipelines = lab\n")
    lab.makepyfile(test_lab=LAB_TEST)

    ran = lab.runpytest_subprocess(*OURS_ALONE, "--antenna-lock")
    ran.assert_outcomes(passed=2, failed=1, errors=1)
    text = ran.stdout.str()
    assert re.search(r"broken_of_lab.py, line 2: .*no_such_module", text)
    assert "pipeline lab-wrong has 1 fault:" in text
    assert "gives another result in a batch of 3" in text
    assert "algorithm tone 1" not in text

    # Its code changed, and not its version.
    (folder / "spots_of_lab.py").write_text(PIPELINE_FILE + "# changed\n")
    (folder / "broken_of_lab.py").unlink()
    ran = lab.runpytest_subprocess(*OURS_ALONE, "-k", "lab-spots")
    ran.assert_outcomes(failed=1, deselected=2)
    assert "pipeline lab-spots 1 has other code, weights or labels than pipelines.lock says" in ran.stdout.str()


def test_who_does_not_use_the_plugin_pays_nothing(lab: pytest.Pytester) -> None:
    lab.makepyfile(
        """
        import sys, pytest

        @pytest.fixture
        def pipeline():
            return "a fixture of their own"

        def test_nothing_of_ours_is_imported(pipeline):
            ours = [name for name in sys.modules if name.startswith("antenna_orchestration")]
            assert sorted(ours) == ["antenna_orchestration", "antenna_orchestration.pytest_plugin"]
            assert not {"torch", "numpy", "pydantic"} & set(sys.modules)

        @pytest.mark.parametrize("pipeline", ["one", "two"])
        def test_own_parameters_stay(pipeline):
            assert pipeline in ("one", "two")
        """
    )
    lab.runpytest_subprocess(*OURS_ALONE).assert_outcomes(passed=3)


# Helpers of authors.

PIXELS = np.arange(20 * 30).reshape(20, 30)


@pytest.mark.parametrize(
    ("box", "margin", "rows", "columns"),
    [
        ((2.9, 3.9, 6.1, 8.9), 0.0, (3, 8), (2, 6)),
        ((-5.0, -5.0, 4.0, 3.0), 0.0, (0, 3), (0, 4)),
        ((25.0, 15.0, 90.0, 90.0), 0.0, (15, 20), (25, 30)),
        ((10.0, 10.0, 20.0, 14.0), 0.5, (8, 16), (5, 25)),
        # At least one pixel, also at the edge.
        ((5.2, 5.2, 5.8, 5.9), 0.0, (5, 6), (5, 6)),
        ((30.0, 20.0, 30.0, 20.0), 0.0, (19, 20), (29, 30)),
        ((0.0, 0.0, np.inf, 5.0), 0.0, (0, 5), (0, 30)),
    ],
)
def test_a_crop_is_what_is_in_the_box(
    box: tuple[float, ...], margin: float, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    found = helpers.crop(PIXELS, box, margin=margin)
    np.testing.assert_array_equal(found, PIXELS[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("box", [(31, 0, 40, 5), (5, 5, 2, 8), (0, 0, float("nan"), 3), (-4, -4, -1, -1)])
def test_a_box_outside_has_no_crop(box: tuple[float, ...]) -> None:
    with pytest.raises(errors.InvalidInput, match="is not in a picture of 30 x 20"):
        helpers.crop(PIXELS, box)


FOUR = AlgorithmSpec(key="four", version="1", name="Four", task="classification", labels=("a", "b", "c", "d"))


@pytest.mark.parametrize(
    "probabilities",
    [
        [0.1, 0.5, 0.1, 0.3],
        np.array([[0.1, 0.5, 0.1, 0.3]], np.float32),
        torch.tensor([0.1, 0.5, 0.1, 0.3], requires_grad=True),
        torch.tensor([0.1, 0.5, 0.1, 0.3], dtype=torch.bfloat16),
    ],
)
def test_the_best_classes_are_a_classification(probabilities: Any) -> None:
    said = helpers.top_k(FOUR, probabilities, 3)
    # Of equal ones the first.
    assert (said.label, said.top_labels) == ("b", ["b", "d", "a"])
    assert said.top_scores == pytest.approx([0.5, 0.3, 0.1], abs=2e-3)
    np.testing.assert_allclose(np.frombuffer(said.scores or b"", "<f2"), [0.1, 0.5, 0.1, 0.3], atol=2e-3)
    with pytest.raises(errors.InvalidInput, match="4 probabilities for the 2 labels of tone"):
        helpers.top_k(NAMER, probabilities, 3)


def test_a_whole_photograph_needs_no_box() -> None:
    said = helpers.top_k(FOUR, [0.1, 0.5, 0.1, 0.3], 1, whole=False)
    result = helpers.whole_photo(640, 480, said, attributes={"blur": 0.5})
    assert (result.detections, list(result.labels), said.scores) == ([], [said], None)
