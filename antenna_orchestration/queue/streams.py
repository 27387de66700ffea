"""The streams and buckets. `ensure` creates or updates them; it is idempotent, and several processes may call it."""

from __future__ import annotations

import logging
from typing import NamedTuple

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext, api

from antenna_orchestration.queue import names, open_attempts
from antenna_orchestration.queue.connection import translated

MAX_MESSAGE_BYTES = 8 * 2**20
"""Largest message; the server's `max_payload` has to allow it."""

HEARTBEAT_TTL = 30.0
"""Seconds after its last heartbeat until a worker's entry in the bucket `workers` expires."""


NO_ROOM = 10047
"""The server's code for a stream that would reserve more than its store has."""

logger = logging.getLogger(__name__)


class Limits(NamedTuple):
    """What a bucket allows. A worker may write most of them, so none may grow without end or be emptied by a message.

    One message with the header `Nats-Rollup: all` replaces all others: only a bucket that no worker writes allows it.
    """

    max_bytes: int
    max_consumers: int
    allow_rollup_hdrs: bool = False

    @classmethod
    def of(cls, config: api.StreamConfig) -> Limits:
        """Those that a stream has."""
        return cls(config.max_bytes or -1, config.max_consumers or -1, bool(config.allow_rollup_hdrs))


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
        await _ensure_bucket(
            js,
            api.KeyValueConfig(bucket=names.JOBS_BUCKET, history=1, replicas=replicas),
            # Only the orchestrator writes announcements; it deletes them with the header.
            Limits(max_bytes=2**30, max_consumers=10_000, allow_rollup_hdrs=True),
            update,
        )
        await _ensure_bucket(
            js,
            api.KeyValueConfig(bucket=names.WORKERS_BUCKET, history=1, ttl=HEARTBEAT_TTL, replicas=replicas),
            Limits(max_bytes=64 * 2**20, max_consumers=1_000),
            update,
        )
        # `direct`, so that a worker's rights can be limited to reading one image's count by its subject.
        await _ensure_bucket(
            js,
            api.KeyValueConfig(
                bucket=names.OPENINGS_BUCKET, history=1, ttl=open_attempts.KEEP, direct=True, replicas=replicas
            ),
            Limits(max_bytes=256 * 2**20, max_consumers=1_000),
            update,
        )
        await _ensure_bucket(
            js,
            api.ObjectStoreConfig(bucket=names.PAYLOADS_BUCKET, replicas=replicas),
            Limits(max_bytes=max(results_max_bytes // 4, MAX_MESSAGE_BYTES), max_consumers=1_000),
            update,
        )


class Storage(NamedTuple):
    """What JetStream stores, and what it may store (-1: as much as its disk holds), in bytes; and NATS's version."""

    used: int
    most: int
    version: str


async def storage(client: Client) -> Storage:
    """How much JetStream stores. Raises `Unavailable`."""
    with translated("asking JetStream"):
        account = await client.jetstream().account_info()
        return Storage(
            account.storage,
            account.limits.max_storage,
            str(client.connected_server_version).strip("<>").rpartition(" ")[2],
        )


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


async def _ensure_bucket(
    js: JetStreamContext, config: api.KeyValueConfig | api.ObjectStoreConfig, limits: Limits, update: bool
) -> None:
    """Create the bucket with its limits, which one that is there gets with `update`, or if it allows too much."""
    is_object_store = isinstance(config, api.ObjectStoreConfig)
    stream = f"{'OBJ' if is_object_store else 'KV'}_{config.bucket}"
    try:
        found = (await js.stream_info(stream)).config
    except nats.js.errors.NotFoundError:
        if isinstance(config, api.ObjectStoreConfig):
            await js.create_object_store(config.bucket or "", config=config)
        else:
            await js.create_key_value(config)
        found, update = (await js.stream_info(stream)).config, True
    allows_too_much = bool(found.allow_rollup_hdrs) and not limits.allow_rollup_hdrs
    if allows_too_much or (update and limits != Limits.of(found)):
        await _limit(js, found, limits)


async def _limit(js: JetStreamContext, found: api.StreamConfig, limits: Limits) -> None:
    try:
        await js.update_stream(found, **limits._asdict())
    except nats.js.errors.APIError as error:
        if error.err_code != NO_ROOM:
            raise
        # A server of one's own, whose store was sized before buckets had limits.
        logger.warning(
            "%s has no limit of bytes: NATS' max_file_store leaves no room for %d MiB; see docs/howto/own-servers.md",
            found.name,
            limits.max_bytes // 2**20,
        )
        await js.update_stream(found, **limits._replace(max_bytes=-1)._asdict())
