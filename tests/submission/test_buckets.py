"""Listing an S3 store."""

import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import sources
from tests.submission.s3_store import CREDENTIALS, s3_store

KEYS = [
    "night-1/a10.jpg", "night-1/a9.JPG", "night-1/notes.txt", "night-1/.cache/x.jpg", "night-1/deep er/Käfer #1?.jpg",
    "night-10/b.jpg", "single",
]  # fmt: skip

CARDS = [
    "a.jpg", "n/@eaDir/a.jpg", "n/@eaDir/b.jpg", "#recycle/c.jpg", "n/.hid.jpg", "n/bell\x07.jpg", "v.mp4",
    f"n/{'x' * 900}/{'蛾' * 30}.jpg", "n/b.jpg",
]  # fmt: skip


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_store() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
        for bucket in ("traps", "bare", "cards"):
            store.mkdir(bucket)
        for key in KEYS:
            store.pipe_file(f"traps/{key}", b"x")
        for key in CARDS:
            store.pipe_file(f"cards/{key}", b"x")
        yield endpoint


@pytest.fixture
def at_store(endpoint: str, tmp_path: Path) -> Settings:
    return settings.load(home=tmp_path, s3_endpoint_url=endpoint)


def listed(uri: str, at_store: Settings) -> list[str]:
    return [image.uri.removeprefix("s3://traps/") for image in sources.gather([uri], settings=at_store).images]


@pytest.mark.parametrize("uri", ["s3://traps/night-1", "s3://traps/night-1/"])
def test_a_prefix_is_a_folder(at_store: Settings, uri: str) -> None:
    assert listed(uri, at_store) == ["night-1/a9.JPG", "night-1/a10.jpg", "night-1/deep er/Käfer #1?.jpg"]


def test_a_whole_bucket(at_store: Settings) -> None:
    assert listed("s3://traps", at_store) == [
        "night-1/a9.JPG", "night-1/a10.jpg", "night-1/deep er/Käfer #1?.jpg", "night-10/b.jpg",
    ]  # fmt: skip


def test_a_pattern(at_store: Settings) -> None:
    assert listed("s3://traps/night-*/?.jpg", at_store) == ["night-10/b.jpg"]


def test_a_single_object_whatever_its_name(at_store: Settings) -> None:
    assert listed("s3://traps/single", at_store) == ["single"]
    assert listed("s3://traps/night-10/b.jpg", at_store) == ["night-10/b.jpg"]


def test_what_is_not_there(at_store: Settings) -> None:
    with pytest.raises(errors.InvalidSource, match="there is no bucket 'missing'"):
        listed("s3://missing/x", at_store)
    with pytest.raises(errors.InvalidSource, match="no images under s3://bare: 0 objects there"):
        listed("s3://bare", at_store)
    with pytest.raises(errors.InvalidSource, match=r"no images under s3://traps/night-3"):
        listed("s3://traps/night-3", at_store)
    with pytest.raises(errors.InvalidSource, match="names no bucket"):
        listed("s3://", at_store)


def test_a_store_out_of_reach(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    nobody = settings.load(home=tmp_path, s3_endpoint_url=f"http://127.0.0.1:{free}")
    with pytest.raises(errors.Unavailable, match="s3://traps cannot be listed"):
        listed("s3://traps", nobody)


def test_junk_and_bad_keys_are_left_out(at_store: Settings) -> None:
    """A5, A6, A14: the same rule as for folders; one key with a control character refused a whole bucket."""
    found = sources.gather(["s3://cards"], settings=at_store)
    taken = [image.uri.removeprefix("s3://cards/") for image in found.images]
    assert taken == ["a.jpg", "n/b.jpg", f"n/{'x' * 900}/{'蛾' * 30}.jpg"]
    assert sources.count_left_out(found.left_out) == {"junk": 2, "hidden": 1, "unreadable": 1, "video": 1}
    assert {one.path for one in found.left_out if one.kind == "junk"} == {"s3://cards/n/@eaDir", "s3://cards/#recycle"}
    assert len(sources.gather(["s3://cards/n/@eaDir"], settings=at_store).images) == 2
