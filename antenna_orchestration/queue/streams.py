"""The streams and buckets. `ensure` creates or updates them; it is idempotent, and several processes may call it."""

from __future__ import annotations

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api

from antenna_orchestration.queue import names, open_attempts
from antenna_orchestration.queue.connection import translated

MAX_MESSAGE_BYTES = 8 * 2**20
"""Largest message; the server's `max_payload` has to allow it."""

HEARTBEAT_TTL = 30.0
"""Seconds after its last heartbeat until a worker's entry in the bucket `workers` expires."""


async def ensure(
    client: Client, *, tasks_max_bytes: int, results_max_bytes: int, replicas: int = 1, update: bool = False
) -> None:
    """Create what is missing, and with `update` also change the limits of what exists.

    TASKS keeps one message per subject, and refuses a second one while the first waits or is leased: this makes
    publishing idempotent (docs/decisions/queue.md). Needs the orchestrator's rights. Raises `Unavailable`.
    """
    js = client.jetstream()
    with translated("creating the streams"):
        await _ensure_stream(
            js,
            api.StreamConfig(
                name=names.TASKS,
                subjects=["tasks.>"],
                retention=api.RetentionPolicy.WORK_QUEUE,
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                discard_new_per_subject=True,
                max_msgs_per_subject=1,
                max_bytes=tasks_max_bytes,
                num_replicas=replicas,
            ),
            update,
        )
        await _ensure_stream(
            js,
            api.StreamConfig(
                name=names.RESULTS,
                subjects=["results.>"],
                retention=api.RetentionPolicy.WORK_QUEUE,
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                max_bytes=results_max_bytes,
                max_msg_size=MAX_MESSAGE_BYTES,
                num_replicas=replicas,
                duplicate_window=120,
            ),
            update,
        )
        await _ensure_bucket(js, api.KeyValueConfig(bucket=names.JOBS_BUCKET, history=1, replicas=replicas))
        await _ensure_bucket(
            js,
            api.KeyValueConfig(bucket=names.WORKERS_BUCKET, history=1, ttl=HEARTBEAT_TTL, replicas=replicas),
        )
        # `direct`, so that a worker's rights can be limited to reading one image's count by its subject.
        await _ensure_bucket(
            js,
            api.KeyValueConfig(
                bucket=names.OPENINGS_BUCKET, history=1, ttl=open_attempts.KEEP, direct=True, replicas=replicas
            ),
        )
        try:
            await js.object_store(names.PAYLOADS_BUCKET)
        except nats.js.errors.NotFoundError:
            await js.create_object_store(names.PAYLOADS_BUCKET, config=api.ObjectStoreConfig(replicas=replicas))


async def missing(client: Client) -> list[str]:
    """The streams, buckets' among them, that do not exist. Raises `Unavailable`."""
    js = client.jetstream()
    found = []
    with translated("looking for the streams"):
        for name in names.STORED:
            try:
                await js.stream_info(name)
            except nats.js.errors.NotFoundError:
                found.append(name)
    return found


async def _ensure_stream(js: JetStreamContext, config: api.StreamConfig, update: bool) -> None:
    try:
        await js.stream_info(config.name)
    except nats.js.errors.NotFoundError:
        await js.add_stream(config)
    else:
        if update:
            await js.update_stream(config)


async def _ensure_bucket(js: JetStreamContext, config: api.KeyValueConfig) -> None:
    try:
        await js.key_value(config.bucket)
    except nats.js.errors.NotFoundError:
        await js.create_key_value(config)
