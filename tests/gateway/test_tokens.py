"""Tokens, from the command line to the refusal."""

import getpass
import json
import os
import subprocess

import pytest
import requests

from antenna_orchestration.catalog.database import Database
from antenna_orchestration.domain import access
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests import forked
from tests.gateway.gateway_process import ROOT, RunningGateway, token
from tests.waiting import wait_until


def antenna(stores: EmbeddedStores, *arguments: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
    done = forked.ended(*arguments, env=outside | stores.variables, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.long
async def test_a_token_is_shown_once_works_and_is_revoked(
    shared_stores: EmbeddedStores, services: Services, gateway: RunningGateway, project: str
) -> None:
    made = json.loads(
        antenna(shared_stores, "token", "create", "--project", project, "--label", "gpu", "--json").stdout
    )
    headers = {"Authorization": f"Token {made['token']}"}

    def status() -> int:
        return requests.get(f"{gateway.base}/projects", headers=headers, timeout=60).status_code

    assert status() == 200
    listing = antenna(shared_stores, "token", "list").stdout
    assert made["fingerprint"] in listing and made["token"] not in listing
    assert made["token"] not in gateway.log.read_text() and made["fingerprint"] in gateway.log.read_text()
    antenna(shared_stores, "token", "revoke", made["fingerprint"])
    listed = json.loads(antenna(shared_stores, "token", "list", "--json").stdout)
    (known,) = (one for one in listed if one["fingerprint"] == made["fingerprint"])
    assert known["created_by"] == known["revoked_by"] == getpass.getuser()
    wait_until(lambda: status() == 401, description="the revoked token is refused")


async def test_a_stranger_is_told_so_and_counted(
    shared_stores: EmbeddedStores, services: Services, gateway: RunningGateway, project: str
) -> None:
    before = (await services.live.workers.rejected()).get("127.0.0.1", 0)
    for header in ("Token wrong", "Bearer wrong", "Basic d3Jvbmc6d3Jvbmc="):
        answer = requests.get(f"{gateway.base}/jobs", headers={"Authorization": header}, timeout=60)
        assert answer.status_code == 401 and answer.json()["detail"]
    assert requests.get(f"{gateway.base}/jobs", timeout=60).json()["detail"]
    assert (await services.live.workers.rejected())["127.0.0.1"] == before + 4
    assert "rejected" in antenna(shared_stores, "workers").stderr
    log = gateway.log.read_text()
    assert "rejected a caller at 127.0.0.1" in log and "Token wrong" not in log


async def test_an_expired_token_is_none(services: Services, gateway: RunningGateway, project: str) -> None:
    from datetime import UTC, datetime, timedelta

    secret = access.new_secret()
    await services.catalog.tokens.add(
        sha256=access.digest(secret), fingerprint=access.fingerprint(secret), role=access.Role.WORKER, label="",
        projects=[project], expires_at=datetime.now(UTC) - timedelta(seconds=1), by="a test",
    )  # fmt: skip
    answer = requests.get(f"{gateway.base}/jobs", headers={"Authorization": f"Token {secret}"}, timeout=60)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid token."})


async def test_the_digest_alone_is_stored(services: Services, project: str) -> None:
    secret = await token(services, project)
    async with Database(services.settings.database_url, max_connections=1) as database:
        rows = await database.rows("list_tokens")
    assert secret not in json.dumps(rows, default=str)


async def test_what_every_answer_carries(services: Services, gateway: RunningGateway, project: str) -> None:
    headers = {"Authorization": f"Token {await token(services, project)}", "X-Request-Id": "my-request-1"}
    answer = requests.get(f"{gateway.base}/jobs", headers=headers, timeout=60)
    assert answer.headers["X-Request-Id"] == "my-request-1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "server" not in answer.headers
    wait_until(lambda: "request my-request-1" in gateway.log.read_text(), description="the request in the log")
    assert requests.get(f"{gateway.url}/docs", timeout=60).status_code == 200
    assert requests.get(f"{gateway.url}/readyz", timeout=60).json() == {
        "status": True, "queue": True, "catalog": True, "redis": True,
    }  # fmt: skip


def test_a_gateway_without_its_stores_says_why_in_one_line() -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")}
    done = forked.ended("gateway", env=outside | {"ANTENNA_HOME": "/nonexistent", "ANTENNA_SECRET_KEY": ""}, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "ANTENNA_NATS_URL is not set" in done.stderr


def test_a_site_gets_a_url_and_is_listed_and_revoked(shared_stores: EmbeddedStores) -> None:
    """M1: with the command, as a person does."""
    made = json.loads(antenna(shared_stores, "token", "create", "--kind", "nats", "--label", "hall", "--json").stdout)
    assert made["token"].startswith(f"nats://site-{made['fingerprint']}:")
    antenna(shared_stores, "token", "revoke", made["fingerprint"])
    listing = antenna(shared_stores, "token", "list", "--json").stdout
    assert made["token"].split(":")[2].split("@")[0] not in listing
    [site] = [one for one in json.loads(listing) if one["fingerprint"] == made["fingerprint"]]
    assert site["kind"] == "nats" and site["revoked_at"]
    assert site["created_by"] == site["revoked_by"] == getpass.getuser()
