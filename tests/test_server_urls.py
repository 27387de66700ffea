"""URLs of servers with any password: how they are read, and that none is shown."""

from urllib.parse import unquote, urlsplit

import pytest

from antenna_orchestration import errors, server_urls, settings

SIGNS = "@:/#%?[] \\ä"
PASSWORDS = [f"pa{sign}ss{sign}word" for sign in SIGNS] + ["a@b:c/d#e%f", "/x@", "%zz"]
KINDS = [
    ("nats_url", "nats://me:{}@h.example:4222", "nats://me:***@h.example:4222"),
    ("worker_nats_url", "tls://me:{0}@h1:1,tls://me:{0}@h2:2", "tls://me:***@h1:1,tls://me:***@h2:2"),
    ("redis_url", "redis://:{}@h.example:6379/0", "redis://:***@h.example:6379/0"),
    ("database_url", "postgresql://me:{}@h.example:5432/x", "postgresql://me:***@h.example:5432/x"),
    ("dagster_pg_url", "postgresql+psycopg2://me:{}@h:5/x", "postgresql+psycopg2://me:***@h:5/x"),
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(("setting", "url", "shown"), KINDS, ids=[kind[0] for kind in KINDS])
def test_any_password_works_unencoded_and_encoded(setting: str, url: str, shown: str, password: str) -> None:
    """A13: a NATS password with `@ : / # %` was refused, and the message showed its end."""
    raw = url.format(password)
    assert server_urls.without_password(raw) == shown
    encoded = server_urls.with_encoded_login(raw)
    assert server_urls.without_password(encoded) == shown
    assert server_urls.with_encoded_login(encoded) == encoded
    assert getattr(settings.load(**{setting: raw}), setting) == encoded
    for member in encoded.split(","):
        parts = urlsplit(member)
        assert unquote(parts.password or "") == password
        assert parts.port and parts.hostname and parts.hostname.startswith("h")


@pytest.mark.parametrize(
    "url",
    [
        "nats://me:se,cret@h:99999",
        "nats://me:secret",
        "nats://me:cret?@cret@h:70000",
        "redis://:cret@h?cret@x",
        "redis://me:secret/0",
        "nats://cret@h:x",
    ],
)
def test_refusals_show_no_part_of_a_password(url: str) -> None:
    """A13: one clear line that says how to write it."""
    assert "cret" not in server_urls.without_password(url)
    with pytest.raises(errors.InvalidSetting, match="percent-encode") as raised:
        settings.load(**{"redis_url" if url.startswith("redis") else "nats_url": url})
    assert "cret" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "nats://h1:1,nats://h2:2",
        "127.0.0.1:1,nats://u:p@h:2,",
        "nats://u:p@h1:1,u:p@h2:2",
        "nats://[::1]:4222",
        "postgresql://u:p@h1:5432,h2:5432/db?sslmode=require",
        "postgresql:///db?host=/run/postgresql",
        "redis://h:6379/0",
        "unix:///run/redis.sock",
        "",
    ],
)
def test_other_urls_stay_as_they_are(url: str) -> None:
    """A13: only logins are encoded."""
    assert server_urls.with_encoded_login(url) == url


@pytest.mark.long
def test_other_addresses_keep_their_paths() -> None:
    """A13: addresses of weights have an @ in their path, and tokens of NATS are passwords."""
    assert server_urls.without_password("https://h:8080/a@b.pth?sig=x") == "https://h:8080/a@b.pth"
    assert server_urls.without_password("nats://token@h:1") == "nats://***@h:1"
    assert server_urls.without_password("postgresql://me@h/x") == "postgresql://me@h/x"
