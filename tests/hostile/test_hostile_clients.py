"""A real stack with a normal job of 2,000 images and 50 normal HTTP clients, alone and beside hostile clients.

`HOSTILE_KINDS=slow_body,malformed make hostile` runs some kinds only, to find which of them does what.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from dotenv import dotenv_values

from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain.access import Role
from antenna_orchestration.embedded import processes
from antenna_orchestration.processing.services import opened
from tests.gateway.gateway_process import token
from tests.gateway.http_worker import SLUG, HttpWorker, working
from tests.homes import temporary_folder
from tests.stack.antenna_up import RunningStack
from tests.waiting import wait_until

IMAGES = 2_000
CLIENTS = 50
SECONDS_PER_IMAGE = 1.0
"""So a job takes 40 s where nothing else is slow, and what is measured is the gateway and not these clients."""

SHARE = 0.8
MEMORY_MB = 400

NORMAL, HOSTILE = "normal", "hostile"
HOSTILE_SLUG = "hostile_2026"


@dataclass
class Measured:
    """One job, worked on by all normal clients."""

    images_per_s: float
    # The largest resident size of all the gateway's processes together.
    memory_mb: float


class Stack(RunningStack):
    """As a person starts it: without the settings that other tests change."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / ".antenna", template=None)
        for name in ("ANTENNA_TASK_ACK_WAIT", "ANTENNA_WORKER_IDLE_EXIT"):
            del self.environment[name]

    @property
    def base(self) -> str:
        return f"{dotenv_values(self.home / 'env')['ANTENNA_GATEWAY_URL']}/api/v2"

    def servers(self) -> dict[int, float]:
        """Processes that have to stay: the supervisor's children, and when each began."""
        assert self.process is not None
        supervisor = psutil.Process(self.process.pid)
        everything = supervisor.children(recursive=True)
        lasting = (
            "gateway",
            "nats",
            "postgres",
            "valkey",
            "code_server",
            "antenna_orchestration.ui",
            "dagster._daemon",
        )
        parents = {supervisor.pid, *(one.pid for one in supervisor.children())}
        found: dict[int, float] = {}
        for each in everything:
            # Processes that parse a body or run a job come and go.
            with contextlib.suppress(psutil.NoSuchProcess):
                if each.ppid() in parents and any(word in " ".join(each.cmdline()) for word in lasting):
                    found[each.pid] = each.create_time()
        return found

    def gateway(self) -> psutil.Process:
        """The gateway's first process."""
        [found] = [
            each
            for each in processes.marked(processes.HOME_VARIABLE, str(self.home))
            if {"gateway", "--port"} <= set(each.cmdline())
        ]
        return found

    def tokens(self) -> dict[str, list[str]]:
        """Tokens of the normal workers, and of the hostile worker, submitter and second worker."""
        joined = self.joined()
        names = ("nats_url", "redis_url", "database_url", "secret_key", "lake_uri")
        given = {name: joined[variable] for name in names if (variable := f"ANTENNA_{name.upper()}") in joined}

        async def make() -> dict[str, list[str]]:
            async with opened(settings_module.load(**given)) as services:
                return {
                    NORMAL: [await token(services, NORMAL) for _ in range(CLIENTS)],
                    HOSTILE: [
                        await token(services, HOSTILE), await token(services, HOSTILE, role=Role.SUBMITTER),
                        await token(services, HOSTILE),
                    ],
                }  # fmt: skip

        return asyncio.run(make())

    def job_of(self, project: str, slug: str, images: int) -> int:
        """Submit images that nobody opens."""
        listed = self.home.parent / f"{project}-{images}-{time.monotonic_ns()}.txt"
        listed.write_text("".join(f"http://images.invalid/{listed.stem}/{number:05}.jpg\n" for number in range(images)))
        return self.submit(listed, "--project", project, "--pipeline", slug, "--reprocess")


@pytest.fixture
def stack() -> Iterator[Stack]:
    with temporary_folder() as folder:
        made = Stack(folder)
        made.up()
        try:
            yield made
        finally:
            made.down()


@contextlib.contextmanager
def memory_watched(gateway: psutil.Process) -> Iterator[list[float]]:
    """The resident size of the gateway and its children, in megabytes, several times a second."""
    seen: list[float] = [0.0]
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            total = 0
            with contextlib.suppress(psutil.NoSuchProcess):
                for each in [gateway, *gateway.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        total += each.memory_info().rss
            seen.append(total / 2**20)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def measure(stack: Stack, tokens: list[str]) -> Measured:
    """Have the normal clients finish a normal job; none of their requests may fail, nor an image be lost."""
    job = stack.job_of(NORMAL, SLUG, IMAGES)
    clients = [HttpWorker(base=stack.base, token=each, seconds_per_image=SECONDS_PER_IMAGE) for each in tokens]
    with memory_watched(stack.gateway()) as memory:
        began = time.monotonic()
        with working(*clients):

            def all_posted() -> bool:
                failed = [error for client in clients for error in client.errors]
                assert not failed, f"{len(failed)} requests of normal clients failed, {max(memory):.0f} MB: {failed[0]}"
                return sum(len(client.statuses) for client in clients) >= IMAGES

            wait_until(all_posted, description="all images posted", timeout=600, poll=0.1)
            seconds = time.monotonic() - began
        shown = stack.wait_for(job, timeout=300)
    assert [error for client in clients for error in client.errors] == []
    assert {status for client in clients for status in client.statuses} == {"queued"}
    assert (shown["done"], shown["failed"]) == (IMAGES, 0)
    return Measured(IMAGES / seconds, max(memory))


@contextlib.contextmanager
def hostile_clients(target: dict[str, object]) -> Iterator[None]:
    """Run them beside the block, and print what they saw, however it ends.

    They have the lowest priority, because in the world they have machines of their own.
    """
    command = ["nice", "-n", "19", sys.executable, "-m", "tests.hostile.hostile_clients", json.dumps(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield
            assert process.poll() is None, "the hostile clients ended by themselves"
        finally:
            try:
                output, _ = process.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            for what, found in json.loads(output or "{}").items():
                print(f"{what}: {json.dumps(found)}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_normal_job_goes_on_beside_hostile_clients(stack: Stack) -> None:
    """Issue 17, done when, second line; S2, S8, M4, M7: one client stalled or filled the gateway."""
    tokens = stack.tokens()
    worker, submitter, bomber = tokens[HOSTILE]
    assert HttpWorker(base=stack.base, token=tokens[NORMAL][0]).register()
    assert HttpWorker(base=stack.base, token=worker, slugs=(HOSTILE_SLUG,)).register()
    before = stack.servers()
    assert len(before) >= 7
    alone = measure(stack, tokens[NORMAL])
    prey = stack.job_of(HOSTILE, HOSTILE_SLUG, 500)
    target = {
        "port": int(stack.base.split(":")[2].partition("/")[0]), "worker": worker, "submitter": submitter,
        "bomber": bomber, "job": prey, "project": HOSTILE, "pipeline": HOSTILE_SLUG, "foreign_job": prey + 1,
        "only": [kind for kind in os.environ.get("HOSTILE_KINDS", "").split(",") if kind],
    }  # fmt: skip
    print(f"\nalone: {alone}")
    with hostile_clients(target):
        beside = measure(stack, tokens[NORMAL])
    share = beside.images_per_s / alone.images_per_s
    print(f"beside hostile clients: {beside}, share {share:.2f}")
    assert stack.servers() == before, "something ended and was started again"
    assert stack.said().count(" ended (") == 0
    assert beside.memory_mb < MEMORY_MB
    assert share > SHARE
