"""Images through the proxy that the environment names."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.loading import http_versions
from tests.loading.http_proxy import proxying
from tests.loading.image_server import serving
from tests.loading.test_loading import load, opened

LOGIN = base64.b64encode(b"me:p@ss").decode()


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_images_come_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A12: images were fetched directly where weights went through the proxy. Its own address may be private."""
    async with serving() as server:
        port = server.url.rpartition(":")[2]
        with proxying(tmp_path) as proxy:
            monkeypatch.setenv("http_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            async with opened(tmp_path, allow_private_hosts=False) as loader:
                away = f"http://camera.example:{port}"
                assert await load(loader, f"{away}/good/1") == server.image
                assert await load(loader, f"{away}/redirect?to={away}/good/2") == server.image
                with pytest.raises(errors.ImageUnusable, match="404"):
                    await loader.load(f"{away}/status/404")
                with pytest.raises(errors.ImageForbidden, match="the proxy answers HTTP 403"):
                    await loader.load("https://camera.example/a.jpg")
                # Neither literally nor by name; a proxy is no way around the rule.
                for private in (server.uri("good/3"), "http://10.0.0.1/a.jpg", f"http://localhost:{port}/good/3"):
                    with pytest.raises(errors.ImageForbidden, match="not a public address"):
                        await loader.load(private)
            async with opened(tmp_path) as loader:
                # Named in no_proxy.
                assert await load(loader, server.uri("good/4")) == server.image
            assert proxy.requests == [
                f"{away}/good/1 Basic {LOGIN}",
                f"{away}/redirect?to={away}/good/2 Basic {LOGIN}",
                f"{away}/good/2 Basic {LOGIN}",
                f"{away}/status/404 Basic {LOGIN}",
                f"camera.example:443 Basic {LOGIN}",
            ]


async def test_versions_are_asked_for_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A12: the submission asked directly, in vain, where the workers load through the proxy; it had another rule."""
    async with serving() as server:
        port = server.url.rpartition(":")[2]
        away = f"http://camera.example:{port}"
        signed = f"{away}/tagged/2?Signature=s&Expires=9&Key-Pair-Id=k"
        private = [server.uri("tagged/3"), "http://10.0.0.1/a.jpg", f"http://localhost:{port}/tagged/3"]
        with proxying(tmp_path) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            wanted = [f"{away}/tagged/1", f"{away}/redirect?to={away}/tagged/4", signed, *private]
            found = await http_versions.ask(wanted, allow_private=False)
            assert {url: version.version for url, version in found.items()} == {
                wanted[0]: "1", wanted[1]: "4", signed: "2",
            }  # fmt: skip
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            direct = await http_versions.ask([server.uri("tagged/5")], allow_private=True)
            assert [version.version for version in direct.values()] == ["5"]
            assert sorted(proxy.requests) == sorted(
                f"{url} -" for url in (wanted[0], wanted[1], f"{away}/tagged/4", signed)
            )


async def test_buckets_are_read_through_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A12: the same variables hold for S3."""
    async with serving() as server:
        with proxying(tmp_path) as proxy:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
            endpoint = f"http://store.example:{server.url.rpartition(':')[2]}"
            async with opened(tmp_path, s3_endpoint_url=endpoint, s3_anonymous=True) as loader:
                assert await load(loader, "s3://bucket/a.jpg") == server.image
            assert proxy.requests == [f"{endpoint}/bucket/a.jpg -"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://me:secret@127.0.0.1:9", "http://camera.example: the proxy 127.0.0.1:9: Connect"),
        ("socks5://me:secret@127.0.0.1:9", "http_proxy of this worker names no http:// proxy"),
    ],
    ids=["away", "socks"],
)
async def test_faulty_proxies_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, said: str) -> None:
    """A12: the image's host is not blamed, and no password is shown."""
    monkeypatch.setenv("http_proxy", value)
    async with opened(tmp_path) as loader:
        with pytest.raises(errors.AntennaError) as raised:
            await loader.load("http://camera.example/a.jpg")
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)
