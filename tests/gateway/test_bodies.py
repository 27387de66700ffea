"""Large posts: taken whole, gzip or not, in flat memory."""

import contextlib
import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from antenna_orchestration.domain.access import Role
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http, running_gateway, token
from tests.gateway.http_worker import Task, session, success
from tests.waiting import wait_until

pytestmark = pytest.mark.long

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
    services: Services, gateway: RunningGateway, project: str, packed: bool
) -> None:
    job = await job_for_http(services, project, 8)
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        tasks = worker.lease(http, job.job_id)
        process = psutil.Process(gateway.pid)
        # The reading process of an earlier post: its end, whoever caused it, is no later post's fault.
        for reader in process.children():
            reader.kill()
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
    sizes = await services.live.workers.heard_since(0)
    assert max(one.counters["bytes"] for one in sizes) > 30 * 2**20
    assert not list(Path(services.settings.home, "gateway").glob("*"))


def anonymous_memory(process: int) -> int:
    """Bytes that are the process's own; a file that it maps is the page cache's."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    return 0


@pytest.mark.slow
async def test_300_mb_in_flat_memory(
    shared_stores: EmbeddedStores, services: Services, project: str, tmp_path: Path
) -> None:
    """What an existing worker posts for 20 images with 25 moths each: watched all the time, the reading process too."""
    job = await job_for_http(services, project, 20)
    with running_gateway(shared_stores, forks=False, ANTENNA_GATEWAY_MAX_BODY=str(768 * 2**20)) as gateway:
        worker = await http_worker(services, gateway, project, batch_size=20)
        with session(worker.token) as http:
            tasks = worker.lease(http, job.job_id)
            written = tmp_path / "post.json"
            with written.open("wb") as file:
                for piece in body(tasks, detections=25):
                    file.write(piece)
            assert 300e6 < written.stat().st_size < 600e6
            process = psutil.Process(gateway.pid)
            before, peak, peak_of_reader = process.memory_full_info().uss, 0, 0
            with ThreadPoolExecutor(1) as pool, written.open("rb") as read:
                headers = {"Content-Type": "application/json"}
                address = f"{gateway.base}/jobs/{job.job_id}/result/"
                posted = pool.submit(http.post, address, data=read, headers=headers, timeout=300)

                def is_answered() -> bool:
                    nonlocal peak, peak_of_reader
                    peak = max(peak, process.memory_full_info().uss)
                    for child in process.children():
                        peak_of_reader = max(peak_of_reader, anonymous_memory(child.pid))
                    return posted.done()

                wait_until(is_answered, description="the post is answered", timeout=250, poll=0.02)
            answer = posted.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["results_queued"] == 20
    assert peak - before < 100 * 2**20
    assert 0 < peak_of_reader < 200 * 2**20


async def test_what_is_no_post_is_refused(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        for data, headers in (
            (b"", {}), (b"{", {}), (b'{"results": 1}', {}), (b"\xff\xfe", {}), (b'"results"', {}),
            (b"not gzip", {"Content-Encoding": "gzip"}), (b"{}", {"Content-Encoding": "br"}),
            (gzip.compress(b'{"results": []}')[:-9], {"Content-Encoding": "gzip"}),
        ):  # fmt: skip
            answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", data=data, headers=headers, timeout=60)
            assert answer.status_code == 400 and answer.json()["detail"], data
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 0}, timeout=60)
        assert answer.status_code == 400 and answer.json()["batch_size"]
        big = {"project": project, "name": "x", "images": [], "deployment": "x" * (33 * 2**20)}
        assert http.post(f"{gateway.base}/jobs/", json=big, timeout=60).status_code == 403
    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        assert http.post(f"{gateway.base}/jobs/", json=big, timeout=60).status_code == 413
