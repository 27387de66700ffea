"""`/metrics`: what Prometheus reads, for whom, and with which labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.figures import SensorTick
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.alerts import Alert, Decided, Event
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, http_worker, job_for_http, running_gateway, token
from tests.gateway.http_worker import session

DASHBOARD = Path(__file__).parents[2] / "docker" / "grafana-dashboard.json"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(gateway: RunningGateway, secret: str) -> str:
    answer = requests.get(f"{gateway.url}/metrics", headers={"Authorization": f"Bearer {secret}"}, timeout=60)
    assert answer.status_code == 200, gateway.log.read_text()[-3000:]
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.text


def samples(text: str) -> Samples:
    """Every series once; Prometheus refuses a text with a series that is there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


async def test_a_token_sees_its_projects_and_an_admin_all(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await job_for_http(services, project, 3)
    worker = await http_worker(services, gateway, project)
    other = f"{project[:50]}-other"
    await job_for_http(services, other, 5)
    alert = Alert(key=project, event=Event.SEASON, project=project, subject="s", text="t")
    await services.catalog.alerts.see([alert])
    [opened] = [one for one in await services.catalog.alerts.open() if one.key == project]
    await services.catalog.alerts.note(
        Decided(begins=[opened.alert_id], lasts=(), ends=(), dropped=()), {}, remind_after=60
    )
    for sensor in ("one_that_was_renamed", "queued_jobs"):
        await services.catalog.figures.put_ticks([SensorTick(sensor=sensor, at=1e9, seconds=0.25, is_failed=False)])
    secret = await token(services, project, role=Role.SUBMITTER)
    with session(worker.token) as http:
        # For six seconds, if it is not heard from.
        assert len(worker.lease(http, job.job_id)) == 3
    try:
        mine = samples(scrape(gateway, secret))
        everything = samples(scrape(gateway, await token(services, role=Role.ADMIN)))
    finally:
        await services.catalog.alerts.note(
            Decided(begins=(), lasts=(), ends=(), dropped=[opened.alert_id]), {}, remind_after=60
        )
    named = {"project": project, "pipeline": job.pipeline, "status": "RUNNING"}
    assert value(mine, "antenna_jobs", **named) == 1 and value(mine, "antenna_jobs_images", **named) == 3
    assert value(mine, "antenna_leases_held") == 3 and value(mine, "antenna_alerts_open", event="season") == 1
    text = json.dumps([*mine])
    assert other not in text and "antenna_gateway" not in text and "antenna_sensor" not in text
    assert value(everything, "antenna_jobs", **{**named, "project": other}) == 1
    assert value(everything, "antenna_sensor_tick_seconds", sensor="queued_jobs") == 0.25
    assert value(everything, "antenna_sensor_tick_seconds", sensor="one_that_was_renamed") is None
    assert (value(everything, "antenna_sensor_tick_age_seconds", sensor="queued_jobs") or 0) > 1e6
    assert value(everything, "antenna_collectors") is not None
    parts = ("workers", "jobs", "backlog", "sources", "alerts", "collectors", "sensors")
    assert [value(everything, "antenna_scrape_failed", part=part) for part in parts] == [0] * len(parts)


async def test_labels_of_requests_are_routes_and_never_what_callers_send(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    secret = await token(services, role=Role.ADMIN)
    before = samples(scrape(gateway, secret))
    with session(secret) as http:
        for path in ("/api/v2/jobs/987654321/", "/s3cr3t/path", "/api/v2/s3cr3t/?token=s3cr3t"):
            assert http.get(f"{gateway.url}{path}", timeout=60).status_code == 404
        http.request("BREW", f"{gateway.url}/livez", timeout=60)
    text = scrape(gateway, secret)
    assert "s3cr3t" not in text and "987654321" not in text and "BREW" not in text and secret not in text
    after = samples(text)
    route = {"method": "GET", "route": "/api/v2/jobs/{job_id}/", "status": "4xx"}
    nowhere = {"method": "GET", "route": "other", "status": "4xx"}
    for labels, more in ((route, 1), (nowhere, 2)):
        now, then = (
            value(after, "antenna_gateway_requests_total", **labels),
            value(before, "antenna_gateway_requests_total", **labels),
        )
        assert (now or 0) - (then or 0) == more, labels
    assert value(after, "antenna_gateway_request_seconds_count", route="/api/v2/jobs/{job_id}/")


@pytest.mark.long
async def test_several_processes_count_as_one_gateway(
    services: Services, shared_stores: EmbeddedStores, project: str
) -> None:
    secret = await token(services, role=Role.ADMIN)
    # Where its processes count must be known when the metrics are imported.
    with running_gateway(shared_stores, forks=False, ANTENNA_GATEWAY_PROCESSES="2") as gateway:
        for _ in range(20):
            # A connection each, so that both answer.
            assert requests.get(f"{gateway.url}/livez", timeout=60).status_code == 200
        found = samples(scrape(gateway, secret))
        counted = value(found, "antenna_gateway_requests_total", method="GET", route="/livez", status="2xx")
        assert counted is not None and counted >= 20


def test_a_scrape_looks_at_no_job_that_is_over(shared_stores: EmbeddedStores) -> None:
    """With many jobs that are over, each of its statements finds its own by an index."""
    with psycopg.connect(shared_stores.settings.database_url) as connection:
        connection.execute("INSERT INTO projects (slug, name) VALUES ('many', 'many')")
        connection.execute(
            "INSERT INTO pipelines (slug, name, version) VALUES ('many', 'many', '1') ON CONFLICT DO NOTHING"
        )
        connection.execute(
            "INSERT INTO jobs (project_id, name, pipeline, config_hash, status, total, finished_at) "
            "SELECT project_id, 'n', 'many', '', 'SUCCESS', 1, now() - interval '2 days' "
            "FROM projects, generate_series(1, 5000) WHERE slug = 'many'"
        )
        connection.execute("ANALYZE jobs")
        for name in ("count_active_jobs", "count_jobs_of_a_day", "collected_jobs", "oldest_active_jobs"):
            given = {"projects": None, "limit": 100}
            plan = connection.execute(b"EXPLAIN (FORMAT JSON) " + queries.load(name).encode(), given).fetchone()
            assert plan is not None
            assert "Seq Scan" not in {one["Node Type"] for one in nodes(plan[0][0]["Plan"]) if on_jobs(one)}, name
        connection.rollback()


def nodes(plan: dict[str, object]) -> Iterable[dict[str, object]]:
    yield plan
    for child in plan.get("Plans", []):  # type: ignore[attr-defined]
        yield from nodes(child)


def on_jobs(node: dict[str, object]) -> bool:
    return node.get("Relation Name") == "jobs"


# The dashboard.


async def test_the_dashboard_names_metrics_that_there_are(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    await job_for_http(services, project, 1)
    text = scrape(gateway, await token(services, role=Role.ADMIN))
    there = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    there |= {f"{name}_bucket" for name in there}
    board = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    named = {name for one in expressions for name in re.findall(r"\bantenna_\w+", one)}
    of_workers = {name for name in named if name.startswith("antenna_worker_")}
    assert named - of_workers <= there, named - of_workers - there
    source = (Path(__file__).parents[2] / "antenna_orchestration" / "worker" / "status.py").read_text()
    assert of_workers <= set(re.findall(r"antenna_worker_\w+", source))


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["title"] and board["uid"] and board["schemaVersion"] >= 36 and board["id"] is None
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24 and at["h"] > 0 and at["y"] >= 0, panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["type"] in {"timeseries", "stat", "table"} and panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert panel["targets"] and all(target["expr"] and target["refId"] for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    # No two lie over each other.
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    [variable] = [one for one in board["templating"]["list"] if one["name"] == "source"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
