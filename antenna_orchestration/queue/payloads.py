"""Results too large for a message, in JetStream's object store."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import logging
import re
import secrets
from datetime import UTC, datetime
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration.domain.ids import Generation, JobId, JobRun
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.publisher import Message, Publisher

CHUNK_BYTES: Final = 512 * 1024
"""Bytes per chunk; each chunk is one message."""

MAX_BYTES: Final = 256 * 2**20
"""Largest payload; the largest seen is 17 MB."""

STREAM: Final = f"OBJ_{names.PAYLOADS_BUCKET}"

ALL: Final = f"$O.{names.PAYLOADS_BUCKET}.M.*"
"""The subjects of entries in `STREAM`, one per payload; `name_of` reads them."""

CHUNKS: Final = f"$O.{names.PAYLOADS_BUCKET}.C.*"
"""The subjects of chunks. Chunks without an entry belong to an upload that has not ended, or never will."""

logger = logging.getLogger(__name__)

_CHUNK: Final = re.compile(r"\.C\.(\d+)-(\d+)-[0-9a-f]+$")


class Payloads:
    """Stores, reads and deletes payloads by name.

    `put` writes the object store's format (ADR-20) itself: nats-py's `put` reads whole entries and purges, which needs
    rights that would let a worker read and delete the results of another.
    """

    def __init__(self, client: Client, publisher: Publisher) -> None:
        self._js = client.jetstream()
        self._publisher = publisher

    async def put(self, name: str, payload: bytes) -> None:
        """Store a payload durably; idempotent, since the name holds the payload's digest. Raises `Unavailable`."""
        meta_subject = _meta_subject(name)
        with translated("storing a large result"):
            if await self._is_there(meta_subject):
                return
            # Named for the job, so that its clean-up finds the chunks of an upload that never ended.
            nuid = f"{_prefix(name)}{secrets.token_hex(8)}"
            chunks = [payload[start : start + CHUNK_BYTES] for start in range(0, len(payload), CHUNK_BYTES)]
            digest = base64.urlsafe_b64encode(hashlib.sha256(payload).digest()).decode()
            meta = {
                "name": name,
                "bucket": names.PAYLOADS_BUCKET,
                "nuid": nuid,
                "size": len(payload),
                "chunks": len(chunks),
                "digest": f"SHA-256={digest}",
                "mtime": datetime.now(UTC).isoformat(),
                "options": {"max_chunk_size": CHUNK_BYTES},
            }
            chunk_subject = f"$O.{names.PAYLOADS_BUCKET}.C.{nuid}"
            await self._publisher.publish([Message(chunk_subject, chunk) for chunk in chunks])
            # Without the header that replaces an earlier entry, which the bucket refuses (`streams.py`). Two uploads of
            # the same payload leave two entries, of which readers take the last.
            await self._publisher.publish([Message(meta_subject, json.dumps(meta).encode())])

    async def _is_there(self, meta_subject: str) -> bool:
        try:
            found = await self._js.get_last_msg(STREAM, meta_subject, direct=True)
        except nats.js.errors.NotFoundError:
            return False
        return not json.loads(found.data or b"{}").get("deleted", False)

    async def get(self, name: str) -> bytes | None:
        """The payload, or None when there is none of that name. Needs the orchestrator's rights."""
        with translated("reading a large result"):
            try:
                entry = await self._js.get_last_msg(STREAM, _meta_subject(name), direct=True)
                meta = json.loads(entry.data or b"{}")
                if meta.get("deleted"):
                    return None
                if meta["size"] > MAX_BYTES:
                    logger.error("payload %s has %d bytes; the limit is %d", name, meta["size"], MAX_BYTES)
                    return None
                payload = await self._chunks(f"$O.{names.PAYLOADS_BUCKET}.C.{meta['nuid']}", meta["size"])
            except nats.js.errors.NotFoundError:
                return None
            except (KeyError, TypeError, ValueError) as error:
                logger.error("payload %s has an entry that cannot be read: %r", name, error)
                return None
        # The name ends with the digest.
        return payload if hashlib.sha256(payload).hexdigest() == name.rpartition("/")[2] else None

    async def _chunks(self, subject: str, size: int) -> bytes:
        """The chunks, each asked for and waited for by itself.

        nats-py's `get` subscribes to them, and waits for ever once the server was started again meanwhile. Raises
        `NotFoundError` when one is missing, and nats-py's time-outs.
        """
        payload, sequence = bytearray(), 0
        while len(payload) < size:
            chunk = await self._js.get_msg(STREAM, seq=sequence + 1, subject=subject, next=True, direct=True)
            payload += chunk.data or b""
            if chunk.seq is None or chunk.seq <= sequence or not chunk.data:
                raise ValueError("an empty chunk")
            sequence = chunk.seq
        return bytes(payload)

    async def drop(self, name: str) -> None:
        """Delete the payload and its entry; idempotent. Needs the orchestrator's rights."""
        with translated("deleting a large result"), contextlib.suppress(nats.js.errors.NotFoundError):
            store = await self._js.object_store(names.PAYLOADS_BUCKET)
            # With `show_deleted`, to purge also the marker that another client's delete has left.
            info = await store.get_info(name, show_deleted=True)
            # nats-py's `delete` would leave a marker for ever, one per large result.
            for subject in (_meta_subject(name), f"$O.{names.PAYLOADS_BUCKET}.C.{info.nuid}"):
                await self._js.purge_stream(STREAM, subject=subject)


def _meta_subject(name: str) -> str:
    return f"$O.{names.PAYLOADS_BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _prefix(name: str) -> str:
    """How the names of a payload's chunks begin: `<job>-<generation>-`."""
    job, generation, _ = name.split("/", 2)
    return f"{job}-{generation}-"


def job_run_of_chunks(subject: str) -> JobRun | None:
    """The job run that one of the subjects of `CHUNKS` belongs to; None for a foreign subject."""
    match = _CHUNK.search(subject)
    return JobRun(JobId(int(match[1])), Generation(int(match[2]))) if match else None


def name_of(subject: str) -> str | None:
    """The name of the payload that one of the subjects of `ALL` stands for; None for a foreign subject."""
    try:
        return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
