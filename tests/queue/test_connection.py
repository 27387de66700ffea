"""Several URLs in one setting; and what is said while nobody answers."""

import logging

import pytest

from antenna_orchestration import errors, server_urls
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.queue import connection
from tests.waiting import eventually

NOBODY = "nats://orchestrator:{password}@127.0.0.1:1"


async def test_any_member_of_a_list_will_do(shared_stores: EmbeddedStores) -> None:
    url = shared_stores.settings.nats_url
    password = url.split(":")[2].split("@")[0]
    for urls in (f"{NOBODY.format(password=password)},{url}", f"{url}, 127.0.0.1:1", f"127.0.0.1:1,{url},"):
        async with connection.connected(urls, name="test") as client:
            assert client.is_connected
            assert (await client.jetstream(timeout=60).account_info()).streams >= 0


async def test_without_any_the_error_names_all_and_no_password() -> None:
    urls = "nats://worker:secret@127.0.0.1:1,nats://worker:secret@127.0.0.1:2"
    with pytest.raises(errors.Unavailable, match=r"127\.0\.0\.1:1,.*127\.0\.0\.1:2 cannot be reached") as raised:
        await connection.connect(urls, name="test", wait=0.5)
    assert "secret" not in str(raised.value)


@pytest.mark.long
async def test_an_outage_is_told_again_and_again_until_it_ends(
    own_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who looks at a worker's terminal an hour later sees what is wrong, since when, and what to do."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(connection, "REMIND_AFTER", (0.1, 0.1))
    monkeypatch.setattr(connection, "REMIND_EVERY", 0.1)

    def told() -> int:
        return sum("cannot be reached since" in record.message for record in caplog.records)

    async def at_least(number: int) -> bool:
        return told() >= number

    async with connection.connected(own_stores.settings.nats_url, name="test") as client:
        own_stores.stop("nats")
        await eventually(lambda: at_least(4), description="four reminders")
        own_stores.start("nats")

        async def is_back() -> bool:
            return client.is_connected and "again" in caplog.messages[-1]

        await eventually(is_back, description="connected again, and no reminder after that")
    said = next(message for message in caplog.messages if "cannot be reached since" in message)
    assert "antenna up" in said and "127.0.0.1" in said and "***" in said


@pytest.mark.parametrize(
    ("urls", "why"),
    [
        ("nats://a:secret@127.0.0.1:1,nats://b:secret@127.0.0.1:2", "different credentials"),
        ("nats://a:secret@127.0.0.1:1,nats://token@127.0.0.1:2", "different credentials"),
        ("nats://a:secret@127.0.0.1:99999", "no valid port"),
        (" , ", "empty"),
    ],
)
async def test_urls_that_cannot_be_meant(urls: str, why: str) -> None:
    with pytest.raises(errors.InvalidSetting, match=why) as raised:
        await connection.connect(urls, name="test")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://u:p@h:1", "nats://u:***@h:1"),
        ("nats://u:p@h1:1,nats://u:p@h2:2", "nats://u:***@h1:1,nats://u:***@h2:2"),
        ("postgresql://u:p,q@h1:5432,h2:5432/db?password=x,y", "postgresql://u:***@h1:5432,h2:5432/db"),
        ("postgresql+psycopg2://d:p:@x@h:5/d?a=b", "postgresql+psycopg2://d:***@h:5/d"),
        ("redis://:pw@h:6379/0", "redis://:***@h:6379/0"),
        ("nats://h1:1,nats://h2:2", "nats://h1:1,nats://h2:2"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert server_urls.without_password(url) == shown


async def test_a_login_is_decoded_before_it_is_sent(shared_stores: EmbeddedStores) -> None:
    """A13: a percent-encoded password was sent as it stands, and refused."""
    url = shared_stores.settings.nats_url
    password = url.split(":")[2].split("@")[0]
    encoded = "".join(f"%{ord(letter):02X}" for letter in password)
    async with connection.connected(url.replace(password, encoded), name="test") as client:
        assert client.is_connected
