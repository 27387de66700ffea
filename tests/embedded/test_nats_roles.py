"""What a worker's NATS user may do and what the server refuses it, tried on the real server with nats-py."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import api
from nats.js.errors import APIError

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId, JobRun, PipelineSlug
from antenna_orchestration.embedded import nats_sites, sites
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.nats_server import WORKER_INBOX
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.queue import connection, names, streams
from antenna_orchestration.queue.announcements import Announcements
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.open_attempts import OpenAttempts
from antenna_orchestration.queue.publisher import Publisher
from antenna_orchestration.queue.watching import watching
from tests.homes import temporary_folder
from tests.waiting import eventually

QUEUE_PAGE = Path(__file__).parents[2] / "docs/reference/queue.md"


@dataclass
class Sides:
    orchestrator: Client
    worker: Client
    refusals: list[str]

    async def refused(self, subject: str) -> None:
        """The server has told the worker that it may not."""
        await self.worker.flush()
        async with asyncio.timeout(60):
            while not any(subject.lower() in refusal for refusal in self.refusals):
                await self.worker.flush()
        self.refusals.clear()


@pytest.fixture(scope="module")
def running(template: Path) -> Iterator[EmbeddedStores]:
    """Stores of these tests alone: they leave all kinds of messages."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture
async def sides(running: EmbeddedStores) -> AsyncIterator[Sides]:
    refusals: list[str] = []

    async def on_error(error: Exception) -> None:
        refusals.append(str(error).lower())

    async with AsyncExitStack() as connections:
        orchestrator = await nats.connect(running.settings.nats_url, connect_timeout=60)
        connections.push_async_callback(orchestrator.close)
        worker = await nats.connect(
            running.settings.worker_nats_url,
            inbox_prefix=WORKER_INBOX.encode(),
            error_cb=on_error,
            allow_reconnect=False,
            connect_timeout=60,
        )
        connections.push_async_callback(worker.close)
        js = orchestrator.jetstream(timeout=60)
        for stream in await js.streams_info():
            await js.delete_stream(str(stream.config.name))
        await streams.ensure(orchestrator, tasks_max_bytes=8 * 2**30, results_max_bytes=32 * 2**30)
        await js.add_consumer(
            "TASKS",
            api.ConsumerConfig(durable_name="j1-g1-e", filter_subject="tasks.null.1.1.*", ack_policy="explicit"),
        )
        await js.publish("tasks.null.1.1.7", b"task")
        yield Sides(orchestrator, worker, refusals)


def test_both_sides_name_the_same_inbox() -> None:
    assert names.WORKER_INBOX == WORKER_INBOX


@pytest.mark.long
async def test_a_worker_leases_publishes_and_acknowledges(sides: Sides) -> None:
    js = sides.worker.jetstream(timeout=60)
    subscription = await js.pull_subscribe_bind(consumer="j1-g1-e", stream="TASKS")
    [message] = await subscription.fetch(1, timeout=60)
    await message.in_progress()
    await message.nak()
    [message] = await subscription.fetch(1, timeout=60)
    confirmed = await js.publish("results.1.1.7", b"result", headers={"Nats-Msg-Id": "1"})
    assert (confirmed.stream, confirmed.seq) == ("RESULTS", 1)
    await message.ack()
    await sides.worker.flush()

    async def is_acknowledged() -> bool:
        info = await sides.orchestrator.jetstream(timeout=60).consumer_info("TASKS", "j1-g1-e")
        return (info.num_ack_pending, info.num_pending) == (0, 0)

    await eventually(is_acknowledged, description="acknowledged: the server applies acknowledgements in its own time")
    assert not sides.refusals


async def test_a_worker_beats(sides: Sides) -> None:
    bucket = await sides.worker.jetstream(timeout=60).key_value("workers")
    await bucket.put("host-1", b"alive")
    entry = await (await sides.orchestrator.jetstream(timeout=60).key_value("workers")).get("host-1")
    assert entry.value == b"alive"
    assert not sides.refusals


async def test_a_worker_reads_and_follows_the_board(sides: Sides) -> None:
    announcements = await sides.orchestrator.jetstream(timeout=60).key_value("jobs")
    await announcements.put("1.1", b"first")
    bucket = await sides.worker.jetstream(timeout=60).key_value("jobs")
    assert (await bucket.get("1.1")).value == b"first"
    async with watching(bucket) as watch:
        seen = await watch.next(timeout=60)
        assert seen is not None and seen.value == b"first"
        assert await watch.next(timeout=60) is None
        await announcements.put("2.1", b"second")
        seen = await watch.next(timeout=60)
        assert seen is not None and seen.value == b"second"
        # More than a flow control window, so that the worker has to answer it.
        for number in range(300):
            await announcements.put(f"3.{number}", b"x" * 100_000)
        for _ in range(300):
            assert await watch.next(timeout=60) is not None
    await sides.worker.flush()
    assert not sides.refusals


async def test_a_worker_counts_open_attempts(sides: Sides) -> None:
    task = messages.Task(
        job=JobId(1), generation=Generation(1), image=ImageId(7), uri="file:///7", pipeline=PipelineSlug("null"),
        config_hash="",
    )  # fmt: skip
    async with Publisher(sides.worker) as publisher:
        open_attempts = OpenAttempts(sides.worker, publisher)
        for number in range(3):
            assert await open_attempts.count(task) == number
            await open_attempts.note(task)
    assert not sides.refusals
    for subject in ("$JS.API.STREAM.PURGE.KV_openings", "$JS.API.CONSUMER.CREATE.KV_openings"):
        await sides.worker.publish(subject, b"{}")
        await sides.refused(subject)


async def test_a_worker_stores_a_large_result(sides: Sides) -> None:
    """By its own publishes: nats-py's `put` first reads an object of that name, which is not a worker's right."""
    payload, name = b"x" * 5_000_000, "1/1/7/" + "0" * 64
    js = sides.worker.jetstream(timeout=60)
    store = await js.object_store("payloads")
    size = 128 * 1024
    chunks = [payload[start : start + size] for start in range(0, len(payload), size)]
    for chunk in chunks:
        await js.publish("$O.payloads.C.someid", chunk)
    digest = base64.urlsafe_b64encode(hashlib.sha256(payload).digest()).decode()
    about = {"name": name, "bucket": "payloads", "nuid": "someid", "size": len(payload), "chunks": len(chunks)}
    about |= {"digest": f"SHA-256={digest}", "mtime": "2026-01-01T00:00:00Z", "options": {"max_chunk_size": size}}
    meta = "$O.payloads.M." + base64.urlsafe_b64encode(name.encode()).decode()
    await js.publish(meta, json.dumps(about).encode())
    assert not sides.refusals
    stored = await (await sides.orchestrator.jetstream(timeout=60).object_store("payloads")).get(name)
    assert stored.data == payload
    # It may see that an object is there already, and not what is in it.
    found = await sides.worker.request(f"$JS.API.DIRECT.GET.OBJ_payloads.{meta}", timeout=60)
    assert json.loads(found.data)["size"] == len(payload)
    await sides.worker.publish("$JS.API.STREAM.MSG.GET.OBJ_payloads", b'{"seq":1}')
    await sides.refused("$JS.API.STREAM.MSG.GET.OBJ_payloads")
    await sides.worker.publish("$JS.API.DIRECT.GET.OBJ_payloads", b'{"seq":1}')
    await sides.refused("$JS.API.DIRECT.GET.OBJ_payloads")
    assert store is not None


def denied(how: str) -> list[str]:
    """The subjects of the documented table whose second column begins so, without braces."""
    rows = [row.split(" | ") for row in QUEUE_PAGE.read_text().splitlines() if row.startswith("| ")]
    found = [code for row in rows if len(row) == 3 and row[1] == how for code in re.findall("`([^`]+)`", row[2])]
    return [subject for code in found for subject in without_braces(code)]


def without_braces(text: str) -> list[str]:
    match = re.search(r"\{([^}]*)\}", text)
    if match is None:
        return [text]
    each = (text[: match.start()] + choice + text[match.end() :] for choice in match[1].split(","))
    return [subject for one in each for subject in without_braces(one)]


async def test_a_worker_may_do_nothing_of_the_documented_table(sides: Sides) -> None:
    """M1: the table of the page about the queue, subject by subject."""
    publishes, subscribes = denied("publish"), denied("subscribe")
    assert len(publishes) > 90 and len(subscribes) > 15
    for subject in publishes:
        await sides.worker.publish(subject, b"{}")
        await sides.refused(subject)
    for subject in subscribes:
        await sides.worker.subscribe(subject)
        await sides.refused(subject)


async def test_a_worker_empties_no_bucket_with_a_header(sides: Sides) -> None:
    """M1: one message with `Nats-Rollup` replaced all others of its bucket."""
    js = sides.orchestrator.jetstream(timeout=60)
    for bucket in ("workers", "openings"):
        await (await js.key_value(bucket)).put("kept", b"1")
    await js.publish("$O.payloads.C.kept", b"1")
    subjects = denied("header `Nats-Rollup`")
    assert len(subjects) == 5
    for subject in subjects:
        for extent in ("all", "sub"):
            with pytest.raises(APIError, match="rollup not permitted"):
                await sides.worker.jetstream(timeout=60).publish(subject, b"x", headers={"Nats-Rollup": extent})
    for stream in ("KV_workers", "KV_openings", "OBJ_payloads"):
        assert (await js.stream_info(stream)).state.messages == 1


async def test_buckets_from_before_get_their_limits(sides: Sides) -> None:
    """M1: buckets of an earlier version had no limits, and allowed to be emptied by a header."""
    js = sides.orchestrator.jetstream(timeout=60)
    for stream in ("KV_workers", "KV_openings", "OBJ_payloads", "KV_jobs"):
        config = (await js.stream_info(stream)).config
        assert config.max_bytes and config.max_bytes > 0 and config.max_consumers and config.max_consumers > 0
        await js.update_stream(config, max_bytes=-1, max_consumers=-1, allow_rollup_hdrs=True)
    await (await js.key_value("workers")).put("kept", b"1")
    await streams.ensure(sides.orchestrator, tasks_max_bytes=8 * 2**30, results_max_bytes=2**30, update=True)
    found = {name: (await js.stream_info(name)).config for name in ("KV_workers", "OBJ_payloads", "KV_jobs")}
    assert [config.allow_rollup_hdrs for config in found.values()] == [False, False, True]
    assert found["OBJ_payloads"].max_bytes == 2**28
    assert (await (await js.key_value("workers")).get("kept")).value == b"1"


async def test_one_site_is_locked_out_and_no_other_notices(sides: Sides, running: EmbeddedStores) -> None:
    """M1: all workers shared one user, whose password could only be changed for everybody."""
    lost: list[str] = []

    async def site(label: str, connections: AsyncExitStack) -> tuple[str, Client]:
        made, url, warning = sites.create(running.settings, label=label)
        assert not warning
        inbox = connection.worker_inbox(url)
        assert inbox == f"_INBOX_{made.user}"

        async def on_loss() -> None:
            lost.append(label)

        client = await nats.connect(
            url, inbox_prefix=inbox.encode(), disconnected_cb=on_loss, allow_reconnect=False, connect_timeout=60
        )
        connections.push_async_callback(client.close)
        return made.fingerprint, client

    async with AsyncExitStack() as connections:
        fingerprint, first = await site("first", connections)
        _, second = await site("second", connections)
        for client in (first, second):
            await (await client.jetstream(timeout=60).key_value("workers")).put("host", b"alive")
        # Nobody reads another site's inbox.
        refusals: list[str] = []

        async def on_error(error: Exception) -> None:
            refusals.append(str(error).lower())

        second._error_cb = on_error
        await second.subscribe(f"_INBOX_site-{fingerprint}.>")
        await second.flush()

        async def is_refused() -> bool:
            await second.flush()
            return any("permissions violation" in refusal for refusal in refusals)

        await eventually(is_refused, description="the other site's inbox is refused")
        assert sites.revoke(running.settings, fingerprint) == ""

        async def is_out() -> bool:
            return "first" in lost

        await eventually(is_out, description="the site is cut off")
        await (await second.jetstream(timeout=60).key_value("workers")).put("host", b"alive")
        await sides.worker.flush()
        assert lost == ["first"] and sides.worker.is_connected
        sides.refusals.clear()
    shown = {site.label: site.revoked_at is not None for site in nats_sites.list_all(Home(running.settings.home))}
    assert (shown["first"], shown["second"]) == (True, False)
    # Also after the next start, which reads the same file.
    users = (Home(running.settings.home).nats / "users.conf").read_text()
    assert users.count('user: "site-') == 1 and fingerprint not in users


async def test_a_worker_may_not_join_a_queue_group(sides: Sides) -> None:
    await sides.worker.subscribe("results.>", queue="collectors")
    await sides.refused("results.>")


async def test_the_server_keeps_what_a_worker_tried_to_destroy(sides: Sides) -> None:
    """A request whose reply subject is a command: the answer to it must not be executed."""
    for verb in ("STREAM.DELETE.TASKS", "STREAM.PURGE.TASKS", "CONSUMER.DELETE.TASKS.j1-g1-e"):
        command = f"$JS.API.{verb}"
        await sides.worker.publish("results.1.1.9", b"x", reply=command)
        await sides.worker.publish("$JS.API.STREAM.INFO.KV_jobs", b"", reply=command)
    await sides.worker.flush()
    js = sides.orchestrator.jetstream(timeout=60)
    await js.publish("results.1.1.10", b"after those")
    assert (await js.stream_info("TASKS")).state.messages == 1
    assert (await js.consumer_info("TASKS", "j1-g1-e")).name == "j1-g1-e"


async def test_a_stranger_is_refused(running: EmbeddedStores) -> None:
    wrong = running.settings.nats_url.replace("://orchestrator:", "://orchestrator:x")
    nobody = "nats://" + running.settings.nats_url.split("@")[1]
    for url in (wrong, nobody):
        with pytest.raises(errors.Unavailable, match="cannot be reached"):
            await connection.connect(url, name="stranger", wait=0.5)


async def test_a_worker_that_is_locked_out_says_so(
    running: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """M1: not that the stack is to be started again."""
    monkeypatch.setattr(connection, "REMIND_AFTER", (0.1,))
    monkeypatch.setattr(connection, "REMIND_EVERY", 0.1)
    made, url, _ = sites.create(running.settings, label="third")
    async with connection.connected(url, name="test", inbox_prefix=connection.worker_inbox(url)):
        sites.revoke(running.settings, made.fingerprint)

        async def is_told() -> bool:
            return any("refuses this login" in message for message in caplog.messages)

        await eventually(is_told, description="the reason is told")
    assert "***" in caplog.text and made.password not in caplog.text


async def test_what_a_worker_writes_by_a_reply_subject_is_taken_for_nothing(sides: Sides) -> None:
    """The server sends its confirmation wherever the reply subject says, with rights of its own: no role forbids that.

    So a worker can put the server's words where a task or an announcement would be. Nobody reads them as one, and the
    job's collector announces it again.
    """
    announcements = Announcements(sides.orchestrator)
    await sides.worker.publish("results.1.1.9", b"x", reply="tasks.null.1.1.99")
    await sides.worker.publish("results.1.1.10", b"x", reply="$KV.jobs.1.1")
    js = sides.orchestrator.jetstream(timeout=60)

    async def arrived() -> bool:
        counts = [(await js.stream_info(stream)).state.messages for stream in ("TASKS", "KV_jobs")]
        return counts == [2, 1]

    await eventually(arrived, description="the confirmations are stored")
    assert await announcements.read() == {}
    assert not await announcements.has(JobRun(JobId(1), Generation(1)), Epoch("e"))
    async with Leaser(sides.worker, ack_wait=30.0) as leaser:
        leases = await leaser.lease(JobRun(JobId(1), Generation(1)), Epoch("e"), 10)
    assert leases == []

    async def dropped() -> bool:
        return (await js.stream_info("TASKS")).state.messages == 0

    await eventually(dropped, description="what is not a task is dropped")
