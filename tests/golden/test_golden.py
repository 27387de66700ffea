"""The bytes on the wire: today's messages encode exactly to the recorded ones, and those of a later version are read.

A change of the recorded files is a change of the protocol: old workers and stored messages must still be understood,
or `messages.VERSION` is raised. `python -m tests.golden.test_golden` records them anew.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, PipelineSlug
from antenna_orchestration.domain.job import DispatchMode

HERE = Path(__file__).parent
MOMENT = datetime(2026, 6, 12, 23, 14, 15, 678901, tzinfo=UTC)
DETECTOR = messages.AlgorithmRef("moth_detector", "2.1")
CLASSIFIER = messages.AlgorithmRef("moth_classifier", "2024-03")

Message = messages.Task | messages.Result | messages.Announcement | messages.Heartbeat

MESSAGES: dict[str, Message] = {
    "task": messages.Task(
        job=JobId(7),
        generation=Generation(2),
        image=ImageId(123_456_789_012),
        uri="s3://trap-éé/2026/IMG 0001.jpg",
        pipeline=PipelineSlug("light-trap"),
        config_hash="9f86d081",
        captured_at=MOMENT,
        deployment="Vermont 1",
        version="52428-1781306055678901000",
    ),
    "task_with_boxes": messages.Task(
        job=JobId(9),
        generation=Generation(1),
        image=ImageId(5),
        uri="file:///trap/1.jpg",
        pipeline=PipelineSlug("moths"),
        config_hash="9f86d081",
        detections=[
            messages.GivenBox((1.5, 2.0, 30.25, 40.0), 0.875, DETECTOR),
            messages.GivenBox((0.0, 0.0, 8.0, 8.0), None, DETECTOR),
        ],
    ),
    "result_done": messages.Result(
        job=JobId(7),
        generation=Generation(2),
        image=ImageId(123_456_789_012),
        worker="gpu-1:4711",
        delivery=3,
        outcome="done",
        width=4096,
        height=2160,
        detections=[
            messages.Detection(
                box=(1.5, 2.25, 300.0, 400.75),
                score=0.875,
                algorithm=DETECTOR,
                classifications=[
                    messages.Classification(algorithm=CLASSIFIER, label="moth", score=0.75, terminal=False),
                    messages.Classification(
                        algorithm=CLASSIFIER,
                        label="Noctua pronuba",
                        score=0.5,
                        top_labels=["Noctua pronuba", "Noctua comes"],
                        top_scores=[0.5, 0.25],
                        scores=bytes.fromhex("003800340000"),
                    ),
                ],
            ),
            messages.Detection(
                box=(0.0, 0.0, 4.0, 3.0),
                score=None,
                algorithm=DETECTOR,
                mask=messages.Mask(3, 4, "36"),
                rotated=messages.RotatedBox(2.0, 1.5, 3.0, 2.0, 22.5),
                attributes={"sex": "f", "wing_length_mm": 17.5, "legs": 6, "damaged": False},
            ),
        ],
        timings={"load": 0.125, "wait": 0.25, "decode": 0.0625, "infer": 0.5, "finish": 0.03125},
        created_at=MOMENT,
        algorithms=[DETECTOR, CLASSIFIER],
        digest="4d1e",
        labels=[messages.Classification(algorithm=CLASSIFIER, label="empty", score=0.25)],
        attributes={"blur": 0.5},
    ),
    "result_failed": messages.Result(
        job=JobId(7),
        generation=Generation(2),
        image=ImageId(5),
        worker="gpu-1:4711",
        delivery=1,
        outcome="failed",
        reason="404 Not Found",
        retryable=True,
    ),
    "announcement": messages.Announcement(
        job=JobId(7),
        generation=Generation(2),
        epoch=Epoch("0a1b2c3d"),
        pipeline=PipelineSlug("light-trap"),
        config={"threshold": 0.5, "top": 3, "moth_filter": True, "labels": ["a", None]},
        config_hash="9f86d081",
        priority=5,
        interactive=True,
        source_kinds=("s3:https://s3.example.org/trap", "http"),
        total=4_000,
        name="June",
        pipeline_version="3",
        algorithms=[DETECTOR, CLASSIFIER],
        some_done=True,
        ack_wait=30.0,
        digest="4d1e",
        pull=True,
        forbidden_since=MOMENT,
    ),
    "announcement_pushed": messages.Announcement(
        v=messages.PUSHED,
        job=JobId(8),
        generation=Generation(1),
        epoch=Epoch("0a1b2c3d"),
        pipeline=PipelineSlug("moths"),
        config={},
        config_hash="9f86d081",
        total=4_000,
        dispatch_mode=DispatchMode.SYNC,
    ),
    "announcement_with_boxes": messages.Announcement(
        v=messages.GIVEN,
        job=JobId(9),
        generation=Generation(1),
        epoch=Epoch("0a1b2c3d"),
        pipeline=PipelineSlug("moths"),
        config={},
        config_hash="9f86d081",
        total=4_000,
    ),
    "heartbeat": messages.Heartbeat(
        worker="gpu-1:4711",
        host="gpu-1",
        pid=4711,
        device="cuda:0",
        pipelines=("light-trap", "null"),
        reaches=("http", "s3:*", "file:gpu-1"),
        started_at=MOMENT,
        at=MOMENT,
        leased=64,
        done=1_000,
        failed=2,
        rate=41.25,
        last_result_at=MOMENT,
        state="working",
        run_id="6f1ed002-ab5d-4d5e-9b5a-1f3f4d5c6b7a",
        kind="http",
        counters={"leased": 1_066, "settled": 1_002, "bytes": 5_000_000},
        projects=("june",),
        service="http://gpu-1:2000",
        client_info={"hostname": "gpu-1", "software": "ami-data-companion"},
        failing={"moth_binary": "weights model.pth: there is no such file on this machine"},
        refused={"42": "it was submitted for moths 2, here is 1"},
        forbidden={"43": "HTTP 403 Forbidden from photos.example, since 2026-06-12 23:14 UTC"},
        digests={"light-trap": "4d1e"},
        engines={"light-trap": "onnxruntime 1.32.0"},
        seconds={"light-trap": 0.25},
        memory={"built-in": 812_000_000, "g": 310_000_000},
        unreachable={"44": "http://camera-7: Connection refused, since 2026-06-12 23:14 UTC"},
    ),
}


def recorded(name: str) -> bytes:
    return (HERE / f"{name}.msgpack").read_bytes()


def read(name: str, payload: bytes) -> Message:
    kind: Any = type(MESSAGES[name])
    message: Message = messages.decode(kind, payload)
    return message


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_encodes_to_the_recorded_bytes(name: str) -> None:
    assert messages.encode(MESSAGES[name]) == recorded(name)


@pytest.mark.parametrize("name", MESSAGES)
def test_the_recorded_bytes_are_read(name: str) -> None:
    assert read(name, recorded(name)) == MESSAGES[name]


def test_every_kind_of_message_and_each_of_its_fields_is_recorded() -> None:
    assert {type(message) for message in MESSAGES.values()} == set(messages._decoders)
    for kind in messages._decoders:
        fields = {field.name for field in msgspec.structs.fields(kind)}
        # What differs from its default somewhere; `v` is the version and `terminal` is tried both ways above.
        told = {
            field.name
            for message in MESSAGES.values()
            if isinstance(message, kind)
            for field in msgspec.structs.fields(kind)
            if field.required or getattr(message, field.name) not in (field.default, [], {}, ())
        }
        assert fields - told <= {"v"}, kind


OWN = (
    "config", "timings", "counters", "client_info", "failing", "refused", "forbidden", "unreachable", "digests",
    "attributes", "memory", "seconds", "engines",
)  # fmt: skip
"""Maps of the user's and the worker's own, not of fields."""


def with_unknown_fields(value: Any) -> Any:
    """As a later version may write it: each map has one field more, among the known ones and after them."""
    if isinstance(value, dict):
        known = {key: one if key in OWN else with_unknown_fields(one) for key, one in value.items()}
        return {"field_of_a_later_version": [1, {"a": b"b"}], **known}
    if isinstance(value, list):
        return [with_unknown_fields(item) for item in value]
    return value


@pytest.mark.parametrize("name", MESSAGES)
def test_unknown_fields_are_ignored(name: str) -> None:
    later = with_unknown_fields(msgspec.msgpack.decode(recorded(name)))
    assert read(name, msgspec.msgpack.encode({**later, "another": None})) == MESSAGES[name]


@pytest.mark.parametrize("name", MESSAGES)
def test_an_unknown_version_is_refused(name: str) -> None:
    later = msgspec.msgpack.decode(recorded(name)) | {"v": messages.BOUND + 1}
    with pytest.raises(errors.InvalidInput, match="version"):
        read(name, msgspec.msgpack.encode(later))


@pytest.mark.parametrize("name", MESSAGES)
def test_half_a_message_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidInput):
        read(name, recorded(name)[:-1])


def test_workers_from_before_push_mode_refuse_a_pushed_job_and_no_other() -> None:
    """They know version 1 only, and would lease the tasks of what they can read."""
    assert msgspec.msgpack.decode(recorded("announcement_pushed"))["v"] != messages.VERSION
    assert msgspec.msgpack.decode(recorded("announcement"))["v"] == messages.VERSION


def test_workers_from_before_given_boxes_refuse_jobs_with_boxes() -> None:
    """They know versions 1 and 2, and would look for boxes of their own."""
    assert msgspec.msgpack.decode(recorded("announcement_with_boxes"))["v"] not in (messages.VERSION, messages.PUSHED)
    assert "detections" not in msgspec.msgpack.decode(recorded("task"))


def test_a_message_without_its_optional_fields_is_read() -> None:
    """What the first workers sent."""
    old = {"job": 7, "generation": 1, "image": 5, "worker": "w", "delivery": 1, "outcome": "done"}
    result = messages.decode(messages.Result, msgspec.msgpack.encode(old))
    assert (result.v, result.detections, result.timings, result.created_at) == (1, [], {}, None)


if __name__ == "__main__":
    for each, message in MESSAGES.items():
        (HERE / f"{each}.msgpack").write_bytes(messages.encode(message))
