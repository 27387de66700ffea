"""What one image costs each store in bytes and CPU time, for the sizing table in docs/scale.md.

Each image is submitted, published, leased, answered, collected and finished, without inference. An answer has ten
detections with the ten best of a thousand classes each. Boxes, scores and labels are random, so that Parquet cannot
compress repetitions.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path

import psycopg

from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue import names
from benchmarks import rig
from benchmarks.figures import Figure, cpu_seconds
from tests.processing.jobs_by_hand import Hands, hands, result_of

IMAGES = 20_000
DETECTIONS = 10
CLASSES = 1_000
TOP = 10
BATCH = 64
TABLES = ("manifest", "captures", "detections", "classifications")
RELATIONS = ("captures", "job_images", "processed")


def run() -> list[Figure]:
    """Process one job on the embedded stores, with durable writes."""
    with rig.stores() as running:
        return asyncio.run(_measure(running))


async def _measure(running: EmbeddedStores) -> list[Figure]:
    async with rig.on(running) as services:
        before = _cpu(running)
        wal = _wal_position(running)
        job = await rig.started_job(services, rig.urls(IMAGES))
        # The ledger has one row per image and algorithm of the pipeline.
        await services.catalog.pipelines.register(_pipeline())
        await finish.write_manifest(services, job)
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        figures = [await _message_bytes(services, names.TASKS)]
        async with hands(services) as worker:
            await _answer(worker, job)
        figures.append(await _message_bytes(services, names.RESULTS))
        await collect.collect(services, job, observer=collect.Observer())
        await finish.write_final_tables(services, job)
        if await finish.finish_job(services, job) is not JobStatus.SUCCESS:
            raise AssertionError("the job did not succeed")
        after = _cpu(running)
        figures += [Figure(f"PostgreSQL, {name} and indexes", _size(running, name) / IMAGES, "B") for name in RELATIONS]
        figures.append(Figure("PostgreSQL, write-ahead log", (_wal_position(running) - wal) / IMAGES, "B"))
        figures += [Figure(f"lake, {name}", _lake_bytes(running, name) / IMAGES, "B") for name in TABLES]
        figures += [Figure(f"CPU of {name}", 1000 * (after[name] - before[name]) / IMAGES, "ms") for name in after]
    return figures


def _pipeline() -> PipelineRow:
    algorithms = [
        AlgorithmRow(key=key, version="1", name=key, task=task, description="", uri=None, labels=[])
        for key, task in (("detector", "localization"), ("classifier", "classification"))
    ]
    return PipelineRow(slug="null", name="Null", version="1", description="", default_config={}, algorithms=algorithms)


async def _answer(worker: Hands, job: Job) -> None:
    """Lease and answer all tasks, in batches like a worker's."""
    dice = random.Random(1)
    labels = [f"Genus{number % 97:03} species{number:04}" for number in range(CLASSES)]
    left = job.total
    while left:
        leases = await worker.lease(job, BATCH)
        left -= len(leases)
        await worker.sender.send(
            [
                (result_of(lease, detections=[_detection(dice, labels) for _ in range(DETECTIONS)]), lease)
                for lease in leases
            ]
        )
        for lease in leases:
            await lease.acknowledge()


def _detection(dice: random.Random, labels: list[str]) -> messages.Detection:
    x, y = dice.uniform(0, 4000), dice.uniform(0, 2000)
    best = dice.sample(labels, TOP)
    scores = sorted((dice.random() for _ in best), reverse=True)
    return messages.Detection(
        box=(x, y, x + dice.uniform(20, 96), y + dice.uniform(20, 96)),
        score=dice.random(),
        algorithm=messages.AlgorithmRef("detector", "1"),
        classifications=[
            messages.Classification(
                algorithm=messages.AlgorithmRef("classifier", "1"),
                label=best[0],
                score=scores[0],
                top_labels=best,
                top_scores=scores,
            )
        ],
    )


async def _message_bytes(services: Services, stream: str) -> Figure:
    state = (await services.connection.jetstream().stream_info(stream)).state
    return Figure(f"NATS, a message of {stream}", state.bytes / state.messages, "B")


def _cpu(running: EmbeddedStores) -> Mapping[str, float]:
    return {
        "NATS": cpu_seconds([running.pid("nats")]),
        "PostgreSQL": cpu_seconds([running.pid("postgres")]),
        "Redis": cpu_seconds([running.pid("redis")]),
    }


def _ask(running: EmbeddedStores, query: str, *values: object) -> int:
    with psycopg.connect(running.settings.database_url) as connection:
        row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    return int(row[0]) if row else 0


def _size(running: EmbeddedStores, relation: str) -> int:
    return _ask(running, "SELECT pg_total_relation_size(%s::regclass)", relation)


def _wal_position(running: EmbeddedStores) -> int:
    return _ask(running, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")


def _lake_bytes(running: EmbeddedStores, table: str) -> int:
    return sum(path.stat().st_size for path in (Path(running.settings.lake) / table).rglob("*.parquet"))
