"""Odd and hostile requests, one after the other, against a gateway that has to go on."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http, token
from tests.gateway.http_worker import session, success


@pytest.mark.long
async def test_odd_results_are_items_of_their_own(services: Services, gateway: RunningGateway, project: str) -> None:
    """And none of them is taken for an image with nothing on it."""
    job = await job_for_http(services, project, 2)
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        tasks = worker.lease(http, job.job_id)
        odd = [
            {"reply_subject": None, "result": {"image_id": "9" * 5000, "error": "x"}},
            {"reply_subject": None, "result": {"image_id": "٣" * 4, "error": "x"}},
            {"reply_subject": None, "result": {"image_id": 10**30, "error": "x"}},
            {"reply_subject": tasks[0].reply_subject, "result": {}},
            {"reply_subject": tasks[1].reply_subject, "result": {**success(tasks[1].image_id), "error": None}},
        ]
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json={"results": odd}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert [one["status"] for one in answer.json()["tasks"]] == ["rejected"] * 3 + ["retry", "queued"]
    assert answer.json()["tasks"][3]["detail"].endswith("neither detections nor an error")


@pytest.mark.parametrize("who", ["stranger", "submitter"])
async def test_many_values_in_one_body(services: Services, gateway: RunningGateway, project: str, who: str) -> None:
    """A stranger's body is not read, and nobody's is unfolded into gigabytes."""
    headers = {"Content-Type": "application/json"}
    if who == "submitter":
        headers["Authorization"] = f"Token {await token(services, project, role=Role.SUBMITTER)}"
    process = psutil.Process(gateway.pid)
    peak = before = process.memory_full_info().uss
    for body in (b'{"project":"x","config":{"a":[' + b"[]," * 10_000_000 + b"[]]}}", b"[" * 1_000_000):
        with requests.post(f"{gateway.base}/jobs/", data=body, headers=headers, timeout=60) as answer:
            assert answer.status_code in ({401} if who == "stranger" else {400, 413}), answer.text
            assert answer.json()["detail"]
        peak = max(peak, process.memory_full_info().uss)
    assert peak - before < 150 * 2**20


async def test_what_follows_a_gzip_body_is_not_kept(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)

    def body() -> Iterator[bytes]:
        yield gzip.compress(b'{"results":[]}')
        for _ in range(120):
            yield b"\0" * 2**20

    process = psutil.Process(gateway.pid)
    before = process.memory_full_info().uss
    with session(worker.token) as http:
        headers = {"Content-Encoding": "gzip"}
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", data=body(), headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (400, "data follows the end of the gzip body")
    assert process.memory_full_info().uss - before < 40 * 2**20


async def test_text_that_nothing_can_write(services: Services, gateway: RunningGateway, project: str) -> None:
    """Half a surrogate pair and a zero byte, wherever text is taken."""
    submitter, worker = await token(services, project, role=Role.SUBMITTER), await token(services, project)
    job = await job_for_http(services, project, 1)
    for bad in ("\ud800", "\0", "x\ny"):
        image = {"url": "http://192.0.2.1/a.jpg"}
        new: dict[str, Any] = {"project": project, "pipeline": "null", "images": [image]}
        bodies: list[dict[str, Any]] = [
            {**new, "name": bad}, {**new, "config": {bad: 1}}, {**new, "project": bad}, {**new, "pipeline": bad},
            {**new, "images": [{**image, "deployment": bad}]}, {**new, "images": [{"url": f"http://h/{bad}"}]},
            {**new, "sources": [f"/{bad}"], "images": []}, {**new, "sources": [f"s3://b/{bad}"]},
            {**new, bad: 1, "project": None},
        ]  # fmt: skip
        with session(submitter) as http:
            for body in bodies:
                answer = http.post(f"{gateway.base}/jobs/", json=body, timeout=60)
                assert answer.status_code in (400, 404), (body, answer.text)
                assert answer.json()["detail"]
            listed = http.get(f"{gateway.base}/jobs/", params={"search": bad, "project": "x"}, timeout=60) \
                if bad != "\ud800" else answer  # fmt: skip
            assert listed.status_code in (200, 400, 404)
        with session(worker) as http:
            registered = {"processing_service_name": bad, "client_info": {bad: bad}, "pipelines": []}
            answer = http.post(f"{gateway.base}/projects/{job.project_id}/pipelines/", json=registered, timeout=60)
            assert answer.status_code in (201, 400), answer.text
            answer = http.post(
                f"{gateway.base}/jobs/{job.job_id}/tasks/",
                data=json.dumps({"batch_size": 1, "client_info": {bad: [bad]}}), timeout=60,
                headers={"Content-Type": "application/json"},
            )  # fmt: skip
            assert answer.status_code == 200
    assert requests.get(f"{gateway.url}/livez/", timeout=60).json() == {"status": True}


async def test_the_log_is_one_line_a_request_and_holds_no_right(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    secret = await token(services, project)
    link = "A" * 40 + "." + "B" * 40
    with session(secret) as http:
        for path in (
            f"images/{link}",
            "x%0a2026-01-01 INFO forged line",
            f"jobs/?token={secret}",
            "nowhere",
        ):
            http.get(f"{gateway.base}/{path}", timeout=60)
    log = gateway.log.read_text()
    assert "forged%20line" in log and "\n2026-01-01 INFO forged" not in log
    assert secret not in log and link not in log


async def test_a_submitter_reads_no_file_beyond_its_folder(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("the password is swordfish\n")
    (tmp_path / "a.jpg").write_bytes(b"")
    for role in (Role.SUBMITTER, Role.ADMIN):
        secret = await token(services, project, role=role)
        with session(secret) as http:
            for source in ("list.txt", "*.txt", "a.jpg", "b.jpg", "", "../**/*.jpg"):
                new = {"project": project, "pipeline": "null", "sources": [f"{tmp_path}/{source}"]}
                answer = http.post(f"{gateway.base}/jobs/", json=new, timeout=60)
                assert answer.status_code == 400 and "swordfish" not in answer.text
                said = answer.json()["detail"].removeprefix(f"{tmp_path}/{source}")
                assert said == ": local files are not accepted here; use s3:// or http(s):// locations"
            for url in (
                "s3://lake/x.jpg",
                "http://127.1/",
                "http://[::ffff:10.0.0.1]/",
                "http://0x7f.1/",
                "gopher://x/",
            ):
                new = {"project": project, "pipeline": "null", "images": [{"url": url}]}
                assert http.post(f"{gateway.base}/jobs/", json=new, timeout=60).status_code == 400, url


async def test_the_answer_to_many_wrong_values_is_short(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    submitter = await token(services, project, role=Role.SUBMITTER)
    body = {"project": project, "pipeline": "null", "images": ["no object"] * 20_000}
    with session(submitter) as http:
        answer = http.post(f"{gateway.base}/jobs/", json=body, timeout=60)
    assert answer.status_code == 400 and "images.0" in answer.json()["detail"]
    assert len(answer.content) < 10_000
