"""Figures of an installation, or of the projects of a token, as Prometheus has them: read anew for each scrape.

A scrape costs as much as is under way. Labels are projects, pipelines, statuses and names of sensors and workers: at
most some thousands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from antenna_orchestration import errors
from antenna_orchestration.catalog import figures
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.plain_text import seen
from antenna_orchestration.gateway.state import Gateway
from antenna_orchestration.live.workers import KEEP
from antenna_orchestration.processing import watched_sources

logger = logging.getLogger(__name__)

OF_WORKERS: Final = {
    "leased": "Tasks leased.",
    "settled": "Images with a result.",
    "failed": "Images with a result that say why they failed.",
    "handed_back": "Leases that the worker handed back.",
    "expired": "Leases that ended without a result: it never came.",
    "late": "Results that came after the image was decided.",
    "rejected": "Results that cannot be used, or were not the worker's to report.",
    "bytes": "Bytes of result posts.",
}
"""What is counted of a worker since it was first seen."""

MOST_COLLECTORS: Final = 500
"""Jobs whose collectors' speeds are read."""


async def read(gateway: Gateway, caller: Token) -> list[Metric]:
    """What a caller may see of its projects, and with an administrator's token for all also what is nobody's alone.

    What cannot be read is left out and said to be missing: whoever watches must not be blind while one server is away.
    """
    parts = {
        "workers": _workers(gateway, caller),
        "jobs": _jobs(gateway, caller),
        "backlog": _backlog(gateway, caller),
        "sources": _sources(gateway, caller),
        "alerts": _alerts(gateway, caller),
    }
    if caller.scope is None:
        parts |= {"collectors": _collectors(gateway), "sensors": _sensors(gateway)}
    read = await asyncio.gather(*(_read(part) for part in parts.values()))
    missing = GaugeMetricFamily(
        "antenna_scrape_failed", "1 if these metrics are missing, as a server does not answer.", labels=["part"]
    )
    for name, found in zip(parts, read, strict=True):
        missing.add_metric([name], found is None)
    return [*(metric for found in read for metric in found or ()), missing]


async def _read(part: Coroutine[Any, Any, list[Metric]]) -> list[Metric] | None:
    try:
        return await part
    except errors.Unavailable as error:
        logger.warning("metrics are missing: %s", error)
        return None


async def _workers(gateway: Gateway, caller: Token) -> list[Metric]:
    live = gateway.http.live
    records = await live.workers.heard_since(await live.leases.now() - KEEP)
    mine = {*caller.projects.values()}
    shown = [one for one in records if caller.scope is None or mine.intersection(one.projects)]
    held = await live.leases.held_by_each([one.worker for one in shown])
    metrics: list[Metric] = []
    for name, meaning in OF_WORKERS.items():
        # Two clients may call themselves the same, or be shown so: Prometheus takes a series once.
        counted: Counter[str] = Counter()
        for one in shown:
            counted[_label(one.name)] += one.counters.get(name, 0)
        metric = CounterMetricFamily(f"antenna_http_worker_{name}", meaning, labels=["worker"])
        for worker, count in counted.items():
            metric.add_metric([worker], count)
        metrics.append(metric)
    in_hand: Counter[str] = Counter()
    for one in shown:
        in_hand[_label(one.name)] += held[one.worker]
    of_each = GaugeMetricFamily("antenna_http_worker_held", "Tasks in the worker's hands.", labels=["worker"])
    for worker, count in in_hand.items():
        of_each.add_metric([worker], count)
    of_all = GaugeMetricFamily("antenna_leases_held", "Tasks in the hands of HTTP and push workers.")
    of_all.add_metric([], sum(in_hand.values()))
    return [*metrics, of_each, of_all]


async def _jobs(gateway: Gateway, caller: Token) -> list[Metric]:
    catalog = gateway.http.services.catalog.figures
    active, ended = await asyncio.gather(catalog.active_jobs(caller.scope), catalog.jobs_of_a_day(caller.scope))
    jobs = GaugeMetricFamily("antenna_jobs", "Jobs that are not over.", labels=["project", "pipeline", "status"])
    images = GaugeMetricFamily(
        "antenna_jobs_images", "Images of jobs that are not over, those that are done among them.",
        labels=["project", "pipeline", "status"],
    )  # fmt: skip
    for row in active:
        labels = [row["project"], row["pipeline"], row["status"]]
        jobs.add_metric(labels, row["jobs"])
        images.add_metric(labels, row["images"])
    ended_jobs = GaugeMetricFamily(
        "antenna_jobs_ended_last_day", "Jobs that ended in the last 24 hours.", labels=["project", "status"]
    )
    ended_images = GaugeMetricFamily(
        "antenna_images_ended_last_day", "Images of jobs that ended in the last 24 hours, by what became of them.",
        labels=["project", "status"],
    )  # fmt: skip
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for row in ended:
        ended_jobs.add_metric([row["project"], row["status"]], row["jobs"])
        counts[row["project"]].update(done=row["done"], failed=row["failed"])
    for project, of_project in counts.items():
        for status, count in of_project.items():
            ended_images.add_metric([project, status], count)
    return [jobs, images, ended_jobs, ended_images]


async def _backlog(gateway: Gateway, caller: Token) -> list[Metric]:
    scene = await gateway.backlogs.look()
    waiting: Counter[str] = Counter()
    leased: Counter[str] = Counter()
    for job in scene.jobs:
        if caller.scope is not None and job.project_id not in caller.scope:
            continue
        # What is not on the queue yet waits, too.
        known = scene.backlog.get(job.job_run)
        waiting[job.pipeline] += (known.queued if known else 0) + max(job.total - job.published_upto, 0)
        leased[job.pipeline] += known.leased if known else 0
    return [
        _gauge("antenna_backlog_images", "Images of own pipelines that nobody has leased.", "pipeline", waiting),
        _gauge("antenna_backlog_leased_images", "Images that a worker has.", "pipeline", leased),
    ]  # fmt: skip


async def _sources(gateway: Gateway, caller: Token) -> list[Metric]:
    sources = gateway.http.services.catalog.sources
    mine = {*caller.projects.values()}
    wrong: Counter[str] = Counter({"failing": 0, "late": 0})
    for one in await sources.troubled(overdue=watched_sources.OVERDUE):
        if caller.scope is None or one.project in mine:
            wrong["failing" if one.error or one.refusal else "late"] += 1
    metrics: list[Metric] = [
        _gauge(
            "antenna_sources_troubled",
            "Watched sources that cannot be listed or submitted (failing), or at which nobody looks (late).",
            "why", wrong,
        )
    ]  # fmt: skip
    if caller.scope is None:
        count = GaugeMetricFamily("antenna_sources", "Watched sources, without those that are paused.")
        count.add_metric([], await sources.count())
        metrics.append(count)
    return metrics


async def _alerts(gateway: Gateway, caller: Token) -> list[Metric]:
    catalog = gateway.http.services.catalog.alerts
    mine = {*caller.projects.values()}
    counted: Counter[str] = Counter()
    for row in await catalog.count_open():
        if caller.scope is None or row["project"] in mine:
            counted[row["event"]] += row["alerts"]
    metrics: list[Metric] = [_gauge("antenna_alerts_open", "Alerts that were told and are not over.", "event", counted)]
    if caller.scope is None:
        failing = GaugeMetricFamily("antenna_alert_target_failures", "Tries in a row that failed.", labels=["target"])
        for name, state in (await catalog.targets()).items():
            failing.add_metric([name], state.failures)
        metrics.append(failing)
    return metrics


async def _collectors(gateway: Gateway) -> list[Metric]:
    runs = await gateway.http.services.catalog.figures.collected(MOST_COLLECTORS)
    counters = gateway.http.services.live.counters
    read = [one for one in await asyncio.gather(*map(counters.read, runs)) if one is not None]
    at_work = GaugeMetricFamily("antenna_collectors", "Jobs whose collector was heard in the last minute.")
    at_work.add_metric([], len(runs))
    rate = GaugeMetricFamily(
        "antenna_collectors_images_per_second", "Images that they commit, of the last half minute."
    )
    rate.add_metric([], sum(one.rate for one in read))
    batches = GaugeMetricFamily("antenna_collectors_batches", "Batches that they have committed since each began.")
    batches.add_metric([], sum(one.batches for one in read))
    return [at_work, rate, batches]


async def _sensors(gateway: Gateway) -> list[Metric]:
    age = GaugeMetricFamily("antenna_sensor_tick_age_seconds", "Since the sensor's last tick.", labels=["sensor"])
    took = GaugeMetricFamily("antenna_sensor_tick_seconds", "How long its last tick took.", labels=["sensor"])
    failed = GaugeMetricFamily("antenna_sensor_tick_failed", "1 if its last tick failed.", labels=["sensor"])
    for row in await gateway.http.services.catalog.figures.ticks():
        age.add_metric([row["sensor"]], row["ago"])
        took.add_metric([row["sensor"]], row["seconds"])
        failed.add_metric([row["sensor"]], row["is_failed"])
    return [age, took, failed]


def _gauge(name: str, meaning: str, label: str, values: Counter[str]) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(name, meaning, labels=[label])
    for value, count in list(values.items())[: figures.MOST_ROWS]:
        metric.add_metric([_label(value)], count)
    return metric


def _label(text: str) -> str:
    """A name that somebody gave, as the value of a label."""
    return seen(text, "\N{REPLACEMENT CHARACTER}")


class Family:
    """Metrics as the library's registries have them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._metrics
