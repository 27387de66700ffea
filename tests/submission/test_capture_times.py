"""Capture times: from the list, else from the file name, else from EXIF data."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.submission import capture_times
from tests.submission.pictures import taken_at


def fill(*images: SubmittedImage, exif: capture_times.ExifMode = "auto") -> list[datetime | None]:
    return [image.captured_at for image in capture_times.fill(images, exif=exif)[0]]


def image(url: str, captured_at: datetime | None = None) -> SubmittedImage:
    return SubmittedImage(url, captured_at, None)


JUNE = datetime(2024, 6, 1, 23, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "url",
    [
        "file:///traps/20240601231500-snapshot.jpg",
        "file:///traps/2024-06-01%2023-15-00.jpg",
        "https://example.org/x/trap_2024-06-01_231500.jpg?size=full",
        "s3://traps/20240601231500/20240601231500 50%25.jpg",
    ],
)
def test_from_the_name(url: str) -> None:
    assert fill(image(url)) == [JUNE]


def test_the_list_wins_over_name_and_camera(tmp_path: Path) -> None:
    path = taken_at(tmp_path / "20200101000000.jpg", "2021:01:01 00:00:00")
    assert fill(image(path.as_uri(), JUNE)) == [JUNE]
    assert fill(image(path.as_uri())) == [datetime(2020, 1, 1, tzinfo=UTC)]


def test_from_exif_with_and_without_zone(tmp_path: Path) -> None:
    naive = taken_at(tmp_path / "Käfer 1.jpg", "2024:06:01 23:15:00")
    zoned = taken_at(tmp_path / "b.jpg", "2024:06:02 01:15:00", offset="+02:00")
    assert fill(image(naive.as_uri()), image(zoned.as_uri())) == [JUNE, JUNE]


def test_exif_adds_the_zone_to_a_names_time(tmp_path: Path) -> None:
    """A4: the zone wins over the same local time in a name; of many files it is only said that there are zones."""
    path = taken_at(tmp_path / "2024-06-02_01-15-00.jpg", "2024:06:02 01:15:00", offset="+02:00")
    assert fill(image(path.as_uri())) == [JUNE]
    many = [image(path.as_uri())] * (capture_times.EXIF_AUTO + 1)
    times, warnings = capture_times.fill(many, exif="auto")
    assert times[0].captured_at == datetime(2024, 6, 2, 1, 15, tzinfo=UTC)
    assert len(warnings) == 1
    assert "EXIF data say which" in warnings[0]
    assert capture_times.fill(many[:3], exif="never") == ([times[0]] * 3, [])


def test_what_has_no_time_has_none(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    urls = [(tmp_path / name).as_uri() for name in ("text.jpg", "empty.jpg", "gone.jpg")]
    urls += [tmp_path.as_uri(), "https://example.org/1.jpg", "s3://traps/1.jpg"]
    assert fill(*(image(url) for url in urls)) == [None] * len(urls)


def test_never_opens_no_file(tmp_path: Path) -> None:
    path = taken_at(tmp_path / "a.jpg", "2024:06:01 23:15:00")
    assert fill(image(path.as_uri()), exif="never") == [None]


def test_too_many_files_are_opened_only_on_request(tmp_path: Path) -> None:
    path = taken_at(tmp_path / "a.jpg", "2024:06:01 23:15:00")
    many = [image(path.as_uri()), *(image(f"file:///gone/{n}.jpg") for n in range(capture_times.EXIF_AUTO))]
    times, warnings = capture_times.fill(many, exif="auto")
    assert times[0].captured_at is None
    assert "2001 images were not read from their EXIF data" in warnings[0]
    assert fill(*many, exif="always")[0] == JUNE
