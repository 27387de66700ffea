"""The properties of the null pipeline that other tests rely on."""

from __future__ import annotations

import numpy as np
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.pipelines import interface, null
from antenna_orchestration.pipelines.interface import ImageResult, RawImage


def run(image: int, *, top_k: int = 10, **config: object) -> ImageResult:
    pipeline = interface.build(null.NULL, config, top_k=top_k)
    prepared = pipeline.prepare(RawImage(image=image, uri=f"file:///{image}.jpg", data=b""))
    return pipeline.finish(prepared, pipeline.infer([prepared])[0])


def test_an_image_always_gets_the_same_insects_and_another_gets_others() -> None:
    assert run(5, detections=20) == run(5, detections=20)
    assert run(5, detections=20) != run(6, detections=20)


def test_results_pass_the_checks_of_the_wire() -> None:
    result = messages.Result(
        job=1,
        generation=1,
        image=9,
        worker="w",
        delivery=1,
        outcome="done",
        detections=run(9, detections=50).detections,
    )
    again = messages.decode(messages.Result, messages.encode(result))
    assert len(again.detections) == 50
    assert {detection.classifications[0].label for detection in again.detections} == {"class-0", "class-1"}
    assert all(min(d.box) >= 0 and max(d.box) <= null.SIDE and 0.5 <= d.score < 1 for d in again.detections)


def test_about_the_asked_share_fails_and_always_the_same_images() -> None:
    def failing() -> set[int]:
        pipeline = interface.build(null.NULL, {"fail_share": 0.2})
        failed = set()
        for image in range(2000):
            try:
                pipeline.prepare(RawImage(image=image, uri="", data=b""))
            except errors.ImageUnusable:
                failed.add(image)
        return failed

    assert 320 < len(failing()) < 480
    assert failing() == failing()


def test_top_k_classes_are_sent_and_the_whole_vector_on_request() -> None:
    best = run(3, classes=29_176, top_k=5, full_scores=True).detections[0].classifications[0]
    assert len(best.top_labels) == len(best.top_scores) == 5
    assert best.label == best.top_labels[0]
    vector = np.frombuffer(best.scores or b"", "<f2")
    assert len(vector) == 29_176
    assert f"class-{vector.argmax()}" == best.label


def test_no_classes_means_no_classifications() -> None:
    assert run(3, classes=0).detections[0].classifications == []


@pytest.mark.parametrize("config", [{"detection": 3}, {"detections": "many"}, {"full_scores": 1}])
def test_wrong_configuration_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(errors.InvalidInput):
        run(1, **config)
