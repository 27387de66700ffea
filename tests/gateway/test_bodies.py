"""Large posts: taken whole, gzip or not, in flat memory."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from antenna_orchestration.processing.services import Services
from tests.gateway.client import Task, session, success
from tests.gateway.running import RunningGateway, client, job_for_http

CLASSES = 29_176


def body(tasks: list[Task], detections: int) -> Iterator[bytes]:
    """As the existing worker writes it: scores and logits of every class for each detection."""
    yield b'{"results": ['
    for number, task in enumerate(tasks):
        result = success(task.image_id, detections=detections, classes=CLASSES)
        yield (b"," if number else b"") + json.dumps({"reply_subject": task.reply_subject, "result": result}).encode()
    yield b"]}"


@pytest.mark.parametrize("packed", [False, True])
async def test_a_large_post_in_flat_memory(
    stack: Services, gateway: RunningGateway, project: str, packed: bool
) -> None:
    job = await job_for_http(stack, project, 8)
    worker = await client(stack, gateway, project)
    with session(worker.token) as http:
        tasks = worker.lease(http, job.job_id)
        process = psutil.Process(gateway.pid)
        before = process.memory_full_info().uss
        headers = {"Content-Type": "application/json"}
        data: Any = body(tasks, detections=12)
        if packed:
            headers["Content-Encoding"] = "gzip"
            data = gzip.compress(b"".join(data), 1)
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", data=data, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results_queued"] == len(tasks)
    assert process.memory_full_info().uss - before < 60 * 2**20
    sizes = await stack.workers.heard_since(0)
    assert max(one.counters["bytes"] for one in sizes) > 30 * 2**20
    assert not list(Path(stack.settings.home, "gateway").glob("*"))


async def test_what_is_no_post_is_refused(stack: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(stack, project, 1)
    worker = await client(stack, gateway, project)
    with session(worker.token) as http:
        for data, headers in (
            (b"", {}), (b"{", {}), (b'{"results": 1}', {}), (b"\xff\xfe", {}), (b'"results"', {}),
            (b"not gzip", {"Content-Encoding": "gzip"}), (b"{}", {"Content-Encoding": "br"}),
            (gzip.compress(b'{"results": []}')[:-9], {"Content-Encoding": "gzip"}),
        ):  # fmt: skip
            answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", data=data, headers=headers, timeout=9)
            assert answer.status_code == 400 and answer.json()["detail"], data
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 0}, timeout=9)
        assert answer.status_code == 400 and answer.json()["batch_size"]
        big = {"project": project, "name": "x", "images": [], "deployment": "x" * (33 * 2**20)}
        assert http.post(f"{gateway.base}/jobs/", json=big, timeout=30).status_code in (400, 413)
