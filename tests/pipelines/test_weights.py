"""Weights are fetched from https, s3 and folders: completely or not at all, and only once."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.pipelines import weights
from tests.submission.s3_store import CREDENTIALS, s3_store

CONTENT = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Store:
    """An HTTP server with one file, which can imitate the faults of such servers. The fixture makes it."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.content = CONTENT
        # Send only this many of the promised bytes, then close the connection.
        self.breaks_off_at: int | None = None
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests[handler.path] += 1
        if handler.path.startswith("/redirect/"):
            handler.send_response(302)
            handler.send_header("Location", "http://192.0.2.1/model.pth")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        if handler.path.startswith("/status/"):
            handler.send_error(int(handler.path.rpartition("/")[2]))
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        handler.wfile.write(self.content[: self.breaks_off_at])
        handler.wfile.flush()
        if self.breaks_off_at is not None:
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            made.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the cache, which does not exist yet."""
    configure(monkeypatch, WEIGHTS_DIR=str(tmp_path / "cache"))
    yield tmp_path / "cache"
    settings.get.cache_clear()


def configure(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"ANTENNA_{name}", value)
    settings.get.cache_clear()


def left_over(cache: Path) -> list[str]:
    """The files in the cache, except locks."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once_and_its_digest_noted(store: Store, cache: Path) -> None:
    uri = f"{store.url}/models/a%20model.pth"
    path = weights.fetch(uri)
    assert path.read_bytes() == CONTENT
    assert path == weights.cached_path(uri)
    assert weights.fetch(uri) == path
    assert store.requests == {"/models/a%20model.pth": 1}
    assert left_over(cache) == ["a model.pth", "a model.pth.sha256"]
    # People can check it with sha256sum.
    subprocess.run(["sha256sum", "-c", "a model.pth.sha256"], cwd=path.parent, check=True)


def test_two_addresses_with_the_same_name_are_two_files(store: Store) -> None:
    assert weights.fetch(f"{store.url}/one/model.pth") != weights.fetch(f"{store.url}/two/model.pth")


@pytest.mark.parametrize("damage", ["cut", "changed", "note lost", "note empty", "file lost"])
def test_a_damaged_cache_is_downloaded_again(store: Store, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    uri = f"{store.url}/model.pth"
    path = weights.fetch(uri)
    note = path.with_name("model.pth.sha256")
    if damage == "cut":
        path.write_bytes(CONTENT[:1000])
    elif damage == "changed":
        path.write_bytes(b"x" + CONTENT[1:])
    elif damage == "note lost":
        note.unlink()
    elif damage == "note empty":
        note.write_text("")
    else:
        path.unlink()
    with caplog.at_level(logging.WARNING):
        assert weights.fetch(uri).read_bytes() == CONTENT
    assert store.requests.total() == 2
    assert ("are damaged" in caplog.text) == (damage != "file lost")


def test_a_download_that_breaks_off_leaves_nothing_and_the_next_one_works(store: Store, cache: Path) -> None:
    uri = f"{store.url}/model.pth"
    store.breaks_off_at = 100_000
    with pytest.raises(errors.Unavailable, match=r"^weights http://127.0.0.1:\d+/model.pth cannot be downloaded: .+"):
        weights.fetch(uri)
    assert left_over(cache) == []
    store.breaks_off_at = None
    assert weights.fetch(uri).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "reason"), [("/status/404", "there is no such file"), ("/status/403", "403"), ("/status/500", "500")]
)
def test_a_refused_download_is_one_clear_line(store: Store, cache: Path, path: str, reason: str) -> None:
    with pytest.raises(errors.Unavailable, match=reason) as caught:
        weights.fetch(store.url + path)
    assert "\n" not in str(caught.value)
    assert left_over(cache) == []


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with pytest.raises(errors.Unavailable, match=r"weights http://127.0.0.1:9/model.pth cannot be downloaded"):
        weights.fetch("http://127.0.0.1:9/model.pth")


def test_an_empty_file_is_none(store: Store, cache: Path) -> None:
    store.content = b""
    with pytest.raises(errors.Unavailable, match="is empty"):
        weights.fetch(f"{store.url}/model.pth")
    assert left_over(cache) == []


def test_the_digest_that_an_address_carries_has_to_be_the_files(store: Store, cache: Path, tmp_path: Path) -> None:
    right, wrong = f"#sha256={DIGEST}", f"#sha256={'0' * 64}"
    assert weights.fetch(f"{store.url}/model.pth{right}").read_bytes() == CONTENT
    (tmp_path / "here.pth").write_bytes(CONTENT)
    assert weights.fetch((tmp_path / "here.pth").as_uri() + right) == tmp_path / "here.pth"
    for uri in (f"{store.url}/other.pth{wrong}", (tmp_path / "here.pth").as_uri() + wrong):
        with pytest.raises(errors.InvalidInput, match=f"SHA-256 is {DIGEST}"):
            weights.fetch(uri)
    assert left_over(cache) == ["model.pth", "model.pth.sha256"]
    with pytest.raises(errors.InvalidInput, match="64 lower-case hex digits"):
        weights.fetch(f"{store.url}/model.pth#sha256=abc")


@pytest.mark.parametrize("lost", ["file", "bytes"])
def test_a_file_that_changed_at_its_address_is_refused(store: Store, cache: Path, lost: str) -> None:
    """Low, weights: the digest of the first download is pinned; before, the next download was trusted as well."""
    uri = f"{store.url}/model.pth"
    path = weights.fetch(uri)
    note = path.with_name("model.pth.sha256")
    if lost == "file":
        path.unlink()
    else:
        path.write_bytes(b"damaged")
    store.content = b"another program"
    found = hashlib.sha256(store.content).hexdigest()
    with pytest.raises(errors.InvalidInput, match="another file is there now") as caught:
        weights.fetch(uri)
    for told in (DIGEST, found, str(note), f"#sha256={found}"):
        assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert note.read_text().startswith(DIGEST)
    # Whoever means the new file says so.
    assert weights.fetch(f"{uri}#sha256={found}").read_bytes() == store.content
    assert weights.fetch(uri).read_bytes() == store.content
    # Or goes back to the first one.
    store.content = CONTENT
    assert weights.fetch(f"{uri}#sha256={DIGEST}").read_bytes() == CONTENT


def test_plain_http_needs_a_digest(store: Store, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low, weights: what somebody on the way could alter is refused before it is asked for, as is a redirect there."""
    for uri in ("http://models.example/model.pth", "http://192.0.2.1:8080/model.pth", "http://[::2]/model.pth"):
        with pytest.raises(errors.InvalidInput, match=r"model\.pth: plain http can be altered on the way: use https"):
            weights.fetch(uri)
        assert weights.cached_path(f"{uri}#sha256={DIGEST}").name == "model.pth"
    with pytest.raises(errors.InvalidInput, match=r"it redirects to http://192\.0\.2\.1/model\.pth, and plain http"):
        weights.fetch(f"{store.url}/redirect/model.pth")
    assert left_over(cache) == []
    configure(monkeypatch, WEIGHTS_MIRROR="http://models.example/all")
    with pytest.raises(errors.InvalidInput, match="plain http"):
        weights.fetch("https://models.example/model.pth")


def test_a_local_file_stays_where_it_is(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "mo del.pth"
    file.write_bytes(CONTENT)
    assert weights.fetch(file.as_uri()) == weights.fetch(str(file)) == file
    assert not cache.exists()
    with pytest.raises(errors.Unavailable, match="there is no such file on this machine"):
        weights.fetch(str(tmp_path / "none.pth"))


def test_a_whole_cache_is_read_where_nothing_can_be_written(store: Store) -> None:
    uri = f"{store.url}/model.pth"
    path = weights.fetch(uri)
    lock = path.with_name(".model.pth.lock")
    lock.unlink()
    # Even root cannot open this for writing.
    lock.mkdir()
    assert weights.fetch(uri) == path
    path.unlink()
    with pytest.raises(errors.Unavailable, match="cannot be kept in"):
        weights.fetch(uri)


def test_what_a_killed_download_left_is_cleared_by_the_next_one(store: Store, cache: Path) -> None:
    path = weights.fetch(f"{store.url}/model.pth")
    path.unlink()
    for left in (".model.pth.abc123", ".model.pth.sha256.abc123"):
        path.with_name(left).write_bytes(CONTENT)
    weights.fetch(f"{store.url}/model.pth")
    assert left_over(cache) == ["model.pth", "model.pth.sha256"]


def test_an_address_is_no_chain_of_file_systems(store: Store, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("secret")
    path = weights.fetch(f"{store.url}/a::file://{tmp_path}/here")
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "uri",
    ["ftp://host/model.pth", "https://host/folder/", "https://host/.hidden", "https://host/a%2F..%2F..%2Fout.pth",
     "https://host/a%00b"],
)  # fmt: skip
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(errors.InvalidInput):
        weights.fetch(uri)


def test_passwords_and_signatures_stay_out_of_messages() -> None:
    with pytest.raises(errors.Unavailable) as caught:
        weights.fetch("http://user:hunter2@127.0.0.1:9/model.pth?X-Amz-Signature=abcdef")
    assert "hunter2" not in str(caught.value)
    assert "abcdef" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_one_clear_line(store: Store, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(errors.Unavailable, match="cannot be kept in"):
        weights.fetch(f"{store.url}/model.pth")


def test_a_mirror_is_asked_instead(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, WEIGHTS_MIRROR=f"{store.url}/mirror/")
    assert weights.fetch("https://models.example/deep/model.pth").read_bytes() == CONTENT
    assert store.requests == {"/mirror/model.pth": 1}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/model.pth").write_bytes(b"abc")
    configure(monkeypatch, WEIGHTS_MIRROR=str(tmp_path / "folder"))
    assert weights.fetch("https://models.example/deep/model.pth") == tmp_path / "folder/model.pth"
    # Local files do not come from the mirror.
    (tmp_path / "own.pth").write_bytes(b"own")
    assert weights.fetch((tmp_path / "own.pth").as_uri()) == tmp_path / "own.pth"


@pytest.mark.long
def test_s3_with_its_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_store() as endpoint:
        configure(monkeypatch, S3_ENDPOINT_URL=endpoint)
        filesystem = s3fs.S3FileSystem(endpoint_url=endpoint, skip_instance_cache=True)
        filesystem.mkdir("models")
        filesystem.pipe("models/moths/model.pth", CONTENT)
        assert weights.fetch("s3://models/moths/model.pth").read_bytes() == CONTENT
        with pytest.raises(errors.Unavailable, match=r"s3://models/moths/other.pth cannot be downloaded"):
            weights.fetch("s3://models/moths/other.pth")


@pytest.mark.long
def test_many_processes_download_once(store: Store, cache: Path) -> None:
    code = "import sys; from antenna_orchestration.pipelines import weights; print(weights.fetch(sys.argv[1]))"
    command = [sys.executable, "-c", code, f"{store.url}/model.pth"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].strip() for process in running]
    assert len(set(answers)) == 1
    assert Path(answers[0]).read_bytes() == CONTENT
    assert store.requests.total() == 1
