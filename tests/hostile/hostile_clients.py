"""Clients that try to stop a gateway, as a process of their own: slow, endless, oversized, malformed, replayed, racing.

`python -m tests.hostile.hostile_clients '{"port": …, …}'` goes on until its input ends, and prints how often each kind
of client began anew, what it was answered, and how many megabytes it sent. Each kind has a pace, so that the machine's
own network is not what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import resource
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.gateway.http_worker import success

MB = 2**20
PIECE = b"a" * 65_536
ANSWERED_WITHIN = 30.0
"""Seconds for which a client waits for an answer, before it begins anew."""


@dataclass(kw_only=True)
class Target:
    """The gateway, and what the hostile clients have of it."""

    port: int
    # Tokens of a worker and a submitter of a project of their own.
    worker: str
    submitter: str
    # Of another worker there, whose room nobody else takes.
    bomber: str
    # That project's job, and its name.
    job: int
    project: str
    pipeline: str
    # A job of the others.
    foreign_job: int
    # The kinds of clients to run; all without any.
    only: list[str] = field(default_factory=list)

    begun: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v2"

    def note(self, kind: str, answer: str) -> None:
        self.answers.setdefault(kind, Counter())[answer] += 1

    def head(self, path: str, token: str, *more: str, method: str = "POST") -> bytes:
        lines = (f"{method} /api/v2{path} HTTP/1.1", "Host: x", f"Authorization: Token {token}", *more, "", "")
        return "\r\n".join(lines).encode()


Client = Callable[[Target, "Connection"], Awaitable[None]]


class Connection:
    """One connection of one kind of client."""

    def __init__(self, target: Target, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._target, self._kind, self.reader, self._writer = target, kind, reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._target.sent[self._kind] += len(data)

    async def answer(self) -> None:
        """Note the status line, or that there was none."""
        line = b"no answer"
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(self.reader.readline(), ANSWERED_WITHIN) or b"closed"
        words = line.decode(errors="replace").split()
        self._target.note(self._kind, words[1] if words[0].startswith("HTTP") else " ".join(words))

    def was_answered(self) -> bool:
        return bool(self.reader.at_eof() or self.reader._buffer)  # type: ignore[attr-defined]


async def pace(seconds: float) -> None:
    """Go on after so long: how slowly a client goes is what is hostile about it, and nothing is awaited by it."""
    await asyncio.sleep(seconds)


# Slow.


async def silent(_target: Target, link: Connection) -> None:
    """Say nothing."""
    await link.reader.read(1)


async def slow_header(target: Target, link: Connection) -> None:
    """A byte a second of a header that is complete after an hour."""
    for byte in target.head("/jobs/", target.worker, "X-Long: " + "a" * 3600, method="GET"):
        await link.send(bytes([byte]))
        if link.was_answered():
            break
        await pace(1)
    await link.answer()


async def slow_body(target: Target, link: Connection) -> None:
    """A kilobyte a second of a result of 30 MB."""
    size = 30 * MB
    await link.send(target.head(f"/jobs/{target.job}/result/", target.worker, f"Content-Length: {size}"))
    for _ in range(size // 1024):
        await link.send(PIECE[:1024])
        if link.was_answered():
            break
        await pace(1)
    await link.answer()


async def slow_reader(target: Target, link: Connection) -> None:
    """Ask for the largest answers there are, one after the other, and read a byte a second."""
    for _ in range(200):
        await link.send(target.head(f"/jobs/{target.job}/", target.submitter, method="GET"))
    async for _ in _bytes(link):
        await pace(1)


async def _bytes(link: Connection) -> AsyncIterator[bytes]:
    while byte := await link.reader.read(1):
        yield byte


# Endless.


async def endless_header(target: Target, link: Connection) -> None:
    """One header line without an end, without a token: 6 MB a second."""
    await link.send(b"GET /api/v2/jobs/ HTTP/1.1\r\nHost: x\r\nX-Long: ")
    while not link.was_answered():
        await link.send(PIECE)
        await pace(0.01)
    await link.answer()


async def endless_chunks(target: Target, link: Connection) -> None:
    """A body without an end, of a role that may not post results."""
    path = f"/jobs/{target.job}/result/"
    await link.send(target.head(path, target.submitter, "Transfer-Encoding: chunked"))
    while not link.was_answered():
        await link.send(b"10000\r\n" + PIECE + b"\r\n")
        await pace(0.02)
    await link.answer()


# Oversized: forty at a time hold 31 MB each, and send no end.


async def held_body(target: Target, link: Connection, path: str, token: str) -> None:
    """31 of 32 MB, and then nothing."""
    await link.send(target.head(path, token, f"Content-Length: {32 * MB}"))
    for _ in range(31 * MB // len(PIECE)):
        if link.was_answered():
            break
        await link.send(PIECE)
        await pace(0.02)
    else:
        await asyncio.wait([asyncio.ensure_future(link.reader.read(1))], timeout=60)
    await link.answer()


async def held_submission(target: Target, link: Connection) -> None:
    """Of a role that may not submit."""
    await held_body(target, link, "/jobs/", target.worker)


async def held_job(target: Target, link: Connection) -> None:
    """Of a role that may."""
    await held_body(target, link, "/jobs/", target.submitter)


async def held_result(target: Target, link: Connection) -> None:
    """Of a worker."""
    await held_body(target, link, f"/jobs/{target.job}/result/", target.worker)


async def gzip_bomb(target: Target, link: Connection) -> None:
    """A gigabyte of spaces in a megabyte."""
    path = f"/jobs/{target.job}/result/"
    await link.send(target.head(path, target.bomber, "Content-Encoding: gzip", f"Content-Length: {len(BOMB)}") + BOMB)
    await link.answer()


# Malformed.


async def malformed(target: Target, link: Connection) -> None:
    """One of many, in turn."""
    post, turn = f"/jobs/{target.job}/result/", next(_TURNS)
    bodies = [
        b"[" * 100_000, b'{"results": [' + b"{}," * 100_000 + b"{}]}", b"\xff\xfe\x00", b'{"results": NaN}', b"{",
        b'{"results": [{"reply_subject": "' + b"a" * 900_000 + b'"}]}',
    ]  # fmt: skip
    raw = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 4096, b"GET\r\n\r\n",
        target.head(post, target.worker, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        target.head(post, target.worker, "Transfer-Encoding: chunked") + b"FFFFFFFFFFFFFFFF\r\n",
        target.head(post, target.worker, "Content-Length: -5"),
        target.head("/jobs/%00%ff%0d%0a/", target.worker, method="GET"),
        target.head("/jobs/" + "9" * 5000 + "/", target.worker, method="GET"),
        target.head("/jobs/?" + "&".join(f"limit={n}" for n in range(5000)), target.worker, method="GET"),
    ]  # fmt: skip
    if turn % 2:
        body = bodies[turn // 2 % len(bodies)]
        await link.send(target.head(post, target.worker, f"Content-Length: {len(body)}") + body)
    else:
        await link.send(raw[turn // 2 % len(raw)])
    await link.answer()
    await pace(0.5)


_TURNS = itertools.count()
BOMB = gzip.compress(b" " * 1024 * MB, 1) if len(sys.argv) > 1 else b""


async def cheap(target: Target, link: Connection) -> None:
    """What costs the sender little: wrong tokens, the documentation, the health checks."""
    asked = [
        target.head("/jobs/", f"wrong{next(_TURNS)}", method="GET"),
        b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    await link.send(asked[next(_TURNS) % 4])
    await link.answer()
    await pace(0.2)


CONNECTIONS: dict[Client, int] = {
    silent: 200, slow_header: 50, slow_body: 20, slow_reader: 10, endless_header: 2, endless_chunks: 2,
    held_submission: 20, held_job: 20, held_result: 20, gzip_bomb: 1, malformed: 4, cheap: 4,
}  # fmt: skip
"""How many of each kind there are at any time."""


async def again_and_again(target: Target, client: Client) -> None:
    """Connect as this client, and connect again as soon as the gateway ends it."""
    kind = client.__name__
    while True:
        target.begun[kind] += 1
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", target.port), ANSWERED_WITHIN)
            await client(target, Connection(target, kind, reader, writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            target.note(kind, type(error).__name__)
        finally:
            if writer is not None:
                writer.transport.abort()
        await pace(0.2)


# Replayed and racing, by HTTP as it should be.


async def replayed_and_racing(target: Target) -> None:
    """Lease ten times at once, post each result eight times at once and to a job of others, which is also canceled."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:

        async def post(kind: str, path: str, body: Any, *, token: str = target.worker) -> Any:
            target.begun[kind] += 1
            try:
                headers = {"Authorization": f"Token {token}"}
                async with http.post(target.base + path, json=body, headers=headers) as answer:
                    target.note(kind, str(answer.status))
                    return await answer.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                target.note(kind, type(error).__name__)
                return {}

        while True:
            lease = f"/jobs/{target.job}/tasks/"
            leased = await asyncio.gather(*(post("racing leases", lease, {"batch_size": 2}) for _ in range(10)))
            tasks = [task for answer in leased for task in answer.get("tasks", [])]
            results = [{"reply_subject": task["reply_subject"], "result": success(task["image_id"])} for task in tasks]
            for result in results:
                body = {"results": [result]}
                await asyncio.gather(
                    *(post("replayed results", f"/jobs/{target.job}/result/", body) for _ in range(8)),
                    post("results for others", f"/jobs/{target.foreign_job}/result/", body),
                    post("cancels of others", f"/jobs/{target.foreign_job}/cancel/", {}),
                )
            deep: Any = {}
            for _ in range(300):
                deep = {"a": deep}
            new = {"project": target.project, "pipeline": target.pipeline, "name": "x", "config": deep, "sources": []}
            await post("deep configurations", "/jobs/", new, token=target.submitter)
            await pace(1)


async def main(target: Target) -> None:
    tasks = [
        asyncio.create_task(again_and_again(target, client))
        for client, count in CONNECTIONS.items()
        for _ in range(count)
        if not target.only or client.__name__ in target.only
    ]
    if not target.only or replayed_and_racing.__name__ in target.only:
        tasks.append(asyncio.create_task(replayed_and_racing(target)))
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.call_soon_threadsafe(over.set)), daemon=True).start()
    waiting = asyncio.create_task(over.wait())
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {waiting}:
        task.result()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    shown = {kind: dict(answers) for kind, answers in target.answers.items()}
    megabytes = {kind: round(size / MB, 1) for kind, size in target.sent.items()}
    print(json.dumps({"begun": dict(target.begun), "answers": shown, "sent_mb": megabytes}))


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 8192), most))
    asyncio.run(main(Target(**json.loads(sys.argv[1]))))
