"""How folders, patterns, files and lists become images."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.pipelines import file_kinds
from antenna_orchestration.submission import kinds, sources
from antenna_orchestration.submission.locations import local_path
from antenna_orchestration.submission.sources import Gathered
from tests.submission.pictures import empty


def gather(*named: str | Path, **options: Any) -> Gathered:
    given = options.pop("settings", None) or settings.load(home=Path("/nowhere"))
    return sources.gather([str(one) for one in named], settings=given, **options)


def names(gathered: Gathered, folder: Path) -> list[str]:
    """Paths relative to a folder; URLs stay as they are."""
    root = str(folder.resolve()) + "/"
    urls = (image.uri for image in gathered.images)
    return [local_path(url).removeprefix(root) if url.startswith("file:") else url for url in urls]


def test_a_folder_is_searched_in_natural_order(tmp_path: Path) -> None:
    empty(tmp_path, "trap2/b.jpg", "trap10/a.JPEG", "trap2/deep er/x.Png", "trap2/a10.jpg", "trap2/a9.jpg", "z.WEBP",
          "Käfer 蛾.tiff", "z.bmp", "z.tif", "notes.txt", "raw.x3f", ".hidden.jpg", ".thumbs/a.jpg",
          "trap2/._a.jpg")  # fmt: skip
    assert names(gather(tmp_path), tmp_path) == [
        "Käfer 蛾.tiff", "trap2/a9.jpg", "trap2/a10.jpg", "trap2/b.jpg", "trap2/deep er/x.Png", "trap10/a.JPEG",
        "z.bmp", "z.tif", "z.WEBP",
    ]  # fmt: skip


def test_symlinked_folders_are_followed_once(tmp_path: Path) -> None:
    empty(tmp_path / "disk", "a.jpg")
    empty(tmp_path / "traps", "b.jpg")
    (tmp_path / "traps" / "more").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "traps")
    assert sorted(names(gather(tmp_path / "traps"), tmp_path)) == ["traps/b.jpg", "traps/more/a.jpg"]


def test_one_empty_folder_of_several_is_a_warning(tmp_path: Path) -> None:
    empty(tmp_path / "full", "a.jpg")
    empty(tmp_path / "bare", "readme.md")
    found = gather(tmp_path / "full", tmp_path / "bare")
    assert len(found.images) == 1
    (warning,) = found.warnings
    assert warning.startswith(f"no images in {tmp_path}/bare or below it (looked for jpg, jpeg, png, tif,")


def test_nothing_anywhere_is_refused(tmp_path: Path) -> None:
    empty(tmp_path, "readme.md")
    with pytest.raises(errors.InvalidSource, match=r"no images in .* \(looked for jpg, jpeg, png"):
        gather(tmp_path)
    with pytest.raises(errors.InvalidSource, match="no images match"):
        gather(tmp_path / "*.jpg")
    with pytest.raises(errors.InvalidSource, match="no images: name a folder"):
        gather()


def test_patterns(tmp_path: Path) -> None:
    empty(tmp_path, "n1/a10.jpg", "n1/a9.jpg", "n1/notes.md", "n2/b.jpg", "n2/deep/c.jpg", ".n3/d.jpg")
    assert names(gather(tmp_path / "n1/*"), tmp_path) == ["n1/a9.jpg", "n1/a10.jpg"]
    assert names(gather(tmp_path / "n[12]"), tmp_path) == ["n1/a9.jpg", "n1/a10.jpg", "n2/b.jpg", "n2/deep/c.jpg"]
    assert names(gather(tmp_path / "**/?.jpg"), tmp_path) == ["n2/b.jpg", "n2/deep/c.jpg"]
    found = gather(tmp_path / "**")
    assert (len(found.images), found.duplicates) == (4, 0)


def test_a_name_with_brackets_is_a_name_first(tmp_path: Path) -> None:
    empty(tmp_path / "night [1]", "a.jpg")
    assert names(gather(tmp_path / "night [1]"), tmp_path) == ["night [1]/a.jpg"]


def test_single_files_and_urls(tmp_path: Path) -> None:
    empty(tmp_path, "a.jpg")
    url = "https://example.org/image?id=7"
    assert names(gather(tmp_path / "a.jpg", url, (tmp_path / "a.jpg").as_uri()), tmp_path) == ["a.jpg", url]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing", "there is no file or folder"),
        ("a.docx", "neither an image .* nor a list"),
        ("gs://bucket/a.jpg", "gs:// is not supported"),
        ("https://example.org/list.csv", "lists are read from local files"),
        ("https://example.org/night.mp4", "is a video; .*ffmpeg"),
        ("http://169.254.169.254/latest", "private address"),
    ],
)
def test_bad_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str) -> None:
    monkeypatch.chdir(empty(tmp_path, "a.docx"))
    with pytest.raises(errors.InvalidSource, match=message):
        gather(source)


def test_repetitions_are_merged_and_complete_each_other(tmp_path: Path) -> None:
    empty(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "list.csv").write_text("path,captured_at,deployment\na.jpg,2024-06-01T00:00:00,\na.jpg,,north\n")
    found = gather(tmp_path, tmp_path / "list.csv", tmp_path / "b.jpg", deployment="south")
    assert found.duplicates == 3
    assert [(image.captured_at, image.deployment) for image in found.images] == [
        (datetime(2024, 6, 1, tzinfo=UTC), "north"),
        (None, "south"),
    ]


def test_text_list(tmp_path: Path) -> None:
    empty(tmp_path / "lists", "a b.jpg")
    empty(tmp_path / "data", "Käfer.jpg")
    listed = tmp_path / "lists" / "night.txt"
    listed.write_text(
        "\ufeff# traps of June\r\n\r\n  a b.jpg \r\n../data/Käfer.jpg\ns3://traps/x.jpg\n"
        "https://example.org/1\na b.jpg\n",
        encoding="utf-8",
    )
    found = gather(listed)
    expected = ["lists/a b.jpg", "data/Käfer.jpg", "s3://traps/x.jpg", "https://example.org/1"]
    assert (names(found, tmp_path), found.duplicates, found.warnings) == (expected, 1, [])


@pytest.mark.parametrize("column", ["url", "URI", "Path", "file", " image "])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_list(tmp_path: Path, column: str, delimiter: str) -> None:
    rows = [["site", column, "Captured_At", "deployment"],
            ["x", '"https://example.org/a,b;c.jpg"', "2024-06-01T23:15:00+02:00", "Hilltop, north"],
            ["", "", "", ""],
            ["x", "https://example.org/d.jpg", "2024-06-01 23:15", ""],
            ["x", "https://example.org/e.jpg"]]  # fmt: skip
    rows[1][3] = '"Hilltop, north"'
    (tmp_path / "list.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    stamp = datetime(2024, 6, 1, 23, 15)
    utc = stamp.replace(tzinfo=UTC)
    assert gather(tmp_path / "list.csv").images == [
        SubmittedImage(
            "https://example.org/a,b;c.jpg", utc - timedelta(hours=2), "Hilltop, north", stamp=stamp, stamp_offset=120
        ),
        SubmittedImage("https://example.org/d.jpg", utc, None, stamp=stamp),
        SubmittedImage("https://example.org/e.jpg", None, None),
    ]


@pytest.mark.parametrize("zone", [None, "Europe/Copenhagen"])
@pytest.mark.parametrize("kind", ["times", "text"])
def test_parquet_list(tmp_path: Path, zone: str | None, kind: str) -> None:
    times = pd.Series(pd.to_datetime(["2024-06-01 23:15:00", None, "2024-06-02 00:00:00"]).tz_localize(zone))
    if kind == "text":
        times = pd.Series([None if pd.isna(time) else time.isoformat() for time in times])
    urls = [f"s3://traps/{name}.jpg" for name in "abc"]
    frame = pd.DataFrame(
        {"URL": urls, "captured_at": times, "deployment": ["north", None, "south"], "other": [1, 2, 3]}
    )
    frame.to_parquet(tmp_path / "list.parquet")
    offset = None if zone is None else 120
    first, last = datetime(2024, 6, 1, 23, 15), datetime(2024, 6, 2)
    utc = [(time - timedelta(minutes=offset or 0)).replace(tzinfo=UTC) for time in (first, last)]
    assert gather(tmp_path / "list.parquet").images == [
        SubmittedImage(urls[0], utc[0], "north", stamp=first, stamp_offset=offset),
        SubmittedImage(urls[1], None, None),
        SubmittedImage(urls[2], utc[1], "south", stamp=last, stamp_offset=offset),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.csv", b"name,size\na.jpg,1\n", r"no column url, uri, path, file or image; its columns: name, size"),
        ("l.csv", b"", r"has no column .* its columns: none"),
        ("l.csv", b"url\nhttps://example.org/a\n\nftp://example.org/b\n", r"l\.csv, line 4: ftp://.* is not supported"),
        ("l.csv", b"n,url\n1,\n2,NA\n", r"l\.csv, line 2: no location"),
        ("l.csv", b"url,captured_at\nhttps://example.org/a,yesterday\n", r"line 2: captured_at 'yesterday' is no"),
        ("l.csv", b'url\n"https://example.org/a\n', r"l\.csv, line 2: unexpected end of data"),
        ("l.txt", b"https://example.org/a\nhttps://example.org/\xff\n", r"l\.txt, line 2: not UTF-8 text"),
        ("l.txt", b"\x00\x01\n", r"l\.txt, line 1: .* is not a valid path"),
        ("l.txt", b"# nothing\n\n", r"l\.txt names no images"),
        ("l.txt", b".\n/\n", r"l\.txt, line 1: .* is a folder"),
        ("l.txt", b"gone-1.jpg\ngone-2.jpg\n", r"none of the 2 files named .*l\.txt exists .* gone-1\.jpg, .*line 1"),
        ("l.txt", b"http://10.0.0.1/a.jpg\n", r"l\.txt, line 1: .* private address"),
        ("l.parquet", b"not parquet", r"l\.parquet cannot be read as Parquet"),
    ],
)  # fmt: skip
def test_bad_lists_are_refused_with_their_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InvalidSource, match=message):
        gather(tmp_path / name)


def test_bad_parquet_rows(tmp_path: Path) -> None:
    path = tmp_path / "l.parquet"
    pd.DataFrame({"n": [1]}).to_parquet(path)
    with pytest.raises(errors.InvalidSource, match="has no column"):
        gather(path)
    pd.DataFrame({"url": [None, None]}, dtype="string").to_parquet(path)
    with pytest.raises(errors.InvalidSource, match=r"row 1: no location"):
        gather(path)
    pd.DataFrame({"url": ["https://example.org/a"], "captured_at": ["soon"]}).to_parquet(path)
    with pytest.raises(errors.InvalidSource, match=r"row 1: captured_at 'soon'"):
        gather(path)


def test_some_missing_files_of_a_list_are_a_warning(tmp_path: Path) -> None:
    empty(tmp_path, "a.jpg")
    (tmp_path / "l.txt").write_text("a.jpg\ngone.jpg\n")
    found = gather(tmp_path / "l.txt")
    assert names(found, tmp_path) == ["a.jpg", "gone.jpg"]
    assert found.warnings == [
        f"1 of 2 files named in {tmp_path}/l.txt does not exist; the first: gone.jpg, {tmp_path}/l.txt, line 2"
    ]


def test_image_roots(tmp_path: Path) -> None:
    inside, outside = empty(tmp_path / "in", "a.jpg"), empty(tmp_path / "out", "b.jpg")
    bounded = settings.load(home=tmp_path / "home", image_roots=(inside,))
    assert len(gather(inside, settings=bounded).images) == 1
    for source in (outside, outside / "b.jpg", outside / "*.jpg"):
        with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS"):
            gather(source, settings=bounded)
    (inside / "l.txt").write_text("a.jpg\n../out/b.jpg\n")
    with pytest.raises(errors.InvalidSource, match=r"l\.txt, line 2: .* outside ANTENNA_IMAGE_ROOTS"):
        gather(inside / "l.txt", settings=bounded)
    # The argument overrides the setting, in both directions.
    assert len(gather(outside, settings=bounded, allowed_roots=[outside]).images) == 1
    with pytest.raises(errors.InvalidSource, match="not accepted here"):
        gather(inside, settings=bounded, allowed_roots=[])


def test_nothing_beyond_the_roots_is_looked_at(tmp_path: Path) -> None:
    """The error reveals neither what a list says nor whether a file exists."""
    inside, outside = empty(tmp_path / "in", "a.jpg"), empty(tmp_path / "out", "b.jpg")
    (outside / "secrets.txt").write_text("the password is swordfish\n")
    (inside / "link.txt").symlink_to(outside / "secrets.txt")
    for source in ("secrets.txt", "missing.txt", "*.txt", "missing", "", "../in/../out/secrets.txt", "s[e]crets.txt"):
        named = f"{outside}/{source}"
        with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS") as caught:
            gather(named, allowed_roots=[inside])
        assert str(caught.value) == f"{named} lies outside ANTENNA_IMAGE_ROOTS ({inside})"
    with pytest.raises(errors.InvalidSource, match=r"link\.txt lies outside ANTENNA_IMAGE_ROOTS"):
        gather(inside / "link.txt", allowed_roots=[inside])
    (inside / "far.jpg").symlink_to(outside / "b.jpg")
    (inside / "deep").symlink_to(outside)
    for name in ("far.jpg", "deep", "deep/b.jpg", "f?r.jpg"):
        with pytest.raises(errors.InvalidSource) as caught:
            gather(inside / name, allowed_roots=[inside])
        # Low: the error named the folder that a link leads to.
        assert str(outside) not in str(caught.value)
    with pytest.raises(errors.InvalidSource, match=r"no \.\. after a pattern"):
        gather(f"{inside}/*/../../out/*.txt", allowed_roots=[inside])
    for odd in (f"{inside}/\0", "~a\0b", f"{inside}/\ud800", "~nobody-of-that-name/x"):
        with pytest.raises(errors.InvalidSource):
            gather(odd, allowed_roots=[inside])


def test_bucket_roots(tmp_path: Path) -> None:
    """A caller over HTTP cannot use the deployment's credentials for other buckets."""
    mine = ["s3://traps/mine"]
    inside = [SubmittedImage("s3://traps/mine/a.jpg", None, None)]
    assert len(gather(images=inside, allowed_buckets=mine).images) == 1
    (tmp_path / "l.txt").write_text("s3://lake/part.jpg\n")
    for source in (
        "s3://lake", "s3://traps", "s3://traps/mine2", "s3://traps/m*", "s3://traps/*/a.jpg", "s3://traps/mine/../b",
        "s3://traps/mine*", "S3://traps/mine2", tmp_path / "l.txt",
    ):  # fmt: skip
        with pytest.raises(errors.InvalidSource, match="lies outside s3://traps/mine/"):
            gather(source, allowed_buckets=mine)
    for url in ("s3://traps/theirs/a.jpg", "s3://traps/mine/../theirs/a.jpg", "s3://traps/mine2/a.jpg"):
        with pytest.raises(errors.InvalidSource, match="lies outside"):
            gather(images=[SubmittedImage(url, None, None)], allowed_buckets=mine)
    with pytest.raises(errors.InvalidSource, match="not accepted here"):
        gather(images=inside, allowed_buckets=[])


def test_images_named_one_by_one(tmp_path: Path) -> None:
    empty(tmp_path, "a.jpg")
    naive = datetime(2024, 6, 1)
    images = [
        SubmittedImage(str(tmp_path / "a.jpg"), naive, "north"),
        SubmittedImage("https://example.org/b", None, None),
    ]
    found = gather(images=images)
    assert names(found, tmp_path) == ["a.jpg", "https://example.org/b"]
    assert found.images[0].captured_at == naive.replace(tzinfo=UTC)
    with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS"):
        gather(images=images, allowed_roots=[tmp_path / "elsewhere"])


def test_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(empty(tmp_path, "n1/a.jpg", "list.txt"))
    named = ["n1", "n1/a.jpg", "list.txt", "n1/*.jpg", "n?/**/*.jpg", "*.jpg", "s3://b/x", "https://example.org/",
             (tmp_path / "n1").as_uri()]  # fmt: skip
    expected = ["n1", "n1", "", "n1", "", "", "n1"]
    assert [folder.resolve() for folder in sources.own_folders(named)] == [tmp_path.resolve() / one for one in expected]


def test_one_bad_entry_does_not_refuse_a_disk(tmp_path: Path) -> None:
    """A5: a link to itself, a link to nothing, a long path in CJK letters, a pipe; an unreadable folder is below."""
    empty(tmp_path, "night/a.jpg")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    (tmp_path / "night" / "gone.jpg").symlink_to(tmp_path / "annex")
    os.mkfifo(tmp_path / "night" / "pipe.jpg")
    (tmp_path / "night" / "full.jpg").touch()
    deep = tmp_path / ("蛾" * 80) / ("蛾" * 80) / ("蛾" * 80)
    empty(deep, "b.jpg")
    found = gather(tmp_path)
    assert names(found, tmp_path) == ["night/a.jpg"]
    assert sources.count_left_out(found.left_out) == {"unreadable": 4, "empty": 1}
    assert {one.why.split("; ")[0] for one in found.left_out if Path(one.path).name == "gone.jpg"} == {
        "a link that leads to no file"
    }
    with pytest.raises(errors.InvalidSource, match=r"no images in .*left out: 1 unreadable"):
        gather(deep)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_of_another_user_is_left_out(tmp_path: Path) -> None:
    """A5: `lost+found` and its kind; only the folder that was named must be readable."""
    empty(tmp_path, "a.jpg", "theirs/b.jpg")
    (tmp_path / "theirs").chmod(0)
    try:
        found = gather(tmp_path)
        assert (names(found, tmp_path), [one.kind for one in found.left_out]) == (["a.jpg"], ["unreadable"])
        with pytest.raises(errors.InvalidSource, match="theirs cannot be read: Permission denied"):
            gather(tmp_path / "theirs")
    finally:
        (tmp_path / "theirs").chmod(0o755)


def test_junk_folders_are_left_out_and_counted_once(tmp_path: Path) -> None:
    """A6: thumbnails and deleted photographs of NAS systems, Windows and macOS."""
    empty(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "@eaDir/b.jpg", "#recycle/old.jpg",
          "$RECYCLE.BIN/x.jpg", "System Volume Information/y.jpg", ".Trashes/z.jpg", "n1/c.jpg",
          "n1/@eaDir/c.jpg")  # fmt: skip
    found = gather(tmp_path)
    assert names(found, tmp_path) == ["a.jpg", "n1/c.jpg"]
    assert sources.count_left_out(found.left_out) == {"junk": 6}
    for pattern in ("*", "**/*.jpg", "*/*.jpg"):
        assert "n1/c.jpg" in names(gather(tmp_path / pattern), tmp_path)
        assert not [name for name in names(gather(tmp_path / pattern), tmp_path) if "@" in name or "#" in name]
    assert names(gather(tmp_path / "*/@eaDir/*.jpg"), tmp_path) == ["n1/@eaDir/c.jpg"]
    assert len(gather(tmp_path / "@eaDir").images) == 2


def test_what_is_left_out_is_kept_by_kind(tmp_path: Path) -> None:
    """A14: videos, HEIC, raw, hidden and other files; AVIF and CRW are never read, whatever is installed."""
    empty(tmp_path, "a.jpg", "1.MP4", "2.avi", "3.avif", "4.CRW", ".DS_Store", "notes.txt", ".thumbs/t.jpg")
    found = gather(tmp_path, tmp_path)
    assert kinds.summary(sources.count_left_out(found.left_out)) == "2 videos, 1 heic, 1 raw, 2 hidden, 1 other file"
    empty(tmp_path / "phone", "1.avif", "2.avif")
    with pytest.raises(errors.InvalidSource, match=r"no images in .*; left out: 2 heic") as refused:
        gather(tmp_path / "phone")
    # The advice was to install what was installed.
    assert ("pip install pillow-heif" in str(refused.value)) is not file_kinds.reads_heic()
    assert "heif-convert photo." in str(refused.value)


def test_links_are_captures_of_their_own(tmp_path: Path) -> None:
    """A3: git-annex and DVC keep the bytes under a hash; the names that people gave stay."""
    annex = empty(tmp_path / ".git" / "annex", "SHA256E--1.jpg")
    traps = empty(tmp_path / "traps")
    for name in ("2024-06-01_23-15-00.jpg", "2024-06-01_23-16-00.jpg"):
        (traps / name).symlink_to(annex / "SHA256E--1.jpg")
    assert names(gather(traps), traps) == ["2024-06-01_23-15-00.jpg", "2024-06-01_23-16-00.jpg"]
    (traps / "out.jpg").symlink_to(empty(tmp_path / "out", "b.jpg") / "b.jpg")
    with pytest.raises(errors.InvalidSource, match="outside ANTENNA_IMAGE_ROOTS"):
        gather(traps, allowed_roots=[traps, annex])


def test_spaces_percent_signs_and_a_share_that_cannot_be_written(tmp_path: Path) -> None:
    """Point 5: paths as people have them; nothing is written beside the photographs."""
    share = empty(tmp_path / "50% of NAS #1?" / "night one", "a b%20c.jpg", "käfer.jpg")
    share.chmod(0o555)
    try:
        assert names(gather(share), share) == ["a b%20c.jpg", "käfer.jpg"]
        assert names(gather(f"{share}/a*.jpg"), share) == ["a b%20c.jpg"]
    finally:
        share.chmod(0o755)


def test_progress_is_told_after_each_image(tmp_path: Path) -> None:
    told: list[int] = []
    gather(empty(tmp_path, "a.jpg", "b.jpg"), progress=told.append)
    assert told == [1, 2]


@pytest.mark.parametrize("slow", [0.0, 60.0])
def test_a_slow_share_gives_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: float) -> None:
    """Point 5: from some time a look on, many files are looked at together; each has its place and its reason."""
    monkeypatch.setattr(sources, "SLOW_LOOK", slow)
    empty(tmp_path, *(f"{night}/{number}.jpg" for night in range(3) for number in range(200)))
    (tmp_path / "2" / "199.jpg").write_bytes(b"")
    found = gather(tmp_path)
    assert names(found, tmp_path) == [f"{n // 200}/{n % 200}.jpg" for n in range(599)]
    assert [one.kind for one in found.left_out] == ["empty"]
