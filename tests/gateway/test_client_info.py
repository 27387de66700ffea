"""What workers say of themselves tells them apart, is shown, and can do no harm."""

import asyncio
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.cli import output
from antenna_orchestration.contract import client_info
from antenna_orchestration.domain.access import fingerprint
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http, running_gateway
from tests.gateway.http_worker import SLUG, HttpWorker, session, success
from tests.gateway.test_tokens import antenna
from tests.waiting import eventually


def asked(http: requests.Session, worker: HttpWorker, job: int, wanted: int, info: Any) -> list[dict[str, Any]]:
    body = {"batch_size": wanted, "client_info": info}
    answer = http.post(f"{worker.base}/jobs/{job}/tasks/", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tasks"]
    return found


@pytest.mark.long
async def test_processes_of_one_token_and_address_share_nothing(
    own_stores: EmbeddedStores, own_services: Services, project: str
) -> None:
    """Neither the cold bound nor a speed; each is shown as what it says it is."""
    with running_gateway(own_stores, ANTENNA_HTTP_LEASE="60") as gateway:
        job = await job_for_http(own_services, project, 80)
        worker = await http_worker(own_services, gateway, project)
        worker.jobs()
        infos = [
            {
                "hostname": "gpu-host",
                "pid": 100 + number,
                "software": "adc",
                "version": "2.1",
                "device": f"cuda:{number}",
            }
            for number in range(2)
        ]
        with session(worker.token) as http:
            first, second = [await asyncio.to_thread(asked, http, worker, job.job_id, 100, info) for info in infos]
        assert (len(first), len(second)) == (32, 32)
        mine = fingerprint(worker.token)

        async def shown() -> list[Any]:
            found = await own_services.heartbeats.workers()
            return [one for one in found if one.worker.endswith(mine) and one.leased == 32]

        async def both() -> bool:
            return len(await shown()) == 2

        await eventually(both, description="both are shown with what they hold")
        assert [(one.pid, one.pipelines) for one in await shown()] == [(100, (SLUG,)), (101, (SLUG,))]
        # Posted without a name, as results are: counted and measured for the one that had the images.
        posted = [{"reply_subject": task["reply_subject"], "result": success(task["image_id"])} for task in first]
        assert await asyncio.to_thread(worker.post, job.job_id, posted)
        records = {
            one.client_info.get("pid"): one
            for one in await own_services.live.workers.heard_since(0)
            if mine in one.name
        }
        assert records["100"].counters["settled"] == 32 and records["100"].speed.per_image
        assert records["101"].counters["settled"] == 0 and not records["101"].speed.per_image
        listed = antenna(own_stores, "workers").stdout
        assert "gpu-host, pid 100, cuda:0, adc 2.1" in listed and "gpu-host, pid 101, cuda:1, adc 2.1" in listed


@pytest.mark.parametrize(
    "info",
    [
        {"hostname": "\x1b[31m" + "x" * 5_000, "pid": "٣", "pod_name": ["a"], "platform": None, "nested": {"a": [1]}},
        {"hostname": "\ud800\0", "pid": 10**400, "device": "..", "version": True},
        {},
    ],
)
async def test_odd_client_info_fails_no_request(
    services: Services, gateway: RunningGateway, project: str, info: dict[str, Any]
) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        assert len(asked(http, worker, job.job_id, 1, info)) == 1
    (shown,) = [one for one in await services.heartbeats.workers() if one.worker.endswith(fingerprint(worker.token))]
    assert shown.worker.isprintable()
    assert all(text.isprintable() and len(text) <= client_info.LONGEST for text in shown.client_info.values())


@pytest.mark.long
@given(
    st.dictionaries(st.sampled_from([*client_info.KNOWN, "x"]), st.none() | st.booleans() | st.integers() | st.text())
)
def test_what_is_read_is_plain_and_short(given_info: dict[str, Any]) -> None:
    info = client_info.read(given_info)
    assert set(info) <= set(client_info.KNOWN)
    assert all(text and text.isprintable() and len(text) <= client_info.LONGEST for text in info.values())
    name = client_info.process_name(info)
    assert name.isascii() and len(name) <= client_info.LONGEST_NAME and not set(name) & set(" @/*>")
    assert client_info.line(info).isprintable()
    output.show_table(["A"], [[client_info.line(info)]])
