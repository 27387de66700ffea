"""Where bodies of posts are put: files in memory, used again and bounded together, and else on disk."""

import gzip
import os
import random
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from fastapi import Request

from antenna_orchestration import errors
from antenna_orchestration.gateway import bodies
from antenna_orchestration.gateway.bodies import Body, MemoryFiles
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http
from tests.gateway.http_worker import session
from tests.gateway.test_bodies import body as post_of

LIMIT = 400 * 2**20
MB = 2**20


def request_with(data: bytes, *, piece: int, gzipped: bool = False) -> Request:
    """A request whose body comes in pieces of one size."""
    starts = iter(range(0, max(len(data), 1), piece))

    async def receive() -> dict[str, object]:
        start = next(starts)
        return {"type": "http.request", "body": data[start : start + piece], "more_body": start + piece < len(data)}

    headers = [(b"content-encoding", b"gzip")] if gzipped else []
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def content(body: Body) -> bytes:
    """A body as its reader sees it."""
    if body.path is None:
        return body.data or b""
    with body.path.open("rb") as file:
        return file.read(body.size)


def memory_files_of(process: int) -> int:
    links = Path(f"/proc/{process}/fd").iterdir()
    return sum(link.is_symlink() and os.readlink(link).startswith("/memfd:post") for link in links)


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("piece", [70_001, 3 * MB])
async def test_a_shorter_body_after_a_longer_one(tmp_path: Path, piece: int, gzipped: bool) -> None:
    memory = MemoryFiles()
    for size in (9 * MB, 2 * MB + 17, 100, 0, MB + 1, MB):
        data = random.Random(size).randbytes(size)
        sent = gzip.compress(data, 1) if gzipped else data
        request = request_with(sent, piece=piece, gzipped=gzipped)
        async with bodies.received(request, folder=tmp_path, memory=memory, limit=LIMIT) as body:
            assert body.size == size and content(body) == data
            assert (body.path is None) == (size <= bodies.IN_MEMORY)
            assert not list(tmp_path.iterdir())
    memory.close()


async def test_what_has_no_room_in_memory_is_on_disk(tmp_path: Path) -> None:
    memory = MemoryFiles()
    size = bodies.MEMORY_FILE - 5
    data = random.Random(1).randbytes(size + MB)
    before = memory_files_of(os.getpid())
    fitting = bodies.MEMORY_FILES // size

    def receive(length: int) -> AbstractAsyncContextManager[Body]:
        request = request_with(data[:length], piece=MB)
        return bodies.received(request, folder=tmp_path, memory=memory, limit=LIMIT)

    async with AsyncExitStack() as stack:
        for number in range(fitting + 2):
            body = await stack.enter_async_context(receive(size))
            assert len(list(tmp_path.iterdir())) == max(number + 1 - fitting, 0)
            assert content(body) == data[:size]
    assert not list(tmp_path.iterdir())
    # There is room again, but not for a larger one.
    async with receive(size):
        assert not list(tmp_path.iterdir())
    async with receive(size + MB) as body:
        assert len(list(tmp_path.iterdir())) == 1 and content(body) == data
    memory.delete_idle()
    assert memory_files_of(os.getpid()) > before
    memory.delete_idle(0)
    assert memory_files_of(os.getpid()) == before and not list(tmp_path.iterdir())


async def test_a_body_that_fails_frees_its_memory(tmp_path: Path) -> None:
    memory = MemoryFiles()
    before = memory_files_of(os.getpid())
    for _ in range(40):
        request = request_with(bytes(8 * MB), piece=MB)
        with pytest.raises(errors.TooLarge):
            async with bodies.received(request, folder=tmp_path, memory=memory, limit=7 * MB):
                pass
        with pytest.raises(ZeroDivisionError):
            async with bodies.received(
                request_with(bytes(8 * MB), piece=MB), folder=tmp_path, memory=memory, limit=LIMIT
            ):
                assert not list(tmp_path.iterdir())
                raise ZeroDivisionError
    assert memory_files_of(os.getpid()) == before


async def test_posts_one_after_another_share_a_memory_file(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 6)
    worker = await http_worker(services, gateway, project)
    queued = 0
    with session(worker.token) as http:
        tasks = worker.lease(http, job.job_id)
        for some, detections in ((tasks[:3], 6), (tasks[3:], 2)):
            data = b"".join(post_of(some, detections=detections))
            assert len(data) > bodies.IN_MEMORY
            headers = {"Content-Type": "application/json"}
            answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", data=data, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            queued += answer.json()["results_queued"]
    assert queued == len(tasks) == 6
    assert memory_files_of(gateway.pid) <= 1
