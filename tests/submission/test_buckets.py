"""Listing an S3 store."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pytest
import requests

from antenna_orchestration import errors, settings
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets, patterns, sources
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


@pytest.mark.long
@pytest.mark.parametrize("uri", ["s3://traps/night-1", "s3://traps/night-1/"])
def test_a_prefix_is_a_folder(at_store: Settings, uri: str) -> None:
    assert listed(uri, at_store) == ["night-1/a9.JPG", "night-1/a10.jpg", "night-1/deep er/Käfer #1?.jpg"]


def test_a_whole_bucket(at_store: Settings) -> None:
    assert listed("s3://traps", at_store) == [
        "night-1/a9.JPG", "night-1/a10.jpg", "night-1/deep er/Käfer #1?.jpg", "night-10/b.jpg",
    ]  # fmt: skip


def test_a_pattern(at_store: Settings) -> None:
    assert listed("s3://traps/night-*/?.jpg", at_store) == ["night-10/b.jpg"]


ODD = [
    "nights/2026-06-01/a.jpg", "nights/2026-06-01/deep/b.jpg", "nights/2026-06-02/c.jpg", "nights/2026-07-01/d.jpg",
    "names/trap[1]/e.jpg", "names/trap1/f.jpg", "names/what?.jpg", "names/whats.jpg", "names/a*b.jpg", "names/axb.jpg",
    "names/old.jpg?versionId=7.jpg", "names/old.jpg", "names//double.jpg", "names/ space .jpg",
]  # fmt: skip


@pytest.fixture(scope="module")
def odd(endpoint: str) -> Iterator[None]:
    store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
    for bucket in ("odd", "versions"):
        store.call_s3("create_bucket", Bucket=bucket)
    for key in ODD:
        store.call_s3("put_object", Bucket="odd", Key=key, Body=key.encode())
    yield


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("nights/2026-06-*", ["2026-06-01/a.jpg", "2026-06-01/deep/b.jpg", "2026-06-02/c.jpg"]),
        ("nights/2026-06-*/", ["2026-06-01/a.jpg", "2026-06-01/deep/b.jpg", "2026-06-02/c.jpg"]),
        ("nights/*/*.jpg", ["2026-06-01/a.jpg", "2026-06-02/c.jpg", "2026-07-01/d.jpg"]),
        ("nights/**/*.jpg", [key.removeprefix("nights/") for key in ODD[:4]]),
        ("nights/2026-06-01/**", ["2026-06-01/a.jpg", "2026-06-01/deep/b.jpg"]),
        ("nights/2026-0[67]-01/?.jpg", ["2026-06-01/a.jpg", "2026-07-01/d.jpg"]),
        ("nights", [key.removeprefix("nights/") for key in ODD[:4]]),
        ("names/trap[1]", ["trap[1]/e.jpg"]),
        ("names/trap[1]/e.jpg", ["trap[1]/e.jpg"]),
        ("names/trap[1]/*.jpg", ["trap1/f.jpg"]),
        ("names/what?.jpg", ["what?.jpg"]),
        ("names/wh?t*.jpg", ["what?.jpg", "whats.jpg"]),
        ("names/a*b.jpg", ["a*b.jpg"]),
        ("names/a?b.jpg", ["a*b.jpg", "axb.jpg"]),
        ("names/old.jpg?versionId=7.jpg", ["old.jpg?versionId=7.jpg"]),
        ("names//double.jpg", ["/double.jpg"]),
        ("names/ space .jpg", [" space .jpg"]),
    ],
)
def test_a_name_is_a_name_first_and_a_pattern_takes_folders(
    at_store: Settings, odd: None, pattern: str, expected: list[str], tmp_path: Path
) -> None:
    """A7: objects with brackets in their names are found, and patterns mean what they mean for local files."""
    above = pattern.partition("/")[0]
    found = buckets.list_objects(f"s3://odd/{pattern}", at_store)
    assert sorted(found) == sorted(f"s3://odd/{above}/{name}" for name in expected)
    if "//" not in pattern and "versionId" not in pattern:
        for key in ODD:
            (tmp_path / "odd" / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "odd" / key).write_bytes(b"x")
        local = sources.gather([f"{tmp_path}/odd/{pattern}"], settings=at_store).images
        root = f"file://{tmp_path}/odd/{above}/"
        assert sorted(unquote(image.uri.removeprefix(root)) for image in local) == sorted(expected)


@pytest.mark.long
async def test_every_listed_name_is_the_one_that_is_read(at_store: Settings, odd: None) -> None:
    """A7: what stands behind `?versionId=` belongs to the name if the bucket has an object of the whole name."""
    listed_names = await asyncio.to_thread(buckets.list_objects, "s3://odd", at_store)
    assert len(listed_names) == len(ODD)
    signed = await asyncio.to_thread(buckets.presign, listed_names, at_store, valid_for=60)
    async with Loader(settings=at_store, memory=MemoryBudget(2**26)) as loader:
        for uri, url in zip(listed_names, signed, strict=True):
            assert await loader.load(uri) == uri.removeprefix("s3://odd/").encode()
            assert (await asyncio.to_thread(requests.get, url, timeout=60)).content == uri[len("s3://odd/") :].encode()


@pytest.mark.long
async def test_one_version_of_an_object_can_be_named(at_store: Settings, odd: None, endpoint: str) -> None:
    """A7, A2: an earlier version is listed, told apart, loaded and signed."""

    def write() -> str:
        store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
        store.call_s3("put_bucket_versioning", Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        first = store.call_s3("put_object", Bucket="versions", Key="a.jpg", Body=b"first")
        store.call_s3("put_object", Bucket="versions", Key="a.jpg", Body=b"second")
        return f"s3://versions/a.jpg?versionId={first['VersionId']}"

    uri = await asyncio.to_thread(write)
    found = sources.gather([uri], settings=at_store)
    assert [image.uri for image in found.images] == [uri]
    newest, missing = "s3://versions/a.jpg", "s3://versions/a.jpg?versionId=none"
    # Named one by one or in a list, its version was unknown, and nothing noticed other bytes.
    told = await asyncio.to_thread(buckets.versions_of, [uri, newest, missing], at_store)
    assert set(told) == {uri, newest}
    assert told[uri] == found.versions[uri] and told[uri].version.endswith("-5")
    assert told[newest].version.endswith("-6")
    whole = "s3://odd/names/old.jpg?versionId=7.jpg"
    listed_all = await asyncio.to_thread(buckets.list_objects, "s3://odd/names", at_store)
    assert (await asyncio.to_thread(buckets.versions_of, [whole], at_store))[whole] == listed_all[whole]
    signed = await asyncio.to_thread(buckets.presign, [uri, "s3://versions/a.jpg"], at_store, valid_for=60)
    async with Loader(settings=at_store, memory=MemoryBudget(2**26)) as loader:
        assert await loader.load(uri, version=told[uri].version) == b"first"
        assert await loader.load(newest, version=told[newest].version) == b"second"
        with pytest.raises(errors.ImageChanged):
            await loader.load(newest, version=told[uri].version)
    contents = [(await asyncio.to_thread(requests.get, url, timeout=60)).content for url in signed]
    assert contents == [b"first", b"second"]


def test_links_are_signed_in_the_new_way_and_say_who_pays(at_store: Settings) -> None:
    """A7: SigV4 always, with the requester's consent to pay where it is set."""
    (url,) = buckets.presign(["s3://traps/night-10/b.jpg"], at_store, valid_for=60)
    assert "X-Amz-Signature=" in url and "payer" not in url
    (url,) = buckets.presign(
        ["s3://traps/night-10/b.jpg"], at_store.model_copy(update={"s3_requester_pays": True}), valid_for=60
    )
    assert "x-amz-request-payer=requester" in url


def test_a_long_pattern_is_no_burden() -> None:
    deep = patterns.Pattern("**/a/" * 40)
    assert not patterns.matches(deep, ["a"] * 200 + ["b"])
    assert patterns.matches(deep, ["a"] * 200)


def test_a_single_object_whatever_its_name(at_store: Settings) -> None:
    assert listed("s3://traps/single", at_store) == ["single"]
    assert listed("s3://traps/night-10/b.jpg", at_store) == ["night-10/b.jpg"]


@pytest.mark.long
def test_what_is_not_there(at_store: Settings) -> None:
    with pytest.raises(errors.InvalidSource, match="there is no bucket 'missing'"):
        listed("s3://missing/x", at_store)
    with pytest.raises(errors.InvalidSource, match="no images under s3://bare: 0 objects there"):
        listed("s3://bare", at_store)
    with pytest.raises(errors.InvalidSource, match=r"no images under s3://traps/night-3"):
        listed("s3://traps/night-3", at_store)
    with pytest.raises(errors.InvalidSource, match="names no bucket"):
        listed("s3://", at_store)
    with pytest.raises(errors.InvalidSource, match=r"s3://cards/v\.mp4 is a video"):
        listed("S3://cards/v.mp4", at_store)


def test_a_store_out_of_reach(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    nobody = settings.load(home=tmp_path, s3_endpoint_url=f"http://127.0.0.1:{free}")
    with pytest.raises(errors.Unavailable, match="s3://traps cannot be listed"):
        listed("s3://traps", nobody)


def test_empty_objects_are_left_out(at_store: Settings, endpoint: str) -> None:
    """A14: they were submitted, and failed one by one; empty files are left out and counted."""
    store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
    store.mkdir("holes")
    for key, body in (("a.jpg", b"x"), ("b.jpg", b""), ("c.jpg", b"")):
        store.call_s3("put_object", Bucket="holes", Key=key, Body=body)
    found = sources.gather(["s3://holes"], settings=at_store)
    assert [image.uri for image in found.images] == ["s3://holes/a.jpg"]
    assert sources.count_left_out(found.left_out) == {"empty": 2}


@pytest.mark.long
def test_junk_and_bad_keys_are_left_out(at_store: Settings) -> None:
    """A5, A6, A14: the same rule as for folders; one key with a control character refused a whole bucket."""
    found = sources.gather(["s3://cards"], settings=at_store)
    taken = [image.uri.removeprefix("s3://cards/") for image in found.images]
    assert taken == ["a.jpg", "n/b.jpg", f"n/{'x' * 900}/{'蛾' * 30}.jpg"]
    assert sources.count_left_out(found.left_out) == {"junk": 2, "hidden": 1, "unreadable": 1, "video": 1}
    assert {one.path for one in found.left_out if one.kind == "junk"} == {"s3://cards/n/@eaDir", "s3://cards/#recycle"}
    assert len(sources.gather(["s3://cards/n/@eaDir"], settings=at_store).images) == 2
