"""The reference: the shortest program that does the same work as a job of the null pipeline, and nothing else.

Three processes with nats-py, orjson and pyarrow. One publishes the tasks. One pulls them in batches of 64, publishes
one result per task (ten detections with one classification each, with a message id, confirmed by JetStream) and
acknowledges. One decodes the results and writes a Parquet file every 20,000 rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import nats
import nats.errors
import nats.js.errors
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from nats.aio.client import Client
from nats.js import api

from benchmarks.figures import Figure, cpu_seconds
from benchmarks.rig import queue_only

IMAGES = 20_000
DETECTIONS = 10
BATCH = 64
ROWS_PER_FILE = 20_000
IN_FLIGHT = 256
"""Messages published but not yet confirmed."""


def run() -> list[Figure]:
    """Measure once, from the first publish to the last file."""
    with queue_only() as server:
        return measure(server.settings.nats_url, server.pid("nats"))


def measure(url: str, server_pid: int) -> list[Figure]:
    """Measure on a NATS server that is already running."""
    asyncio.run(_make_streams(url))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        queue: Any = context.Queue()
        parts = [
            context.Process(target=_part, args=(name, url, folder, queue)) for name in ("publish", "work", "collect")
        ]
        for part in parts:
            part.start()
        for _ in parts:
            queue.get()  # wait until each is connected
        server_cpu = cpu_seconds([server_pid])
        began = time.perf_counter()
        asyncio.run(_go(url))
        cpu = sum(queue.get() for _ in parts)
        seconds = time.perf_counter() - began
        for part in parts:
            part.join()
        rows = sum(pq.read_metadata(path).num_rows for path in Path(folder).glob("*.parquet"))
    if rows != IMAGES * DETECTIONS:
        raise AssertionError(f"{rows} rows for {IMAGES} images")
    cpu += cpu_seconds([server_pid]) - server_cpu
    return [
        Figure("bare limit", IMAGES / seconds, "images/s"),
        Figure("bare limit, CPU per image", 1000 * cpu / IMAGES, "ms"),
    ]


async def _go(url: str) -> None:
    """Tell the three processes to begin."""
    client = await nats.connect(url)
    await client.publish("bare.go", b"")
    await client.drain()


async def _make_streams(url: str) -> None:
    client = await nats.connect(url)
    js = client.jetstream()
    for stream in ("BARE_TASKS", "BARE_RESULTS"):
        subject = "bare.tasks.*" if stream == "BARE_TASKS" else "bare.results.*"
        with contextlib.suppress(nats.js.errors.NotFoundError):
            await js.delete_stream(stream)
        await js.add_stream(
            api.StreamConfig(
                name=stream, subjects=[subject], retention=api.RetentionPolicy.WORK_QUEUE, storage=api.StorageType.FILE
            )
        )
        await js.add_consumer(
            stream, api.ConsumerConfig(durable_name="c", ack_policy=api.AckPolicy.EXPLICIT, max_ack_pending=20_000)
        )
    await client.close()


def _part(name: str, url: str, folder: str, queue: Any) -> None:
    asyncio.run(_run_part(name, url, folder, queue))


async def _run_part(name: str, url: str, folder: str, queue: Any) -> None:
    client = await nats.connect(url)
    go = asyncio.Event()

    async def on_go(_: Any) -> None:
        go.set()

    await client.subscribe("bare.go", cb=on_go)
    await client.flush()
    queue.put(True)
    await go.wait()
    before = _cpu()
    await {"publish": _publish, "work": _work, "collect": _collect}[name](client, folder)
    queue.put(_cpu() - before)
    await client.close()


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _publish(client: Client, _: str) -> None:
    await _confirmed(
        client,
        (
            (f"bare.tasks.{image}", orjson.dumps({"job": 1, "image": image, "uri": f"file:///trap/{image}.jpg"}), None)
            for image in range(IMAGES)
        ),
    )


async def _work(client: Client, _: str) -> None:
    subscription = await client.jetstream().pull_subscribe_bind("c", "BARE_TASKS")
    done = 0
    while done < IMAGES:
        try:
            tasks = await subscription.fetch(BATCH, timeout=1)
        except nats.errors.TimeoutError:
            continue
        results = []
        for task in tasks:
            image = orjson.loads(task.data)["image"]
            result = {
                "image": image,
                "detections": [
                    {"box": [1.0, 2.0, 30.0, 40.0], "score": 0.9, "classification": {"label": "moth", "score": 0.8}}
                    for _ in range(DETECTIONS)
                ],
            }
            results.append((f"bare.results.{image}", orjson.dumps(result), {"Nats-Msg-Id": str(image)}))
        await _confirmed(client, results)
        for task in tasks:
            await task.ack()
        done += len(tasks)
    await client.flush()


async def _collect(client: Client, folder: str) -> None:
    subscription = await client.jetstream().pull_subscribe_bind("c", "BARE_RESULTS")
    images, files, rows, waiting = 0, 0, [], []
    while images < IMAGES or rows:
        if images < IMAGES:
            try:
                received = await subscription.fetch(500, timeout=1)
            except nats.errors.TimeoutError:
                continue
            for message in received:
                result = orjson.loads(message.data)
                rows += [
                    (result["image"], *found["box"], found["score"], *found["classification"].values())
                    for found in result["detections"]
                ]
            images += len(received)
            waiting += received
        if len(rows) >= ROWS_PER_FILE or images >= IMAGES:
            names = ["image", "x1", "y1", "x2", "y2", "score", "label", "label_score"]
            pq.write_table(
                pa.table([list(column) for column in zip(*rows, strict=True)], names=names),
                f"{folder}/{files}.parquet",
            )
            for message in waiting:
                await message.ack()
            files, rows, waiting = files + 1, [], []
    await client.flush()


async def _confirmed(client: Client, messages: Any) -> None:
    """Publish messages and wait for all confirmations, with at most IN_FLIGHT outstanding."""
    inbox = client.new_inbox()
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def on_confirmation(_: Any) -> None:
        slots.release()

    subscription = await client.subscribe(inbox, cb=on_confirmation)
    for subject, payload, headers in messages:
        await slots.acquire()
        await client.publish(subject, payload, reply=inbox, headers=headers)
    for _ in range(IN_FLIGHT):
        await slots.acquire()
    await subscription.unsubscribe()
