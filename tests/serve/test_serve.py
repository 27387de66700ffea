"""A service without a stack: each answer as the contract has it, what is refused, and faults that cost one request."""

import json
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from antenna_orchestration.contract import models, pushing
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.contract.results import Item, reduction_of
from antenna_orchestration.domain.messages import AlgorithmRef, GivenBox
from tests.serve.conftest import QUEUE
from tests.serve.pipeline_service import ROOT, PipelineService, photograph
from tests.waiting import wait_until

REDUCTION = reduction_of({}, top_k=3, algorithms={})


def images(*names: object) -> dict[str, str]:
    return {str(name): photograph() for name in names}


def read(answer: requests.Response, *sent: Sent) -> list[Item]:
    """As the push worker reads it."""
    assert answer.status_code == 200, answer.text
    answered = pushing.read_answer(answer.content, list(sent), REDUCTION)
    assert not answered.unknown
    return answered.items


def of(*names: object, url: str = "") -> list[Sent]:
    return [Sent(image_id=str(name), url=url or photograph(), reply_subject=f"lease-{name}") for name in names]


def taken(service: PipelineService, *names: object, **config: Any) -> requests.Response:
    """The answer of the faulty pipeline, posted until the service has room for it."""

    def post() -> requests.Response | None:
        answer = service.post("faulty", images(*names), **config)
        return None if answer.status_code == 503 else answer

    return wait_until(post, description="room in the queue")  # type: ignore[return-value]


def detail(answer: requests.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    said = models.ErrorAnswer.model_validate_json(answer.content).detail
    assert said and "\n" not in said
    return said


@pytest.mark.long
def test_it_describes_itself(service: PipelineService) -> None:
    assert service.get("/livez").json() == {"status": True}
    assert service.get("/readyz").json() == {"status": ["faulty", "null"]}
    info = models.ServiceInfo.model_validate_json(service.get("/info/").content)
    null, faulty = info.pipelines
    assert (null.slug, null.version, null.takes_detections) == ("null", 2, True)
    assert [(one.key, one.version, one.task_type) for one in faulty.algorithms] == [
        ("faulty_detector", 1, "localization")
    ]
    assert service.get("/docs").status_code == 404 and service.get("/process").status_code == 405


def test_it_answers_what_a_push_worker_posts(service: PipelineService) -> None:
    sent = of(*range(5))
    body = pushing.request_body("null", sent, {"detections": 2, "classes": 3, "full_scores": True})
    items = read(service.send(json.loads(body)), *sent)
    assert [(one.kind, one.image_id, one.reply_subject) for one in items] == [
        ("done", str(number), f"lease-{number}") for number in range(5)
    ]
    for found in (one for item in items for one in item.detections):
        assert found.algorithm.key == "null_detector" and found.score is not None
        [named] = found.classifications
        assert named.label == named.top_labels[0] and named.score == named.top_scores[0] and len(named.top_scores) == 3


def test_it_classifies_boxes_that_come_along(service: PipelineService) -> None:
    box = GivenBox((1.0, 2.0, 30.0, 40.0), 0.5, AlgorithmRef("their_detector", "1"))
    given, plain = Sent(image_id="1", url=photograph(), reply_subject="a", given=[box]), of(2)[0]
    [one, other] = read(service.send(json.loads(pushing.request_body("null", [given, plain], {}))), given, plain)
    assert [(found.box, found.score, found.algorithm.key) for found in one.detections] == [
        ((1.0, 2.0, 30.0, 40.0), 0.5, "their_detector")
    ]
    assert [found.algorithm.key for found in other.detections] == ["null_detector"]


def test_a_failed_image_among_others_is_named_with_its_reason(service: PipelineService) -> None:
    """The contract has no errors of single images; see contract/serving.py."""
    urls = {"1": photograph(), "2": "file:///etc/passwd", "3": "s3://bucket/a.jpg", "4": "http://127.0.0.1:9/a.jpg"}
    answer = service.post("null", urls, detections=0)
    done, *failed = read(answer, *of(*urls))
    # Nothing was found in it, and others' errors are not its own.
    assert (done.kind, done.detections) == ("done", [])
    assert [one.kind for one in failed] == ["failed"] * 3
    assert "only http and https" in str(failed[0].reason) and "only http and https" in str(failed[1].reason)
    assert "not a public address" in str(failed[2].reason)
    assert [one["id"] for one in answer.json()["source_images"]] == ["1"]
    assert {one["image_id"] for one in answer.json()["errors"]} == {"2", "3", "4"}
    # None is done: the request failed.
    assert "all 2 images failed; image 2: only http" in detail(service.post("null", dict(list(urls.items())[1:3])))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"pipeline": "moths", "source_images": [{"id": "1", "url": "x"}]}, "is not served here; there are: faulty"),
        ({"pipeline": "null"}, "source_images"),
        ({"pipeline": "null", "source_images": []}, "0 source_images; send 1 to 1000"),
        ({"pipeline": "null", "source_images": [{"id": n, "url": "x"} for n in range(1001)]}, "1001 source_images"),
        ({"pipeline": "null", "source_images": [{"id": 1, "url": "x"}, {"id": "1", "url": "y"}]}, "the same id"),
        ({"pipeline": "null", "source_images": [{"id": 1, "url": "x"}], "config": {"bogus": 1}}, "no setting 'bogus'"),
        ({"pipeline": "null", "source_images": [{"id": 1, "url": "x"}], "config": {"a": "b" * 70_000}}, "config"),
        ({"pipeline": "faulty", "source_images": [{"id": 1, "url": "x"}], "config": {"on_uri": "/bin/sh"}}, "a file"),
        ({"pipeline": "null", "source_images": [{"id": 1, "url": "data:image/png;base64,%%"}]}, "not base64"),
        ([[]] * 3, "not a request"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_a_line(service: PipelineService, body: Any, said: str) -> None:
    assert said in detail(service.send(body))


def test_bodies_are_json_and_bounded(service: PipelineService) -> None:
    def post(data: bytes, kind: str = "application/json") -> requests.Response:
        return requests.post(f"{service.url}/process/", data=data, headers={"Content-Type": kind}, timeout=60)

    assert "Content-Type" in detail(post(b"{}", "text/plain"), 415)
    assert "not a request" in detail(post(b"{"))
    assert "larger than" in detail(post(b" " * (32 * 2**20 + 1)), 413)
    assert "objects" in detail(post(b"[" + b"{}," * 200_001 + b"{}]"), 413)


@pytest.mark.long
def test_what_is_too_much_may_come_a_little_later(service: PipelineService) -> None:
    with ThreadPoolExecutor() as threads:
        posts = [threads.submit(service.post, "faulty", images(*range(QUEUE)), delay_ms=700) for _ in range(2)]
        done, refused = sorted((post.result() for post in posts), key=lambda answer: answer.status_code)
    assert "are in hand" in detail(refused, 503) and refused.headers["Retry-After"]
    assert {one.kind for one in read(done, *of(*range(QUEUE)))} == {"done"}
    # More than the queue holds is taken when nothing else is there.
    assert service.post("null", images(*range(QUEUE + 1))).status_code == 200


@pytest.mark.long
def test_a_pipeline_that_crashes_costs_the_image_and_nobody_else(service: PipelineService) -> None:
    crash = {"fault": "segfault", "on_image": 3}
    with ThreadPoolExecutor() as threads:
        guilty = threads.submit(service.post, "faulty", images(1, 2, 3, 4), **crash)
        beside = threads.submit(service.post, "faulty", images(11, 12, 13), **crash)
        other = threads.submit(service.post, "null", images(3))
        items = read(guilty.result(), *of(1, 2, 3, 4))
        assert [one.kind for one in items] == ["done", "done", "failed", "done"]
        assert "it stops the device process: killed by SIGSEGV" in str(items[2].reason)
        assert {one.kind for one in read(beside.result(), *of(11, 12, 13))} == {"done"}
        assert other.result().status_code == 200
    assert "SIGSEGV" in detail(service.post("faulty", images(3), **crash))
    assert service.get("/readyz").ok


@pytest.mark.long
def test_a_pipeline_that_hangs_or_raises_costs_the_request(service: PipelineService) -> None:
    with ThreadPoolExecutor() as threads:
        hanging = threads.submit(service.post, "faulty", images(3), fault="hang", on_image=3)
        assert service.post("null", images(3)).status_code == 200
        assert "no progress for 8 s" in detail(hanging.result())
    assert "size mismatch" in detail(service.post("faulty", images(3), fault="raise", on_image=3))
    assert "cannot" not in service.post("faulty", images(3)).text


@pytest.mark.long
def test_a_killed_device_process_costs_nobody_anything(service: PipelineService) -> None:
    assert service.post("faulty", images(1), delay_ms=900).status_code == 200
    lost = service.log.read_text().count("is lost")
    with ThreadPoolExecutor() as threads:
        under_way = threads.submit(taken, service, 1, 2, 3, delay_ms=900)
        # What is in the process, and what waits.
        wait_until(
            lambda: service.post("null", images(*range(QUEUE))).status_code == 503, description="a request in hand"
        )
        for process in service.device_processes():
            process.kill()
        assert {one.kind for one in read(under_way.result(), *of(1, 2, 3))} == {"done"}
    assert service.log.read_text().count("is lost") > lost


def test_the_examples_of_the_page_work(service: PipelineService) -> None:
    page = (ROOT / "docs/howto/serve.md").read_text().replace("\\\n", " ").replace("http://127.0.0.1:2000", service.url)
    commands = re.findall(r"^    (curl .*)$", page, re.MULTILINE)
    assert len(commands) >= 3
    # Of the page's pipeline and photograph this service and this machine have none.
    for command in commands:
        here = command.replace("light_trap_insects", "null").replace("https://example.org/night/1.jpg", photograph())
        said = subprocess.run(shlex.split(here), check=False, capture_output=True, text=True)
        assert said.returncode == 0, said.stderr
        answer = json.loads(said.stdout)
        if "/process" in command:
            assert set(answer) == set(json.loads(page.split("```json")[1].split("```")[0]))
            assert answer["detections"]
