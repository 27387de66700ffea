"""The URI of one image, and locations that are refused."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.submission import locations
from antenna_orchestration.submission.locations import Locator
from tests.submission.pictures import empty


def locator(*, roots: list[Path] | None = None, private: bool = False) -> Locator:
    return Locator(roots=roots, allow_private_hosts=private)


@pytest.mark.parametrize(
    "name", ["plain.jpg", "with space.jpg", "Käfer-蛾.jpg", "50%.jpg", "a#b?c.jpg", "back\\slash.jpg"]
)
def test_a_path_survives_as_uri(tmp_path: Path, name: str) -> None:
    empty(tmp_path, name)
    uri, exists, *_ = locator().locate(str(tmp_path / name))
    assert exists
    assert uri.isascii()
    assert unquote(urlsplit(uri).path) == str(tmp_path.resolve() / name)
    assert locations.local_path(uri) == str(tmp_path.resolve() / name)
    assert locator().locate(uri)[:3] == (uri, True, 1)


def test_a_name_that_is_not_utf8_survives(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"moth-\xff.jpg")
    Path(os.fsdecode(path)).touch()
    uri, exists, *_ = locator().locate(os.fsdecode(path))
    assert exists
    assert uri.endswith("/moth-%FF.jpg")
    assert os.fsencode(locations.local_path(uri)) == os.path.realpath(path)


def test_links_keep_their_names(tmp_path: Path) -> None:
    """A3: the name says when and where, not what it leads to; two links to one file are two captures."""
    empty(tmp_path / "annex", "SHA256E-s1--01ba47.jpg")
    for name in ("2024-06-01_23-15-00.jpg", "2024-06-01_23-16-00.jpg"):
        (tmp_path / name).symlink_to(tmp_path / "annex" / "SHA256E-s1--01ba47.jpg")
        assert locator().locate(str(tmp_path / name))[:3] == (f"{tmp_path.as_uri()}/{name}", True, 1)
    (tmp_path / "pond").symlink_to(tmp_path / "annex")
    named = f"{tmp_path.as_uri()}/pond/SHA256E-s1--01ba47.jpg"
    assert locator().locate(str(tmp_path / "pond" / "SHA256E-s1--01ba47.jpg")).uri == named
    assert locator().locate("./pond//SHA256E-s1--01ba47.jpg", base=str(tmp_path)).uri == named


def test_slashes_at_the_beginning_are_one(tmp_path: Path) -> None:
    """POSIX keeps two, and the same photograph was another capture, whose insects counted twice."""
    empty(tmp_path, "a.jpg")
    bounded = locator(roots=[tmp_path])
    for slashes in ("/", "//", "///"):
        named = slashes + str(tmp_path / "a.jpg").lstrip("/")
        assert bounded.locate(named).uri == bounded.locate(f"file://{named}").uri == (tmp_path / "a.jpg").as_uri()
        assert locations.folder_uri(slashes + str(tmp_path).lstrip("/")) == tmp_path.as_uri()
    assert locator().locate("S3://traps/A.jpg").uri == "s3://traps/A.jpg"


def test_dots_after_a_link_mean_what_the_file_system_says(tmp_path: Path) -> None:
    empty(tmp_path / "far" / "deep", "x.jpg")
    empty(tmp_path / "far", "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    located = locator().locate(str(tmp_path / "link" / ".." / "a.jpg"))
    assert located[:3] == ((tmp_path / "far" / "a.jpg").as_uri(), True, 1)


def test_a_missing_file_is_located_but_does_not_exist(tmp_path: Path) -> None:
    assert locator().locate(str(tmp_path / "gone.jpg"))[:2] == ((tmp_path / "gone.jpg").as_uri(), False)
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    assert not locator().locate(str(tmp_path / "round.jpg")).exists


def test_roots_hold_after_symlinks_and_dots(tmp_path: Path) -> None:
    empty(tmp_path / "inside", "a.jpg")
    empty(tmp_path / "outside", "b.jpg")
    (tmp_path / "inside" / "b.jpg").symlink_to(tmp_path / "outside" / "b.jpg")
    (tmp_path / "inside" / "out").symlink_to(tmp_path / "outside")
    bounded = locator(roots=[tmp_path / "inside"])
    assert bounded.locate(str(tmp_path / "inside" / "a.jpg")).exists
    for way_out in ("b.jpg", "out/b.jpg", "../outside/b.jpg", "../inside-not/b.jpg"):
        with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS"):
            bounded.locate(str(tmp_path / "inside" / way_out))


def test_a_root_may_be_a_symlink(tmp_path: Path) -> None:
    empty(tmp_path / "data", "a.jpg")
    (tmp_path / "root").symlink_to(tmp_path / "data")
    assert locator(roots=[tmp_path / "root"]).locate(str(tmp_path / "data" / "a.jpg")).exists


def test_without_roots_no_local_file_passes(tmp_path: Path) -> None:
    empty(tmp_path, "a.jpg")
    with pytest.raises(errors.InvalidSource, match="not accepted here"):
        locator(roots=[]).locate(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST.", "traps.localhost", "127.0.0.1", "127.8.8.8", "127.1", "0x7f.1", "2130706433", "0",
        "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "[::1]", "[fe80::1%25eth0]", "[fd00::1]", "[::ffff:192.168.1.1]", "[64:ff9b::a00:1]", "[2002:7f00:1::]",
        "[::]", "user:secret@127.0.0.1:8080", "8.8.8.8@127.0.0.1", "8.8.8.8:80@127.1", "a@b@127.0.0.1",
        "127.0.0.1\\@8.8.8.8", "①②⑦.⓪.⓪.①", "[fec0::1]", "[::127.0.0.1]",
    ],
)  # fmt: skip
def test_private_hosts_are_refused_unless_allowed(host: str) -> None:
    url = f"http://{host}/a.jpg"
    with pytest.raises(errors.InvalidSource, match="private address"):
        locator().locate(url)
    assert locator(private=True).locate(url).uri == url


@pytest.mark.parametrize("host", ["example.org", "8.8.8.8", "[2606:4700::1111]", "1e100.net", "localhost.example.org"])
def test_public_hosts_pass(host: str) -> None:
    assert locator().locate(f"https://{host}:8443/a.jpg").exists


def test_each_host_is_looked_at_once_but_every_one_is() -> None:
    locate = locator().locate
    locate("http://example.org/a.jpg")
    locate("http://example.org/b.jpg")
    with pytest.raises(errors.InvalidSource):
        locate("http://example.org@127.0.0.1/a.jpg")
    with pytest.raises(errors.InvalidSource):
        locate("http://127.0.0.1?example.org/a.jpg")


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("ftp://example.org/a.jpg", "ftp:// is not supported"),
        ("gs://bucket/a.jpg", "gs:// is not supported"),
        ("s3://bucket", "names no object"),
        ("s3://bucket/folder/", "names no object"),
        ("s3:///a.jpg", "names no object"),
        ("http://", "names no host"),
        ("http:///a.jpg", "names no host"),
        ("http://example.org:http/a.jpg", "is not a valid URL"),
        ("http://[::1/a.jpg", "is not a valid URL"),
        ("http://example.org/a\nb.jpg", "control characters"),
        ("http://example.org/" + "a" * 2_000, "longer than 2000 bytes"),
        ("file://elsewhere/a.jpg", "another host"),
        ("a\0b.jpg", "is not a valid path"),
        ("/", "is a folder"),
        (".", "is a folder"),
    ],
)
def test_refusals_say_why(location: str, message: str) -> None:
    with pytest.raises(errors.InvalidSource, match=message):
        locator().locate(location)


def test_source_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTENNA_HOST_ID", "lab")
    uris = ["file:///a.jpg", "s3://traps/x/a.jpg", "s3://traps/y/b.jpg", "s3://other/c.jpg", "https://example.org/a.jpg",
            "http://example.org/b.jpg", "file:///c.jpg"]  # fmt: skip
    assert locations.source_kinds(uris, settings.load(home=tmp_path)) == ("file:lab", "http", "s3:other", "s3:traps")
    own = settings.load(home=tmp_path, s3_endpoint_url="https://minio.example.org:9000")
    assert locations.source_kinds(uris[1:3], own) == ("s3:minio.example.org:9000/traps",)
    assert locations.source_kinds([], own) == ()
