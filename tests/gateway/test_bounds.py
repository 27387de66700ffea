"""What one client may take of a gateway: connections, time, bytes. Others notice nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pydantic
import pytest
import requests
from fastapi import Request
from starlette.types import Message, Receive, Scope, Send

from antenna_orchestration import errors
from antenna_orchestration.dispatch import services as dispatch_services
from antenna_orchestration.domain.access import Role
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.gateway import connections, protocol
from antenna_orchestration.gateway.app import create_app
from antenna_orchestration.gateway.budget import BODIES_OF_ONE, Budget, Room
from antenna_orchestration.gateway.callers import BURST, STRANGERS_RATE, Callers
from antenna_orchestration.gateway.clients import neighbourhood
from antenna_orchestration.gateway.connections import Connections
from antenna_orchestration.gateway.middleware import Edge
from antenna_orchestration.gateway.throughput import SLOWEST, Throughput
from antenna_orchestration.processing.services import Services
from antenna_orchestration.settings import Settings
from tests.gateway.gateway_process import RunningGateway, file_job, http_worker, job_for_http, running_gateway, token
from tests.gateway.http_worker import session
from tests.waiting import eventually, lasts, wait_until


@pytest.fixture(scope="module")
def impatient(shared_stores: EmbeddedStores, gateway: RunningGateway) -> Iterator[RunningGateway]:
    """A gateway that waits for nobody for long, behind a proxy on this machine."""
    # The shared one has prepared the stores.
    assert gateway.process is not None
    with running_gateway(shared_stores, ANTENNA_GATEWAY_PATIENCE="5", ANTENNA_GATEWAY_PROXIES="127.0.0.0/8") as started:
        yield started


@dataclass(eq=False)
class Visitor:
    """A connection, as far as the table of connections knows it."""

    owner: str
    closed: list[str] = field(default_factory=list)

    def close_idle(self) -> None:
        self.closed.append(self.owner)


@pytest.mark.parametrize(
    ("moved", "now", "is_too_slow"),
    [
        (0, 9.9, False),
        (0, 10.0, True),
        (SLOWEST * 10 - 1, 10.0, True),
        (SLOWEST * 10, 10.0, False),
    ],
)
def test_what_moves_slowly_is_not_too_slow(moved: int, now: float, *, is_too_slow: bool) -> None:
    """M7: a post on a bad link survives, however long it takes in all; one that stands still does not."""
    moving = Throughput(10.0, now=0.0)
    for hour in range(3):
        moving.restart(hour * 3600.0)
        moving.add(moved)
        assert moving.is_too_slow(hour * 3600.0 + now) is is_too_slow


def test_the_longest_idle_connection_makes_room() -> None:
    """S2: silent connections go first, of whoever has most; what was just opened or has a request stays."""
    table = Connections(most=4, most_of_one=3)
    silent = [Visitor("address a") for _ in range(3)]
    for number, visitor in enumerate(silent):
        assert table.admit(visitor, now=float(number))
    asking, late = Visitor("address b"), Visitor("address a")
    assert table.admit(asking, now=3.0)
    # The address has as many as it may, and its oldest has been silent for long enough.
    assert table.admit(late, now=3.0)
    assert [bool(one.closed) for one in silent] == [True, False, False]
    # All are taken: the richest owner's gives way, not the other's.
    assert table.admit(Visitor("address c"), now=4.0)
    assert [bool(one.closed) for one in silent] == [True, True, False]
    table.begin(silent[2])
    # None is idle for long enough now.
    assert not table.admit(Visitor("address d"), now=4.5)
    assert not asking.closed and not late.closed and len(table) == 4


def test_fifty_workers_behind_one_address_are_let_in() -> None:
    """S2: they are their token's connections as soon as they have shown it, and leave the address to newcomers."""
    table = Connections()
    for _ in range(50 * 16):
        worker = Visitor("address nat")
        assert table.admit(worker, now=0.0)
        table.begin(worker)
        assert table.belongs_to(worker, "token 7")
    assert all(table.admit(Visitor("address nat"), now=0.0) for _ in range(connections.MOST_OF_ONE))
    assert not table.admit(Visitor("address nat"), now=0.0)
    assert table.admit(Visitor("address other"), now=0.0)


async def test_bodies_of_one_token_do_not_take_the_room_of_others() -> None:
    """S8: a token's bodies beyond its room wait, until one of them ends; another token's do not."""
    budget = Budget(largest=100)
    async with SomeRooms(budget, 1, BODIES_OF_ONE) as rooms, budget.room(1) as beyond, budget.room(2) as other:
        for room in rooms:
            await room.grow_to(100)
        waiting = asyncio.create_task(beyond.grow_to(100))
        await other.grow_to(100)
        assert not waiting.done()
        await rooms.close_one()
        await waiting


class SomeRooms:
    """Rooms of one owner that can be given back one by one."""

    def __init__(self, budget: Budget, owner: int, count: int) -> None:
        self._made = [budget.room(owner) for _ in range(count)]
        self._rooms: list[Room] = []

    async def __aenter__(self) -> SomeRooms:
        self._rooms = [await one.__aenter__() for one in self._made]
        return self

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms)

    async def close_one(self) -> None:
        await self._made.pop().__aexit__(None, None, None)

    async def __aexit__(self, *_: object) -> None:
        while self._made:
            await self.close_one()


def connected(gateway: RunningGateway, sent: bytes, *, window: int = 0) -> socket.socket:
    """A connection on which so much was sent; with a `window`, one that takes in little at a time."""
    made = socket.socket()
    if window:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    made.connect(("127.0.0.1", gateway.port))
    made.settimeout(120)
    made.sendall(sent)
    return made


def said(connection: socket.socket) -> bytes:
    """All that is answered until the gateway closes the connection."""
    answer = b""
    try:
        while piece := connection.recv(2**16):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


@pytest.mark.parametrize(
    "head",
    [b"GET /livez HTTP/1.1\r\nX: ", b"GET /", b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "],
    ids=["header", "path", "trailer"],
)
def test_an_endless_head_is_cut_off(gateway: RunningGateway, head: bytes) -> None:
    """S2: 134 MiB of one header line were taken, and stalled everybody for 20 s."""
    with connected(gateway, head) as endless:
        sent = 0
        with pytest.raises(OSError):
            while sent < 2**27:
                sent += endless.send(b"a" * 2**16)
    # The kernel's buffers took it.
    assert sent < 2**24
    assert requests.get(f"{gateway.url}/livez", timeout=60).ok


@pytest.mark.parametrize(("size", "status"), [(60_000, 200), (70_000, 431), (200_000, 431)])
def test_a_large_head_is_named_as_the_reason(gateway: RunningGateway, size: int, status: int) -> None:
    """S2: also one that comes at once."""
    answer = requests.get(f"{gateway.url}/livez", headers={"X-Long": "a" * size}, timeout=60)
    assert answer.status_code == status and answer.headers["X-Request-Id"]
    assert status == 200 or "head is larger than 65536 bytes" in answer.json()["detail"]


def test_who_asks_ahead_too_often_is_cut_off(gateway: RunningGateway) -> None:
    """S2: each waiting request takes memory."""
    with connected(gateway, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 1000) as eager:
        assert said(eager).count(b"HTTP/1.1") <= protocol.MOST_AHEAD
    assert requests.get(f"{gateway.url}/livez", timeout=60).ok


@pytest.mark.long
async def test_what_stands_still_ends_and_what_moves_does_not(
    services: Services, impatient: RunningGateway, project: str, tmp_path: Path
) -> None:
    """S2, M7: silence, half a head, half a body and an answer that nobody reads; beside them a slow post."""
    gateway = impatient
    picture = tmp_path / "a.jpg"
    picture.write_bytes(bytes(20 * 2**20))
    await job_for_http(services, project, 0)
    job = await file_job(services, project, [picture])
    worker = await http_worker(services, gateway, project)
    with session(worker.token) as http:
        link = worker.lease(http, job.job_id)[0].image_url.removeprefix(gateway.url)
    allowed = f"Authorization: Token {worker.token}\r\n".encode()
    post = f"POST /api/v2/jobs/{job.job_id}/result/ HTTP/1.1\r\nHost: x\r\n".encode() + allowed
    folder = Path(services.settings.home, "gateway")
    with ExitStack() as stack:
        silent = stack.enter_context(connected(gateway, b""))
        half = stack.enter_context(connected(gateway, b"GET /livez HTTP/1.1\r\nHost: "))
        stuck = stack.enter_context(connected(gateway, post + b"Content-Length: 9000000\r\n\r\n" + b" " * 2_000_000))
        ask = f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        deaf = stack.enter_context(connected(gateway, ask, window=4096))
        slow = stack.enter_context(connected(gateway, post + b"Connection: close\r\nContent-Length: 2000000\r\n\r\n"))
        await eventually(lambda: asyncio.to_thread(lambda: list(folder.glob("*"))), description="half a body on disk")
        others = [asyncio.create_task(asyncio.to_thread(said, one)) for one in (silent, half, stuck)]
        process = psutil.Process(gateway.pid)
        port = deaf.getsockname()[1]

        def is_served() -> bool:
            return any(one.raddr and one.raddr.port == port for one in process.net_connections("tcp"))

        left = 2_000_000
        assert is_served()
        while is_served() or not all(one.done() for one in others):
            slow.send(b" " * 5_000)
            left -= 5_000
            await lasts(0.25)
        nothing, told, told_too = [await one for one in others]
        slow.sendall(b"{".rjust(left))
        answer = await asyncio.to_thread(said, slow)
    assert nothing == b""
    assert b"408 Request Timeout" in told and b"x-content-type-options: nosniff" in told.lower()
    assert b"408 Request Timeout" in told_too and json.loads(told_too.partition(b"\r\n\r\n")[2])["detail"]
    assert b"400 Bad Request" in answer
    wait_until(lambda: not list(folder.glob("*")), description="no file is left")


async def test_a_role_is_refused_before_its_body_is_read(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """S8: 40 bodies of 31 MiB, of a worker that may not submit, held 1.4 GB."""
    worker = await token(services, project)
    head = f"POST /api/v2/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Token {worker}\r\nContent-Length: 9000000\r\n\r\n"
    with connected(gateway, head.encode() + b" " * 1000) as early:
        assert b"403 Forbidden" in early.recv(2**16)


async def test_half_sent_bodies_are_not_kept_in_memory(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """S8: those of a role that may; they are on disk, and gone with their connections."""
    submitter = await token(services, project, role=Role.SUBMITTER)
    head = (
        f"POST /api/v2/jobs/ HTTP/1.1\r\nHost: x\r\nAuthorization: Token {submitter}\r\n"
        "Content-Type: application/json\r\nContent-Length: 30000000\r\n\r\n"
    )
    process = psutil.Process(gateway.pid)
    before = process.memory_full_info().uss
    folder = Path(services.settings.home, "gateway")
    with ExitStack() as stack:
        body = b'{"project": "' + b"a" * 9_000_000
        made = [stack.enter_context(connected(gateway, head.encode())) for _ in range(20)]
        threads = [threading.Thread(target=one.sendall, args=(body,)) for one in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(
            lambda: sum(file.stat().st_size for file in folder.glob("*")) > 20 * 8_000_000, description="all on disk"
        )
        assert process.memory_full_info().uss - before < 60 * 2**20
        # Another one's request is served meanwhile.
        with session(await token(services, project, role=Role.SUBMITTER)) as http:
            assert http.get(f"{gateway.base}/jobs/", timeout=60).ok
    wait_until(lambda: not list(folder.glob("*")), description="no file is left")


async def test_wrong_tokens_are_limited_before_the_catalog_is_asked(
    shared_stores: EmbeddedStores, services: Services, project: str
) -> None:
    """M4: each wrong token cost a query, however many came from one address."""
    secret = await token(services, project)
    async with dispatch_services.opened(shared_stores.settings) as http:
        callers = Callers(http)

        async def outcome(secret: str) -> str:
            try:
                await callers.authenticate(request_with(secret))
            except errors.AntennaError as error:
                return type(error).__name__
            return "known"

        assert await outcome(secret) == "known"
        most = int(STRANGERS_RATE * BURST)
        # At once: the more slowly they come, the more of them are let through.
        said = await asyncio.gather(*(outcome(f"ant_wrong-{number}") for number in range(2 * most)))
        # A catalog that is asked by so many at once may be late for some.
        assert most <= len(said) - said.count("TooMany") < 2 * most and said[-1] == "TooMany"
        assert "Unauthorized" in said
        # Whoever was known goes on, at the same address.
        assert await outcome(secret) == "known"


def request_with(secret: str, *, client: str = "192.0.2.7") -> Request:
    headers = [(b"authorization", f"Token {secret}".encode())]
    return Request({"type": "http", "path": "/", "headers": headers, "client": (client, 1), "state": {}})


async def test_a_bug_is_answered_like_everything_else() -> None:
    """Issue 17, low: an unhandled error had neither a request id nor the headers of all answers."""

    async def faulty(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise ZeroDivisionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/api/v2/x", "headers": [(b"x-request-id", b"mine")]}
    await Edge(faulty)(scope, receive, send)
    assert sent[0]["status"] == 500
    headers = dict(sent[0]["headers"])
    assert headers[b"x-request-id"] == b"mine" and headers[b"x-content-type-options"] == b"nosniff"
    assert b"under the request's id" in sent[1]["body"]


def test_only_named_proxies_say_who_calls(gateway: RunningGateway, impatient: RunningGateway) -> None:
    """M5: anybody on the gateway's machine could write any address into the log, and so evade its limits."""
    for asked, caller in ((gateway, "127.0.0.1"), (impatient, "192.0.2.99")):
        headers = {"X-Forwarded-For": "192.0.2.99", "X-Request-Id": "forwarded"}
        requests.get(f"{asked.url}/livez", headers=headers, timeout=60)
        line = f"from {caller}, token -, request forwarded"
        wait_until(lambda line=line, log=asked.log: line in log.read_text(), description="the caller in the log")


@pytest.mark.long
async def test_docs_and_readiness_are_made_once(gateway: RunningGateway) -> None:
    """M4: each call made the page anew, or asked all stores."""
    with ThreadPoolExecutor(20) as pool:
        for path in ("/docs", "/openapi.json", "/readyz"):
            answers = list(pool.map(lambda _, path=path: requests.get(gateway.url + path, timeout=60), range(100)))
            assert {answer.status_code for answer in answers} == {200}
            assert len({answer.content for answer in answers}) == 1
    app = create_app(Settings())
    assert app.openapi_url is None


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa::7", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("unknown", "unknown"),
    ],
)
def test_addresses_of_one_stranger_count_as_one(host: str, counted: str) -> None:
    """S2: with IPv6 a stranger may call from as many addresses as it likes."""
    assert neighbourhood(host) == counted


def test_a_proxy_is_an_address_or_a_network() -> None:
    """M5: a name would never match, and nobody would notice."""
    with pytest.raises(pydantic.ValidationError, match="not an address or network"):
        Settings(gateway_proxies=("proxy.example.org",))
