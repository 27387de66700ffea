"""What a pipeline may say of an image: taken as it is, put right, or refused in a line that names field and value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain import masks, messages, score_vectors
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, GivenBox, Mask, RotatedBox
from antenna_orchestration.pipelines import outcomes
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, PipelineSpec

FINDER = AlgorithmSpec(key="finder", version="1", name="Finder", task="localization")
NAMER = AlgorithmSpec(key="namer", version="2", name="Namer", task="classification", labels=("moth", "fly", "bee"))
# Its labels are not known here.
OTHER = AlgorithmSpec(key="other", version="1", name="Other", task="classification")
SPEC = PipelineSpec(
    slug="lab", name="Lab", version="1", description="", algorithms=(FINDER, NAMER, OTHER), factory="lab:Lab"
)
DECLARED = outcomes.declared_by(SPEC)
WIDTH, HEIGHT = 640, 480
VECTOR = score_vectors.packed([0.7, 0.2, 0.1])


def said(**changes: Any) -> Classification:
    values = {
        "algorithm": NAMER.ref, "label": "moth", "score": 0.7, "top_labels": ["moth", "fly"], "top_scores": [0.7, 0.2],
        "scores": VECTOR, "terminal": True, "inference_time": None,
    }  # fmt: skip
    return Classification(**{**values, **changes})


def seen(*labels: Classification, **changes: Any) -> Detection:
    values = {
        "box": (10.0, 20.0, 60.0, 80.0), "score": 0.9, "algorithm": FINDER.ref,
        "classifications": [*labels] or [said()],
    }  # fmt: skip
    return Detection(**{**values, **changes})


def photograph(*detections: Any, **changes: Any) -> ImageResult:
    return ImageResult(**{"width": WIDTH, "height": HEIGHT, "detections": [*detections], **changes})


def check(result: Any, given: list[GivenBox] | None = None) -> ImageResult:
    return outcomes.checked(result, DECLARED, given=given)


def changed(**changes: Any) -> ImageResult:
    """A photograph with one detection, changed: a name with `said_` is of its classification."""
    own = {key: value for key, value in changes.items() if not key.startswith("said_")}
    of_label = {key.removeprefix("said_"): value for key, value in changes.items() if key.startswith("said_")}
    return photograph(seen(said(**of_label), **own))


def test_what_is_right_stays_the_same_object() -> None:
    right = [seen(), seen(said(score=0.7, scores=None), score=None), seen(classifications=[])]
    result = check(photograph(*right, labels=[said()], attributes={"blur": 0.5}))
    assert all(one is other for one, other in zip(result.detections, right, strict=True))
    assert (result.labels, result.attributes) == ((said(),), {"blur": 0.5})
    assert check(ImageResult(width=None, height=None, detections=[])) == photograph(width=None, height=None)


BOX = (10.0, 20.0, 60.0, 80.0)


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        # Numbers and texts of numpy and torch.
        ({"score": np.float32(0.5)}, "score", 0.5),
        ({"score": np.float64(0.5)}, "score", 0.5),
        ({"score": np.float16(0.5)}, "score", 0.5),
        ({"score": np.array(0.5)}, "score", 0.5),
        ({"score": torch.tensor(0.5)}, "score", 0.5),
        ({"score": torch.tensor(0.5, requires_grad=True)}, "score", 0.5),
        ({"score": torch.tensor(0.5, dtype=torch.bfloat16)}, "score", 0.5),
        ({"score": 1}, "score", 1.0),
        ({"score": np.int64(0)}, "score", 0.0),
        ({"box": np.array(BOX, np.float32)}, "box", BOX),
        ({"box": torch.tensor(BOX)}, "box", BOX),
        ({"box": [np.float32(value) for value in BOX]}, "box", BOX),
        ({"box": tuple(np.int64(value) for value in BOX)}, "box", BOX),
        ({"inference_time": np.float32(0.5)}, "inference_time", 0.5),
        ({"said_label": np.str_("moth")}, "said_label", "moth"),
        ({"said_score": np.float16(0.7)}, "said_score", 0.7),
        ({"said_top_scores": np.array([0.7, 0.2])}, "said_top_scores", [0.7, 0.2]),
        ({"said_top_scores": torch.tensor([0.5, 0.25]), "said_score": 0.5, "said_scores": None},
         "said_top_scores", [0.5, 0.25]),
        ({"said_top_labels": np.array(["moth", "fly"])}, "said_top_labels", ["moth", "fly"]),
        ({"said_top_labels": ("moth", "fly")}, "said_top_labels", ["moth", "fly"]),
        ({"said_terminal": np.bool_(False)}, "said_terminal", False),
        ({"said_scores": bytearray(VECTOR)}, "said_scores", VECTOR),
        ({"classifications": ()}, "classifications", []),
        ({"attributes": {}}, "attributes", msgspec.UNSET),
        ({"attributes": {"legs": np.int64(6), "sex": np.str_("f")}}, "attributes", {"legs": 6, "sex": "f"}),
        ({"attributes": {"x": np.float32(0.5), "hurt": np.bool_(True)}}, "attributes", {"x": 0.5, "hurt": True}),
        ({"mask": None}, "mask", msgspec.UNSET),
        ({"rotated": RotatedBox(*map(np.float32, (35, 50, 50, 60, 0)))}, "rotated", RotatedBox(35, 50, 50, 60, 0)),
        # Rounded past the end.
        ({"score": 1.0005}, "score", 1.0),
        ({"score": -0.0005}, "score", 0.0),
        ({"said_score": 1.0005, "said_top_scores": [1.0005, 0.0], "said_scores": None}, "said_top_scores", [1.0, 0.0]),
        # Beyond the edges, as detectors that round or pad say it.
        ({"box": (-3.0, -0.5, 60.0, 80.0)}, "box", (0.0, 0.0, 60.0, 80.0)),
        ({"box": (600.0, 400.0, 640.0001, 999.0)}, "box", (600.0, 400.0, 640.0, 480.0)),
        ({"box": (-1e6, -1e6, 1e6, 1e6)}, "box", (0.0, 0.0, 640.0, 480.0)),
        # Programs whose boxes were clipped before have some without pixels.
        ({"box": (640.0, 480.0, 640.0, 480.0)}, "box", (640.0, 480.0, 640.0, 480.0)),
        ({"box": (5.2, 5.2, 5.2, 30.0)}, "box", (5.2, 5.2, 5.2, 30.0)),
        # Half precision: neither an order nor a difference that anybody meant.
        ({"said_score": 0.7003, "said_top_scores": [0.7, 0.2]}, "said_score", 0.7003),
        ({"said_top_labels": ["fly", "moth"], "said_top_scores": [0.7, 0.7], "said_scores": None},
         "said_label", "moth"),
        ({"said_top_scores": [0.6998, 0.7], "said_scores": None}, "said_top_scores", [0.6998, 0.7]),
        ({"said_scores": score_vectors.packed([0.7003, 0.2, 0.1])}, "said_score", 0.7),
        # Labels that are not declared are any, and so may a pipeline leave out what it does not have.
        ({"said_algorithm": OTHER.ref, "said_label": "wasp", "said_top_labels": [], "said_top_scores": []},
         "said_label", "wasp"),
        ({"said_score": None, "said_top_labels": [], "said_top_scores": [], "said_scores": None}, "said_score", None),
    ],
)  # fmt: skip
def test_what_is_meant_is_taken(changes: dict[str, Any], field: str, value: object) -> None:
    [found] = check(changed(**changes)).detections
    of = found.classifications[0] if field.startswith("said_") else found
    taken = getattr(of, field.removeprefix("said_"))
    assert taken == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value)
    assert type(taken) is type(value)
    # What the queue takes, and the reader on its other side.
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode([found]), type=list[Detection])
    assert sent == [found]
    messages.check_detections(sent)


LOGIT = "a logit becomes a probability by softmax or sigmoid"
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # P6: no number at all.
        ({"score": NAN}, r"^detections\[0\].score is nan, not a probability in \[0, 1\]$"),
        ({"score": np.float32(NAN)}, r"detections\[0\].score is nan"),
        ({"score": -INF}, "score is -inf"),
        ({"box": (NAN, 0.0, 1.0, 1.0)}, r"detections\[0\].box is \(nan, 0, 1, 1\)"),
        ({"box": (0.0, 0.0, INF, 1.0)}, r"box is \(0, 0, inf, 1\)"),
        ({"inference_time": NAN}, "inference_time is nan"),
        ({"said_score": NAN, "said_top_labels": [], "said_top_scores": []}, r"classifications\[0\].score is nan"),
        ({"said_top_scores": [NAN, 0.2]}, r"detections\[0\].classifications\[0\].top_scores\[0\] is nan"),
        ({"said_scores": score_vectors.packed([0.7, NAN, 0.1])}, r"classifications\[0\].scores holds nan for class 1"),
        ({"attributes": {"x": NAN}}, r"detections\[0\].attributes\['x'\] is nan"),
        ({"rotated": RotatedBox(NAN, 1, 1, 1, 0)}, r"rotated is \(nan, 1, 1, 1, 0\)"),
        # P8: accepted without a word.
        ({"score": 2.5}, f"detections.0..score is 2.5, not a probability in .0, 1.: {LOGIT}"),
        ({"score": -0.1}, LOGIT),
        ({"score": 73}, "when it is divided by 100"),
        ({"said_scores": score_vectors.packed([4.5, -2.0, 0.1])}, f"scores holds 4.5 for class 0.*{LOGIT}"),
        ({"said_label": "Moth"}, "label is 'Moth', and the first of top_labels, which has the best score, is 'moth'"),
        ({"said_label": "wasp", "said_top_labels": ["wasp", "fly"]},
         r"classifications\[0\].label is undeclared: label 'wasp' is not among the 3 labels of namer 2: moth, fly"),
        ({"said_top_labels": ["moth", "wasp"]}, "top_labels is undeclared: label 'wasp'"),
        ({"algorithm": AlgorithmRef("finder", "2")},
         r"detections\[0\].algorithm is undeclared: algorithm finder 2 is none .*: finder 1, namer 2, other 1"),
        ({"said_algorithm": AlgorithmRef("namer", "1")}, "algorithm namer 1 is none of those that the pipe"),
        ({"said_top_labels": ["fly", "moth"], "said_top_scores": [0.2, 0.7]},
         "top_scores are not descending: 0.2 comes before 0.7"),
        ({"said_score": 0.3}, "score is 0.3, and the first of top_scores 0.7"),
        ({"said_score": None}, "score is None, and the first of top_scores 0.7"),
        ({"said_top_scores": [0.7]}, "top_scores are 1, and top_labels 2"),
        ({"said_scores": score_vectors.packed([0.2, 0.7, 0.1])},
         "scores has its best score, 0.7.*, for 'fly', and the label is 'moth' with 0.7: the scores are in the order"),
        ({"said_scores": score_vectors.packed([0.9, 0.05, 0.05])}, "the label is 'moth' with 0.7"),
        ({"said_scores": score_vectors.packed([0.7, 0.2])}, "scores has 4 bytes; wanted are 3 float16 numbers, one"),
        ({"said_scores": np.array([0.7, 0.2, 0.1])}, "scores is a ndarray of shape .3,., not bytes: score_vectors"),
        ({"box": (700.0, 20.0, 760.0, 80.0)}, r"box is \(700, 20, 760, 80\), outside the photograph of 640 x 480$"),
        ({"box": (20.0, 500.0, 60.0, 600.0)}, "outside the photograph of 640 x 480: was it turned as its EXIF data"),
        ({"box": (-20.0, 20.0, -1.0, 80.0)}, "outside the photograph"),
        ({"box": (60.0, 20.0, 10.0, 80.0)}, r"x1 <= x2, y1 <= y2 in pixels up to 1000000 \(not x, y, width, height\)"),
        ({"box": (0.0, 0.0, 1e7, 1.0)}, "in pixels up to 1000000"),
        # P9: other types.
        ({"said_label": 1}, r"label is 1 \(int\), not a text: name it, labels\[1\] is 'fly'"),
        ({"said_label": np.int64(2)}, r"label is np.int64\(2\) \(int64\), not a text: name it, labels\[2\] is 'bee'"),
        ({"said_label": 9}, "not a text: give the class's name"),
        ({"said_label": None}, "label is None, not a text"),
        ({"said_label": b"moth"}, r"label is b'moth' \(bytes\), not a text"),
        ({"said_top_labels": [0, 1]}, r"top_labels\[0\] is 0 \(int\), not a text"),
        ({"score": "0.5"}, r"score is '0.5' \(str\), not a number"),
        ({"score": True}, r"score is True \(bool\), not a number"),
        ({"score": np.array([0.5])}, r"score is a ndarray of shape \(1,\), not a number"),
        ({"box": None}, "box is None; four numbers are wanted: x1, y1, x2, y2"),
        ({"box": (1.0, 2.0, 3.0)}, "four numbers are wanted"),
        ({"box": (1.0, 2.0, "3", 4.0)}, r"box\[2\] is '3' \(str\), not a number"),
        ({"algorithm": FINDER}, "not an AlgorithmRef; give its .ref"),
        ({"algorithm": "finder"}, r"algorithm is 'finder' \(str\), not an AlgorithmRef"),
        ({"classifications": None}, "classifications is None, not a list"),
        ({"classifications": [{"label": "moth"}]}, r"classifications\[0\] is \{'label': 'moth'\} \(dict\), not a Cl"),
        ({"said_top_scores": "ab"}, r"top_scores is 'ab' \(str\), not a list"),
        ({"said_terminal": "yes"}, "terminal is 'yes'"),
        ({"said_label": "a\0b", "said_algorithm": OTHER.ref}, "holds characters that no text file can"),
        ({"said_label": "\ud800", "said_algorithm": OTHER.ref}, "holds characters that no text file can"),
        ({"said_label": "x" * 501, "said_algorithm": OTHER.ref}, "of more than 500 characters"),
        # More than boxes.
        ({"mask": Mask(480, 640, "zzz")}, r"detections\[0\].mask cannot be read"),
        ({"mask": Mask(4, 4, "`0")}, "mask is of 4 x 4 pixels, and the photograph of 640 x 480"),
        ({"mask": np.zeros((480, 640))}, r"mask is a ndarray of shape \(480, 640\), not a Mask"),
        ({"rotated": RotatedBox(35, 50, 50, 60, 400)}, r"degrees in \[-180, 180\]"),
        ({"rotated": RotatedBox(35, 50, 50, 60, 0.78), "box": (0.0, 11.0, 74.0, 89.0)}, "the angle is in degrees"),
        ({"rotated": RotatedBox(3000, 50, 50, 60, 0)}, "around which is the box .640, "),
        ({"rotated": (1, 2, 3, 4, 5)}, r"rotated is \(1, 2, 3, 4, 5\) \(tuple\), not a RotatedBox"),
        ({"attributes": {"Wing": 1}}, r"attributes have the name 'Wing' \(str\); names are 1 to 50"),
        ({"attributes": {"x": [1]}}, r"attributes\['x'\] is \[1\] \(list\); wanted is a text"),
        ({"attributes": {"x": None}}, r"attributes\['x'\] is None"),
        ({"attributes": {"x": 2**60}}, r"attributes\['x'\] is 1152921504606846976"),
        ({"attributes": {"x": "y" * 501}}, "has 501 characters; the most are 500"),
        ({"attributes": {f"x{n}": n for n in range(51)}}, "attributes are 51; the most are 50"),
        ({"attributes": ["x"]}, "not a dict"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_field_and_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=message) as caught:
        check(changed(**changes))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("detections[0].")
    # The others of an image do not hide it.
    with pytest.raises(errors.InvalidInput, match=r"^detections\[1\]\."):
        check(
            photograph(seen(), changed(**changes).detections[0]) if "0.25" not in message else photograph(seen(), None)
        )


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "finish returned None, not an ImageResult"),
        ([], r"finish returned \[\] \(list\)"),
        (photograph(None), r"detections\[0\] is None, not a Detection"),
        (photograph({"box": 1}), r"detections\[0\] is \{'box': 1\} \(dict\), not a Detection"),
        (photograph(seen(box=(0.25, 0.5, 0.3, 1.0)), seen(box=(0.0, 0.0, 1.0, 1.0))),
         r"detections\[0\].box is \(0.25, 0.5, 0.3, 1\) in a photograph of 640 x 480.*multiply x by the width"),
        (photograph(detections=None), "detections is None, not a list"),
        (photograph(*[seen()] * 10_001), "detections are 10,001; the most in one image are 10,000"),
        (photograph(width=0), "width is 0; wanted are 1 to"),
        (photograph(width=640.5), r"width is 640.5 \(float\), not a whole number of pixels"),
        (photograph(height="480"), "height is '480'"),
        (photograph(labels=[said(label="wasp", top_labels=[], top_scores=[])]), r"labels\[0\].label is undeclared"),
        (photograph(labels=[said(score=NAN)]), r"labels\[0\].score is nan"),
        (photograph(labels=[said(), said(scores=b"123")]), r"labels\[1\].scores has 3 bytes"),
        (photograph(labels=[said()] * 1001), "labels are 1,001"),
        (photograph(attributes={"blur": INF}), r"attributes\['blur'\] is inf"),
        (photograph(attributes=None), "attributes is None, not a dict"),
    ],
)  # fmt: skip
def test_a_wrong_photograph_is_refused(result: object, message: str) -> None:
    with pytest.raises(errors.InvalidInput, match=f"^{message}"):
        check(result)


def test_sizes_of_numpy_are_pythons() -> None:
    result = check(photograph(width=np.int64(640), height=torch.tensor(480)))
    assert [(type(value), value) for value in (result.width, result.height)] == [(int, 640), (int, 480)]
    assert check(photograph(width=640.0)).width == 640


def test_small_photographs_and_single_boxes_of_a_pixel_are_no_fractions() -> None:
    speck = seen(box=(0.0, 0.0, 1.0, 1.0))
    assert check(photograph(speck, width=64, height=64)).detections == [speck]
    assert check(photograph(speck, seen())).detections == [speck, seen()]
    # Without a size nobody knows.
    assert check(photograph(speck, width=None, height=None)).detections == [speck]


def test_a_pipeline_without_algorithms_may_name_any() -> None:
    declared = outcomes.declared_by(replace(SPEC, algorithms=()))
    alien = seen(said(algorithm=AlgorithmRef("alien", "1"), label="wasp", top_labels=[], top_scores=[], scores=None))
    assert outcomes.checked(photograph(alien), declared).detections == [alien]


def test_given_boxes_come_back_as_given_beyond_the_edge() -> None:
    """Of jobs with --detections-of: some lie beyond the edge, or within one pixel, as another detector had them."""
    finder = AlgorithmRef("of-another-job", "7")
    boxes = [(-20.0, -5.0, 40.0, 60.0), (5000.0, 10.0, 5040.0, 60.0), (0.1, 0.1, 0.9, 0.9), (10.0, 10.0, 20.0, 20.0)]
    wanted = [GivenBox(box, None if n % 2 else 0.25, finder) for n, box in enumerate(boxes)]
    # Its own detector and score count for nothing there.
    back = [seen(box=np.array(box), score=NAN, algorithm=finder) for box in boxes[:3]]
    found = check(photograph(*back), given=wanted).detections
    assert [(one.box, one.score, one.algorithm) for one in found] == [(one.box, one.score, finder) for one in wanted]
    assert [len(one.classifications) for one in found] == [1, 1, 1, 0]
    with pytest.raises(errors.InvalidInput, match="none of those given"):
        check(photograph(seen(box=(300.0, 300.0, 400.0, 400.0))), given=wanted)
    with pytest.raises(errors.InvalidInput, match=r"detections\[0\].classifications\[0\].label is undeclared"):
        check(photograph(seen(said(label="wasp", top_labels=[], top_scores=[]), box=boxes[3])), given=wanted)


def test_masks_and_rotated_boxes_of_the_photograph_are_taken() -> None:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[20:80, 10:60] = True
    mask = masks.of_array(pixels)
    # Its upper corner is beyond the edge; the box around it was clipped.
    rotated = RotatedBox(50.0, 10.0, 60.0, 40.0, 45.0)
    around = (50 - 50 / 2**0.5, 0.0, 50 + 50 / 2**0.5, 10 + 50 / 2**0.5)
    kept = seen(mask=mask), seen(box=around, rotated=rotated)
    found = check(photograph(*kept)).detections
    assert all(one is other for one, other in zip(found, kept, strict=True))


def test_labels_in_a_file_count_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "labels.json"
    algorithm = replace(NAMER, labels=(), labels_uri=str(file))
    spec = replace(SPEC, algorithms=(FINDER, algorithm))
    wasp = photograph(seen(said(label="wasp", top_labels=[], top_scores=[], scores=None)))
    assert outcomes.checked(wasp, outcomes.declared_by(spec)).detections
    file.write_text('{"moth": 0, "fly": 1, "bee": 2}')
    with pytest.raises(errors.InvalidInput, match="label 'wasp' is not among the 3 labels of namer 2"):
        outcomes.checked(wasp, outcomes.declared_by(spec))
    file.write_text("{")
    assert outcomes.checked(wasp, outcomes.declared_by(spec)).detections
    assert "labels of namer are not checked in results" in caplog.text


# Whatever a program says, the answer is a result that the queue takes, or one line.
ODD_NUMBERS = st.one_of(
    st.floats(width=32), st.integers(-5, 10**7), st.floats(0, 1).map(np.float32), st.just(True), st.none(),
    st.text(max_size=2),
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(ODD_NUMBERS, min_size=3, max_size=5),
    ODD_NUMBERS,
    st.lists(st.tuples(st.sampled_from(["moth", "fly", "wasp", 3, None]), ODD_NUMBERS), max_size=3),
    st.one_of(st.none(), st.binary(max_size=8)),
)
def test_anything_is_a_result_for_the_queue_or_one_line(
    box: list[Any], score: Any, top: list[tuple[Any, Any]], vector: bytes | None
) -> None:
    names, scores = [name for name, _ in top], [value for _, value in top]
    label = said(label=names[0] if names else "moth", score=score, top_labels=names, top_scores=scores, scores=vector)
    try:
        [found] = check(
            photograph(Detection(box=box, score=score, algorithm=FINDER.ref, classifications=[label]))
        ).detections  # type: ignore[arg-type]
    except errors.InvalidInput as error:
        assert "\n" not in str(error)
        return
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode([found]), type=list[Detection])
    assert sent == [found]
    messages.check_detections(sent)
    x1, y1, x2, y2 = found.box
    assert 0 <= x1 <= x2 <= WIDTH
    assert 0 <= y1 <= y2 <= HEIGHT
