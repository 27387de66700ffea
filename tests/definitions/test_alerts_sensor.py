"""The sensor that tells people what is wrong, tick by tick."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import markdown
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors import alerts as module
from tests.alerting.receivers import Receiver, web_receiver
from tests.waiting import wait_until


@pytest.fixture
def web() -> Iterator[Receiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def file(web: Receiver, wanted: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "alerts.yaml"
    hook = {"kind": "webhook", "url": web.url, "events": ["check"]}
    path.write_text(json.dumps({"check_minutes": 0, "targets": {"sensor-hook": hook}}))
    monkeypatch.setenv("ANTENNA_ALERTS", str(path))
    settings.get.cache_clear()
    return path


def tick(instance: dg.DagsterInstance) -> str:
    with dg.build_sensor_context(
        instance=instance, resources={"stores": Stores()}, definitions=build_definitions()
    ) as context:
        result = module.alerts(context)
    assert isinstance(result, dg.SkipReason) and result.skip_message
    return result.skip_message


def verdict(instance: dg.DagsterInstance, passed: bool) -> None:
    details = {"details": dg.MetadataValue.md(rf"- the stream {markdown.escape('KV_openings')} is missing")}
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("jobs_health"), check_name="queue", passed=passed, metadata=details
        )
    )


def test_without_a_file_nothing_is_done(wanted: settings.Settings) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert tick(instance) == "ANTENNA_ALERTS names no file"


def test_a_check_that_fails_is_told_once_and_when_it_passes(
    file: Path, web: Receiver, wanted: settings.Settings
) -> None:
    async def later() -> None:
        async with opened(wanted) as services, services.catalog.database.transaction() as connection:
            await connection.execute("UPDATE alerts SET seen_at = seen_at - interval '301 s'")

    with dg.DagsterInstance.ephemeral() as instance:
        verdict(instance, passed=False)
        for _ in range(2):
            tick(instance)
        wait_until(lambda: web.posts, description="the alert has come")
        verdict(instance, passed=True)
        asyncio.run(later())
        tick(instance)
        wait_until(lambda: len(web.posts) == 2, description="it is well again")
    [first, last] = web.posts
    assert (
        first.json["subject"] == "health check queue fails"
        and "the stream KV_openings is missing" in first.json["text"]
    )
    assert last.json["subject"] == "well again: health check queue fails"


@pytest.mark.long
def test_a_target_that_hangs_keeps_no_tick(file: Path, web: Receiver) -> None:
    web.hangs = True
    with dg.DagsterInstance.ephemeral() as instance:
        verdict(instance, passed=False)
        tick(instance)
        # The next tick leaves the thread alone that still waits for the target.
        tick(instance)
    assert len([thread for thread in threading.enumerate() if thread.name == "alerts"]) == 1
    assert len(web.posts) == 1


def test_a_file_that_cannot_be_used_is_told_by_the_tick(file: Path) -> None:
    file.write_text("targets: {a: {kind: pigeon}}")
    with dg.DagsterInstance.ephemeral() as instance:
        assert "`kind` is slack, webhook, email or command" in tick(instance)
