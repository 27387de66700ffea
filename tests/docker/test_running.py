"""The composition at work: prepared, started by its own commands, and a job sent through it."""

from __future__ import annotations

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

from tests.docker.composition import DOCKER
from tests.docker.running import Deployment, Running

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
    with urllib.request.urlopen(request, timeout=30) as answer:
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

    _a_worker_behind_the_gateway(working, location)


def _a_worker_behind_the_gateway(working: Deployment, location: Running) -> None:
    """It sees the token's projects, and reads local images by links of the gateway."""
    _draw_images(working.here.path("/images/day"), 1)
    made = ("antenna", "token", "create", "--project", "default", "--json")
    worker = json.loads(_said(location, *made, "--role", "worker"))["token"]
    base = f"http://127.0.0.1:{working.here.ports['gateway']}/api/v2"
    headers = {"Authorization": f"Token {worker}"}
    assert [
        one["slug"] for one in requests.get(f"{base}/projects/", headers=headers, timeout=30).json()["results"]
    ] == ["default"]
    working.stores.stop("worker-cpu")
    submitted = ("antenna", "submit", "/images/day", "--pipeline", "null", "--json")
    job = json.loads(_said(location, *submitted))["job_id"]
    answer = requests.post(f"{base}/jobs/{job}/tasks/", json={"batch_size": 1}, headers=headers, timeout=30)
    (task,) = answer.json()["tasks"]
    assert requests.get(task["image_url"], timeout=30).content.startswith(b"\xff\xd8")
