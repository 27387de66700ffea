"""The pure rules: signatures, speed and bounds, fair order, reduction of scores."""

import struct
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.contract import results
from antenna_orchestration.domain import http_lease, messages, score_vectors
from antenna_orchestration.domain.http_lease import HttpWorkerSpeed, ImageClaim, LeaseClaim, Signer
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId
from antenna_orchestration.live.leases import KeptLease
from tests.gateway.http_worker import SPECIES, SPECIES_LABELS, success

CLAIM = LeaseClaim(
    job=JobId(7), generation=Generation(1), image=ImageId(5), delivery=2, epoch=Epoch("0a1b2c3d"), sequence=9,
    place=11, worker=3, expires=1_000,
)  # fmt: skip


def test_a_claim_is_read_back_until_it_expires() -> None:
    signer = Signer("key")
    text = signer.sign(CLAIM)
    assert signer.read(LeaseClaim, text, now=1_000) == CLAIM
    with pytest.raises(errors.InvalidInput, match="expired"):
        signer.read(LeaseClaim, text, now=1_001)


def test_a_claim_for_one_purpose_is_none_for_another() -> None:
    signer = Signer("key")
    with pytest.raises(errors.InvalidInput, match="not signed"):
        signer.read(LeaseClaim, signer.sign(ImageClaim(image=ImageId(1), expires=2_000)), now=0)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_other_text_is_a_claim(text: str) -> None:
    with pytest.raises(errors.InvalidInput):
        Signer("key").read(LeaseClaim, text, now=0)


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_character_of_a_claim_can_be_changed(place: int, change: int) -> None:
    text = Signer("key").sign(CLAIM)
    place %= len(text)
    other = text[:place] + chr((ord(text[place]) ^ change) & 0x7F) + text[place + 1 :]
    try:
        assert Signer("key").read(LeaseClaim, other, now=0) == CLAIM
    except errors.InvalidInput:
        return
    # The last character of base64 has bits that mean nothing, and both alphabets of base64 are read.
    same = other.replace("+", "-").replace("/", "_") == text
    assert same or place in (text.index(".") - 1, len(text) - 1)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 600), st.floats(0.001, 3_000)), max_size=30))
def test_bounds_stay_bounds(posts: list[tuple[int, float, float]]) -> None:
    speed = HttpWorkerSpeed()
    assert speed.may_hold(300) == http_lease.COLD
    for images, seconds, batch in posts:
        speed = speed.after(images, seconds=seconds, batch=batch)
        assert 1 <= speed.may_hold(300) <= http_lease.MOST
        assert 300 <= speed.lease(300) <= http_lease.LONGEST
        assert speed.silence(300) <= speed.lease(300)


def test_a_worker_holds_what_it_finishes_in_half_a_lease() -> None:
    speed = HttpWorkerSpeed()
    for _ in range(50):
        speed = speed.after(10, seconds=10 / 1.4, batch=60)
    assert 200 <= speed.may_hold(300) <= 210
    assert speed.lease(300) == 300
    slow = HttpWorkerSpeed().after(1, seconds=200, batch=200)
    assert slow.lease(300) == 600


@given(st.lists(st.floats(0, 10), min_size=1, max_size=4))
def test_several_gateways_extend_a_lease_once_and_in_time(offsets: list[float]) -> None:
    ack_wait = 30.0
    looks = sorted(offset + ack_wait / 3 * number for offset in offsets for number in range(30))
    lease = KeptLease(holder=1, epoch=Epoch(1), sequence=1, place=1, delivery=1, since=0.0, confirmed=0.0)
    extended = [0.0]
    for now in looks:
        if lease.is_due(now=now, ack_wait=ack_wait):
            lease = msgspec.structs.replace(lease, confirmed=now)
            extended.append(now)
    gaps = [after - before for before, after in pairwise(extended)]
    assert ack_wait / 6 <= min(gaps) and max(gaps) <= ack_wait / 2 + 1e-6


REDUCTION = results.Reduction(top_k=2, scores="full", algorithms={"moth_species": ("1", SPECIES_LABELS)})


def read(*pairs: object, reduction: results.Reduction = REDUCTION) -> list[results.Item]:
    return list(results.read_post(msgspec.json.encode({"results": pairs}), reduction))


def test_scores_are_reduced_while_reading() -> None:
    (item,) = read({"reply_subject": "x", "result": success("5")})
    assert (item.kind, item.image_id, item.seconds) == ("done", "5", 0.5)
    binary, species = item.detections[0].classifications
    assert binary.algorithm == messages.AlgorithmRef("moth_binary", results.UNKNOWN_VERSION)
    # Nobody registered its labels.
    assert (binary.label, binary.score, binary.top_labels) == ("moth", 0.9, [])
    assert species.top_labels == SPECIES_LABELS[:2] and species.top_scores == [0.75, 0.125]
    assert struct.unpack("<3e", species.scores or b"") == (0.75, 0.125, 0.125)


def test_a_score_that_nobody_gave_is_null() -> None:
    result = success("5")
    del result["detections"][0]["classifications"][0]["scores"]
    (item,) = read({"reply_subject": "x", "result": result})
    (found,) = item.detections
    # The contract has no score of a detection at all.
    assert (found.score, found.classifications[0].score, found.classifications[1].score) == (None, None, 0.75)
    result["detections"][0]["score"] = 0.0
    (item,) = read({"reply_subject": "x", "result": result})
    assert item.detections[0].score == 0.0


@pytest.mark.parametrize(
    ("asked", "said", "kept"),
    [
        ("auto", {"scores": [0.5, 0.25, 0.25]}, (0.5, 0.25, 0.25)),
        ("top", {"scores": [0.5, 0.25, 0.25]}, None),
        # The same labels in another order: the column has that of the registered ones.
        ("auto", {"scores": [0.25, 0.25, 0.5], "labels": SPECIES_LABELS[::-1]}, (0.5, 0.25, 0.25)),
        # Nobody could say what these belong to.
        ("auto", {"scores": [0.5, 0.5]}, None),
        ("auto", {"scores": [0.2, 0.7, 0.1], "labels": ["a", "b", "c"]}, None),
        ("full", {"scores": [0.5, 0.5]}, (0.5, 0.5)),
        # Without scores, the softmax of as many logits as there are classes.
        ("auto", {"logits": [1.0, 1.0, 1.0]}, (1 / 3, 1 / 3, 1 / 3)),
        ("auto", {"logits": [1e6, 0.0, -1e6]}, (1.0, 0.0, 0.0)),
        ("auto", {"logits": [1.0, 2.0]}, None),
        ("auto", {"logits": "none"}, None),
        ("auto", {"scores": [1e-9, 1.0, 0.0]}, (0.0, 1.0, 0.0)),
    ],
)  # fmt: skip
def test_all_scores_are_kept_where_classes_are_known(
    asked: str, said: dict[str, object], kept: tuple[float, ...] | None
) -> None:
    result = success("5")
    one = {"classification": SPECIES_LABELS[0], "algorithm": SPECIES, **said}
    result["detections"][0]["classifications"] = [one]
    reduction = results.Reduction(top_k=2, scores=asked, algorithms=REDUCTION.algorithms)
    (item,) = read({"reply_subject": "x", "result": result}, reduction=reduction)
    (found,) = item.detections[0].classifications
    assert found.scores == (None if kept is None else struct.pack(f"<{len(kept)}e", *kept))
    assert (found.score is None) == ("scores" not in said and kept is None)


@pytest.mark.parametrize(
    ("config", "asked"),
    [({}, "auto"), ({"scores": "top"}, "top"), ({"scores": "full"}, "full"), ({"scores": 7}, "auto"),
     # As jobs of earlier versions say it.
     ({"full_scores": False}, "top"), ({"full_scores": True}, "full"), ({"full_scores": True, "scores": "top"}, "top")],
)  # fmt: skip
def test_jobs_of_earlier_versions_keep_the_scores_they_asked_for(config: dict[str, object], asked: str) -> None:
    assert results.reduction_of(config, top_k=3, algorithms={}).scores == asked


@pytest.mark.parametrize(
    ("asked", "classes", "kept"),
    [("auto", 2, True), ("auto", 1000, True), ("auto", 1001, False), ("auto", 0, False), ("top", 2, False),
     ("full", 29_176, True)],
)  # fmt: skip
def test_whole_vectors_are_kept_up_to_a_thousand_classes(asked: str, classes: int, kept: bool) -> None:
    assert score_vectors.is_kept(asked, classes) is kept


def test_sizes_and_times_are_kept_and_odd_ones_refuse_nothing() -> None:
    """C6: they were dropped."""
    result = success("5")
    result["source_images"][0].update(width=4096, height=2160)
    result["detections"][0]["inference_time"] = 0.25
    (item,) = read({"reply_subject": "x", "result": result})
    (found,) = item.detections
    assert (item.width, item.height, item.seconds) == (4096, 2160, 0.5)
    assert (found.inference_time, found.classifications[0].inference_time) == (0.25, 0.0)
    result["source_images"][0].update(width="wide", height=2**40)
    result["detections"][0]["inference_time"] = -1
    (item,) = read({"reply_subject": "x", "result": result})
    assert (item.kind, item.width, item.height, item.detections[0].inference_time) == ("done", None, None, None)


def test_an_image_with_nothing_on_it_is_done() -> None:
    nothing = {**success("5"), "detections": [{"bbox": None, "algorithm": {"key": "d", "name": "d"}}]}
    (item,) = read({"reply_subject": "x", "result": nothing})
    assert (item.kind, item.detections) == ("done", [])


@given(
    st.lists(st.sampled_from([0.0, 0.001, 0.25, 0.5]) | st.floats(0, 1), min_size=1, max_size=200), st.integers(1, 80)
)
def test_the_best_classes_are_those_that_sorting_finds(scores: list[float], top_k: int) -> None:
    labels = [f"class {number}" for number in range(len(scores))]
    result = success("5")
    result["detections"][0]["classifications"] = [
        {"classification": labels[-1], "scores": scores, "logits": "not read", "algorithm": SPECIES}
    ]
    reduction = results.Reduction(top_k=top_k, scores="top", algorithms={SPECIES["key"]: ("1", labels)})
    (item,) = read({"reply_subject": "x", "result": result}, reduction=reduction)
    (found,) = item.detections[0].classifications
    # A stable sort: among equal scores the first class comes first.
    expected = sorted(zip(scores, labels, strict=True), key=lambda one: -one[0])[:top_k]
    assert list(zip(found.top_scores, found.top_labels, strict=True)) == expected
    assert found.score == scores[-1]


def test_labels_of_the_worker_come_before_registered_ones() -> None:
    result = success("5")
    result["detections"][0]["classifications"] = [
        {
            "classification": SPECIES_LABELS[0],
            "scores": [0.2, 0.7, 0.1],
            "labels": ["a", "b", "c"],
            "algorithm": SPECIES,
        }
    ]
    (item,) = read({"reply_subject": "x", "result": result})
    (found,) = item.detections[0].classifications
    assert (found.top_labels, found.score) == (["b", "a"], 0.7)


def test_an_unreadable_result_keeps_its_lease_and_image() -> None:
    broken = {**success("5"), "detections": [{"algorithm": {"key": "a"}, "bbox": {"x1": "left"}}]}
    reported = {**broken, "error": "out of memory"}
    unreadable, failed, good = read(
        {"reply_subject": "x", "result": broken},
        {"reply_subject": "y", "result": reported},
        {"reply_subject": "z", "result": success("6")},
    )
    assert (unreadable.kind, unreadable.reply_subject, unreadable.image_id) == ("invalid", "x", "5")
    assert "detections[0].bbox" in (unreadable.reason or "")
    assert (failed.kind, failed.reply_subject, failed.image_id, failed.reason) == ("failed", "y", "5", "out of memory")
    assert good.kind == "done"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["result", "reply_subject", "error", "detections", "bbox", "classifications", "image_id"]),
        inner, max_size=4,
    ), max_leaves=20,
))  # fmt: skip
def test_whatever_a_worker_sends_is_one_item(value: object) -> None:
    (item,) = read(value)
    assert item.kind in ("done", "failed", "invalid")
    assert item.kind == "done" or item.reason
