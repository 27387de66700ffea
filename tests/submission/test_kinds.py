"""A6, A14: what is left out of folders and buckets, by its name alone."""

import pytest

from antenna_orchestration.pipelines import file_kinds
from antenna_orchestration.submission import kinds
from antenna_orchestration.submission.kinds import Kind


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("night/a.jpg", None),
        ("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", (Kind.JUNK, "@eaDir")),
        ("night/@eaDir/a.jpg", (Kind.JUNK, "night/@eaDir")),
        ("#recycle/night/a.jpg", (Kind.JUNK, "#recycle")),
        ("$Recycle.Bin/S-1-5/$RA.jpg", (Kind.JUNK, "$Recycle.Bin")),
        ("System Volume Information/x.jpg", (Kind.JUNK, "System Volume Information")),
        (".Trashes/501/a.jpg", (Kind.JUNK, ".Trashes")),
        ("lost+found/a.jpg", (Kind.JUNK, "lost+found")),
        ("__MACOSX/._a.jpg", (Kind.JUNK, "__MACOSX")),
        (".thumbnails/a.jpg", (Kind.HIDDEN, ".thumbnails")),
        ("night/._a.jpg", (Kind.HIDDEN, "night/._a.jpg")),
        ("recycle/eaDir/a.jpg", None),
    ],
)
def test_junk_and_hidden_folders(path: str, expected: tuple[Kind, str] | None) -> None:
    """A6: thumbnails and deleted photographs of NAS systems, Windows and macOS."""
    assert kinds.first_left_out(path) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.MP4", Kind.VIDEO), ("a.avi", Kind.VIDEO), ("IMG_1.HEIC", Kind.HEIC), ("a.hif", Kind.HEIC),
        ("DSC_1.NEF", Kind.RAW), ("a.cr3", Kind.RAW), ("a.dng", Kind.RAW), ("notes.txt", Kind.OTHER),
        ("LICENSE", Kind.OTHER), ("archive.jpg.zip", Kind.OTHER),
    ],
)  # fmt: skip
def test_kinds_of_files_that_are_no_images(name: str, kind: Kind) -> None:
    """A14: each is counted by its kind."""
    # HEIC and common raw files are images where the libraries that read them are installed.
    assert kinds.is_image(name) == (kinds.suffix_of(name) in file_kinds.extra_suffixes())
    assert kinds.kind_of_file(name) is kind


def test_the_summary_is_one_line() -> None:
    counts = {Kind.RAW: 3, Kind.VIDEO: 2, Kind.HEIC: 1, Kind.JUNK: 1, Kind.HIDDEN: 0}
    assert kinds.summary(counts) == "2 videos, 1 heic, 3 raw, 1 junk folder"
    assert kinds.summary({}) == ""


def test_junk_that_was_named_is_none() -> None:
    assert kinds.first_junk("n1/@eaDir/a.jpg") == "n1/@eaDir"
    assert kinds.first_junk("n1/@eaDir/a.jpg", named=["*", "@eaDir", "*.jpg"]) is None


@pytest.mark.parametrize("head", [b"root:x:0:0:root:", b"", b"\xff\xd8", b"RIFF1234AVI "])
def test_what_does_not_begin_like_an_image(head: bytes) -> None:
    assert not kinds.begins_like_an_image(head)
