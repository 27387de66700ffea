"""Results too large for a message, in JetStream's object store."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import re
import secrets
from datetime import UTC, datetime
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.queue import names
from antenna_orchestration.queue.connection import translated
from antenna_orchestration.queue.publisher import Message, Publisher

CHUNK_BYTES: Final = 512 * 1024
"""Bytes of one chunk's message."""

STREAM: Final = f"OBJ_{names.PAYLOADS_BUCKET}"

ALL: Final = f"$O.{names.PAYLOADS_BUCKET}.M.*"
"""The subjects in `STREAM` that each stand for one payload; `name_of` reads them."""

CHUNKS: Final = f"$O.{names.PAYLOADS_BUCKET}.C.*"
"""The subjects of chunks; one whose payload has no entry belongs to an upload that is under way, or never ended."""

_CHUNK: Final = re.compile(r"\.C\.(\d+)-(\d+)-[0-9a-f]+$")


class Payloads:
    """Stores, reads and deletes payloads by name.

    Storing is done by hand, in the object store's own format (ADR-20): nats-py's `put` first reads whole entries and
    purges, which would need rights that let one worker read, and delete, the results of another.
    """

    def __init__(self, client: Client, publisher: Publisher) -> None:
        self._js = client.jetstream()
        self._publisher = publisher

    async def put(self, name: str, payload: bytes) -> None:
        """Store a payload durably; a name that is there already is left, since names hold the payload's digest."""
        meta_subject = _meta_subject(name)
        with translated("storing a large result"):
            if await self._is_there(meta_subject):
                return
            # Named for the job, so that the chunks of an upload that never ended are cleared away with it.
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
            await self._publisher.publish([Message(meta_subject, json.dumps(meta).encode(), {"Nats-Rollup": "sub"})])

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
                store = await self._js.object_store(names.PAYLOADS_BUCKET)
                return (await store.get(name)).data or b""
            except nats.js.errors.NotFoundError:
                return None

    async def drop(self, name: str) -> None:
        """Delete the payload without a trace; fine when it is gone already. Needs the orchestrator's rights."""
        with translated("deleting a large result"), contextlib.suppress(nats.js.errors.NotFoundError):
            store = await self._js.object_store(names.PAYLOADS_BUCKET)
            # Shown deleted or not: a marker that some other client left is a trace as well.
            info = await store.get_info(name, show_deleted=True)
            # nats-py's `delete` would leave a marker for ever, one for each large result there ever was.
            for subject in (_meta_subject(name), f"$O.{names.PAYLOADS_BUCKET}.C.{info.nuid}"):
                await self._js.purge_stream(STREAM, subject=subject)


def _meta_subject(name: str) -> str:
    return f"$O.{names.PAYLOADS_BUCKET}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def _prefix(name: str) -> str:
    """How the chunks' names of a payload begin: `<job>-<generation>-`."""
    job, generation, _ = name.split("/", 2)
    return f"{job}-{generation}-"


def job_of_chunks(subject: str) -> tuple[JobId, Generation] | None:
    """The job and generation that one of the subjects of `CHUNKS` belongs to; None when it is not ours."""
    match = _CHUNK.search(subject)
    return (JobId(int(match[1])), Generation(int(match[2]))) if match else None


def name_of(subject: str) -> str | None:
    """The payload that one of the subjects of `ALL` stands for; None when it is not ours."""
    try:
        return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
