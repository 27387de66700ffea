"""The composition at work: prepared, started by its own commands, and a job sent through it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import runpy
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import requests
from PIL import Image

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import opened
from antenna_orchestration.upkeep import tokens
from tests.docker.composition import DOCKER
from tests.docker.composition_processes import Deployment, Running

_STATUSES = """{ locationStatusesOrError { ... on WorkspaceLocationStatusEntries {
    entries { name loadStatus } } } }"""


def _draw_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / f"{number:03}.jpg")


def _ask(deployment: Deployment, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{deployment.here.ports['webserver']}/graphql",
        data=json.dumps({"query": query}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        data: dict[str, Any] = json.load(answer)["data"]
        return data


def _said(service: Running, *argv: str) -> str:
    done = service.run(*argv)
    assert done.returncode == 0, f"{argv}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture
def working(deployment: Deployment) -> Iterator[Deployment]:
    """The composition, prepared and complete, in the order of its `depends_on`."""
    prepare = deployment.services["prepare"]
    _said(prepare, *prepare.service.command)
    dagster = ("code-location", "webserver", "daemon")
    try:
        deployment.stores.start("code-location", "gateway", "worker-cpu")
        deployment.stores.start("webserver", "daemon")
        yield deployment
    finally:
        deployment.stores.stop("worker-cpu", "gateway")
        # Nothing of theirs is at stake, and they take seconds to leave.
        for name in dagster:
            with contextlib.suppress(KeyError):
                deployment.stores.kill(name)


@pytest.mark.slow
def test_a_job_goes_through_the_whole_composition(working: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    location = working.services["code-location"]
    statuses = _ask(working, _STATUSES)["locationStatusesOrError"]
    assert statuses["entries"] == [{"name": "antenna", "loadStatus": "LOADED"}]

    _draw_images(working.here.path("/images/night"), 12)
    job = json.loads(_said(location, "antenna", "submit", "/images/night", "--pipeline", "null", "--wait", "--json"))
    assert (job["status"], job["total"], job["done"]) == ("SUCCESS", 12, 12)
    working.services["daemon"].check_health()

    for name, value in location.variables.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    assert fsspec.filesystem("s3").glob(f"lake/captures/job_id={job['job_id']}/*.parquet")
    # Every `up` prepares anew, so the bucket may be there.
    runpy.run_path(str(DOCKER / "prepare.py"))["make_bucket"](job["lake"])
    working.stores.stop("worker-cpu")
    _lease_and_read_an_image(working)


def _lease_and_read_an_image(working: Deployment) -> None:
    """As a script and a worker elsewhere do it, over the gateway."""
    _draw_images(working.here.path("/images/vermont"), 1)
    base = f"http://127.0.0.1:{working.here.ports['gateway']}/api/v2"

    async def make() -> list[str]:
        async with opened(working.settings("code-location")) as services:
            roles = (Role.SUBMITTER, Role.WORKER)
            return [(await tokens.create(services, role=role, projects=["vermont"])).secret for role in roles]

    submitter, worker = ({"Authorization": f"Token {secret}"} for secret in asyncio.run(make()))
    new = {"project": "vermont", "pipeline": "null", "sources": [str(working.here.path("/images/vermont"))]}
    submitted = requests.post(f"{base}/jobs/", json=new, headers=submitter, timeout=60)
    assert submitted.status_code == 201, submitted.text
    tasks = f"{base}/jobs/{submitted.json()['id']}/tasks/"
    (task,) = requests.post(tasks, json={"batch_size": 1}, headers=worker, timeout=60).json()["tasks"]
    assert requests.get(task["image_url"], timeout=60).content.startswith(b"\xff\xd8")
