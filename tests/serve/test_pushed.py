"""`antenna push` posts a stack's queue to `antenna serve`, which asks for a token and ends in order."""

import asyncio
import signal
from pathlib import Path

import pytest
import requests

from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import collected, rows
from tests.loading import image_server
from tests.push.push_worker import PushWorker, job_to_push, shown
from tests.serve.pipeline_service import serving
from tests.waiting import eventually, wait_until

TOKEN = "a-token-of-twenty-letters"


@pytest.mark.slow
async def test_a_stacks_queue_is_pushed_to_it_and_it_ends_in_order(
    services: Services, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    slug = f"served-{project[:8]}"
    (tmp_path / "served_here.py").write_text((Path(__file__).parent / "served.py").read_text().replace("SLUG", slug))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    options = ("--pipelines", slug, "--token-file", str(tmp_path / "token"))
    private = {"ANTENNA_ALLOW_PRIVATE_HOSTS": "true"}
    async with image_server.serving() as photographs:
        with serving(tmp_path, *options, token=TOKEN, ANTENNA_PIPELINE_PATHS=str(tmp_path), **private) as service:
            assert requests.get(f"{service.url}/livez", timeout=10).ok
            for path in ("readyz", "info"):
                assert requests.get(f"{service.url}/{path}", timeout=10).status_code == 401
            assert requests.post(f"{service.url}/process", json={}, timeout=10, auth=("", "wrong")).status_code == 401

            pushing = PushWorker(shared_stores, service.url.replace("://", f"://x:{TOKEN}@"), project)
            pushing.start("--batch-size", "4", "--parallel", "2", **private)
            try:
                assert (await shown(services, project, state="idle")).pipelines == (slug,)
                urls = [*(photographs.uri(f"good/{number}") for number in range(9)), photographs.uri("text")]
                job = await job_to_push(services, project, slug, len(urls), urls=urls)
                async with collected(services, job) as ends:
                    await eventually(
                        lambda: _over(services, job.job_id, len(urls)), description="all images", timeout=60
                    )
            finally:
                pushing.kill()
            assert ends[job.job_id] is JobStatus.SUCCESS
            [*found] = rows(services, "detections", job)
            assert len(found) == len({row["image_id"] for row in found}) == 9
            assert {(row["x1"], row["y2"], row["score"], row["algorithm_version"]) for row in found} == {
                (1.0, 40.0, 0.75, "3")
            }
            [*named] = rows(services, "classifications", job)
            assert {(row["label"], row["score"], row["algorithm_version"]) for row in named} == {
                ("Noctua pronuba", 0.875, "4")
            }
            counts = await services.catalog.images.count(job.job_id)
            assert (counts.done, counts.failed) == (9, 1)

            # It leaves with a request in hand.
            last = asyncio.create_task(
                asyncio.to_thread(service.post, slug, {"1": photographs.uri("good/1"), "2": photographs.uri("hang/2")})
            )
            await eventually(lambda: _asked(photographs), description="a request in hand")
            service.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "leaving" in service.log.read_text(), description="the service to heed the signal")
            photographs.let_go()
            answer = await last
            assert answer.status_code == 200 and [one["id"] for one in answer.json()["source_images"]] == ["1"]
            assert await asyncio.to_thread(service.process.wait, 60) == 0, service.log.read_text()


async def _over(services: Services, job_id: int, images: int) -> bool:
    counts = await services.catalog.images.count(job_id)  # type: ignore[arg-type]
    return counts.done + counts.failed == images


async def _asked(photographs: image_server.ImageServer) -> bool:
    return photographs.requests["hang/2"] > 0
