"""Whatever ends a connection to NATS, or a background task of nats-py, the client reconnects and goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from antenna_orchestration import errors
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.queue import connection
from tests.chaos import tcp_proxy
from tests.event_loops import EventLoops, on_each_event_loop, run_on
from tests.waiting import PATIENCE, eventually

SUBJECT = "test.lost"
GARBAGE = b"\xff" * 2**18
"""Neither text nor lines: the first words of a stranger that took the server's port."""


@pytest.fixture
def network(shared_stores: EmbeddedStores) -> Iterator[tcp_proxy.Proxy]:
    """What lies between the client and the server."""
    port = urlsplit(shared_stores.settings.nats_url).port
    assert port
    with tcp_proxy.before(port) as proxy:
        yield proxy


@pytest.fixture
def url(network: tcp_proxy.Proxy, shared_stores: EmbeddedStores) -> str:
    """The server, behind the network."""
    return tcp_proxy.behind(network, shared_stores.settings.nats_url)


async def goes_on(client: Client, heard: asyncio.Queue[bytes]) -> None:
    """Messages go out and come in, over the subscription from before."""

    async def one_came() -> bool:
        if not client.is_connected:
            return False
        await client.publish(SUBJECT, b"again")
        try:
            while await asyncio.wait_for(heard.get(), 5) != b"again":
                continue
        except TimeoutError:
            return False
        return True

    await eventually(one_came, description="the connection carries messages again")
    await connection.check(client)


async def listening(client: Client) -> asyncio.Queue[bytes]:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def on_message(message: Msg) -> None:
        heard.put_nowait(message.data)

    await client.subscribe(SUBJECT, cb=on_message)
    await client.flush(PATIENCE)
    return heard


@pytest.mark.long
@on_each_event_loop
def test_each_reset_is_survived_whatever_is_being_published(
    loops: EventLoops, network: tcp_proxy.Proxy, url: str
) -> None:
    async def body() -> None:
        async with connection.connected(url, name="test") as client:
            heard = await listening(client)
            for round_ in range(5):
                network.reset()
                # Lets other tasks run so often, and waits for nothing: the loss shows at another place in each round.
                for _ in range(round_):
                    await asyncio.sleep(0)
                for _ in range(50):
                    await client.publish(SUBJECT, b"x" * 1000)
                    await asyncio.sleep(0)
                await goes_on(client, heard)

    run_on(loops, body())


@on_each_event_loop
def test_closing_with_unsent_messages_after_a_loss_raises_nothing(
    loops: EventLoops, network: tcp_proxy.Proxy, url: str
) -> None:
    async def body() -> None:
        async with connection.connected(url, name="test") as client:
            network.refuse()
            await eventually(lambda: _is(not client.is_connected), description="the client noticed")
            await client.publish(SUBJECT, b"never sent")
        assert client.is_closed

    run_on(loops, body())


@pytest.mark.long
async def test_a_late_answer_to_a_ping_does_no_harm(network: tcp_proxy.Proxy, url: str) -> None:
    """nats-py's reading ends at it, for the sender of the ping has stopped waiting."""
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.stall(up=False)
        with pytest.raises(errors.Unavailable):
            await connection.check(client)
        network.restore()
        await goes_on(client, heard)
        assert client.stats["reconnects"] == 0


async def test_what_cannot_be_read_begins_a_reconnection(
    network: tcp_proxy.Proxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.say(b"MSG \xff 1 2\r\nhi\r\n")
        await eventually(lambda: _is("connecting anew" in caplog.text), description="the client noticed")
        await goes_on(client, heard)
        assert client.stats["reconnects"] == 1


@pytest.mark.parametrize("error", ["User Authentication Expired", "Authorization Violation"])
async def test_an_error_of_the_server_does_not_close_the_client(
    error: str, network: tcp_proxy.Proxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.say(f"-ERR '{error}'\r\n".encode())
        await eventually(lambda: _is("lost, reconnecting" in caplog.text), description="the client noticed")
        await goes_on(client, heard)


async def test_a_refused_subject_leaves_the_connection_as_it_is(network: tcp_proxy.Proxy, url: str) -> None:
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.say(b"-ERR 'Permissions Violation for Publish to \"tasks.1\"'\r\n")
        await goes_on(client, heard)
        assert client.stats["reconnects"] == 0


@pytest.mark.parametrize("greeting", [GARBAGE, b"INFO\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_a_stranger_on_the_port_does_not_end_the_reconnection(
    greeting: bytes, network: tcp_proxy.Proxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.replace_by_stranger(greeting)
        await eventually(lambda: _is("lost, reconnecting" in caplog.text), description="the client noticed")
        network.reset()
        await eventually(lambda: _is(network.strangers > 1), description="the client asked the stranger twice")
        network.restore()
        await goes_on(client, heard)


@pytest.mark.long
async def test_a_stranger_at_the_first_attempt_is_named(network: tcp_proxy.Proxy, url: str) -> None:
    network.replace_by_stranger(GARBAGE)
    with pytest.raises(errors.Unavailable, match="cannot be reached: "):
        await connection.connect(url, name="test", wait=2)


async def test_giving_up_a_connection_does_not_wait_for_its_server(
    network: tcp_proxy.Proxy, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connection.connected(url, name="test") as client:
        heard = await listening(client)
        network.stall()
        # More than the network takes: it waits in the client.
        for _ in range(8):
            await client.publish(SUBJECT, bytes(4 * 2**20))
        await client.force_reconnect()
        await eventually(lambda: _is("lost, reconnecting" in caplog.text), description="the old connection is given up")
        network.restore()
        await goes_on(client, heard)


async def _is(fact: bool) -> bool:
    return fact
