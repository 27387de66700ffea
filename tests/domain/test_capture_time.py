"""A4: when a photograph was taken, from names and EXIF data as cameras and programs write them."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from antenna_orchestration.domain import capture_time
from antenna_orchestration.domain.capture_time import Taken

EVENING = "2025-09-14T20:53:06"
WEST = timezone(-timedelta(hours=3, minutes=30))


def zone(hours: float) -> timezone:
    return timezone(timedelta(hours=hours))


NAMES = [
    # Moth traps: Mothbox, AMI (motion), motionEye, UKCEH.
    ("pond_2025_09_14__20_53_06_HDR0.jpg", EVENING),
    ("01-20250914205306-snapshot.jpg", EVENING),
    ("20250914205306-00-16.jpg", EVENING),
    ("2025-09-14/20-53-06.jpg", EVENING),
    ("s3://traps/2025-09-14/20-53-06-01.jpg", EVENING),
    ("trap 7/20250914/205306.jpg", EVENING),
    ("20250914205306-0016.jpg", EVENING),
    # camtrapR, exiftool and Timelapse rename files to these.
    ("StationA__2025-09-14__20-53-06(1).JPG", EVENING),
    ("StationA__CamB__2025-09-14__20-53-06(12).JPG", EVENING),
    ("2025-09-14_20-53-06.png", EVENING),
    ("2025-09-14 20-53-06 DSCF0001.JPG", EVENING),
    ("20250914_205306_DSC0012.jpg", EVENING),
    ("2025-09-14T20_53_06.jpg", EVENING),
    ("2025.09.14 20.53.06.jpg", EVENING),
    ("20250914T205306.jpg", EVENING),
    # Telephones, computers, messengers.
    ("2025-09-14 at 20.53.06.jpg", EVENING),
    ("WhatsApp Image 2025-09-14 at 20.53.06.jpeg", EVENING),
    ("WhatsApp Image 2025-09-14 at 8.53.06 PM (2).jpeg", EVENING),
    ("Screenshot 2025-09-14 at 8.53.06\u202fPM.png", EVENING),
    ("2025-09-14 08-53-06PM.jpg", EVENING),
    ("2025-09-14 8.53.06 a.m..jpg", "2025-09-14T08:53:06"),
    ("2025-09-14 12.05.06 AM.jpg", "2025-09-14T00:05:06"),
    ("2025-09-14 12.05.06 PM.jpg", "2025-09-14T12:05:06"),
    ("IMG_20250914_205306.jpg", EVENING),
    ("IMG_20250914_205306123.jpg", "2025-09-14T20:53:06.123"),
    ("Screenshot_2025-09-14-20-53-06-33.jpg", EVENING),
    ("DJI_20250914205306_0001_V.JPG", EVENING),
    # Network cameras: Reolink, Hikvision; Python's %f.
    ("Camera1_00_20250914205306.jpg", EVENING),
    ("192.168.1.64_01_20250914205306123_MOTION.jpg", "2025-09-14T20:53:06.123"),
    ("2025-09-14 20:53:06.123456.jpg", "2025-09-14T20:53:06.123456"),
    ("2025-09-14_20h53m06.jpg", EVENING),
    # Twelve digits.
    ("250914205306.jpg", EVENING),
    ("CAM1_250914205306_2.jpg", EVENING),
    ("250914_205306.jpg", EVENING),
    # Zones.
    ("2025-09-14T20:53:06Z.jpg", f"{EVENING}+00:00"),
    ("20250914T205306+0200.jpg", f"{EVENING}+02:00"),
    ("2025-09-14T20-53-06-05:00.jpg", f"{EVENING}-05:00"),
    # Only the last part of a path, without a query; what stands in the way of a stamp.
    ("s3://bucket/20200101000000/trap7_20250914205306.jpg", EVENING),
    ("https://host/20250914205306.jpg?until=20300101000000", EVENING),
    ("C:\\traps\\20200101000000\\20250914205306.jpg", EVENING),
    ("why? #1 20250914205306.jpg", EVENING),
    ("20250314285306-20250914205306.jpg", EVENING),
    ("20240229120000.jpg", "2024-02-29T12:00:00"),
]  # fmt: skip

NOT_NAMES = [
    "", "DSC_0390.JPG", "20250914.jpg", "IMG-20250914-WA0001.jpg", "20230229120000.jpg", "20250914250000.jpg",
    "120250914205306.jpg", "2025091420530600.jpg",
    # Serial numbers, and twelve digits that are two different times.
    "259914205306.jpg", "201012102053.jpg", "20250914/IMG_205306.jpg", "12/20-53-06.jpg", "RCNX0001.JPG",
    "MFDC0123.JPG", "09140001.JPG", "https://host/a?t=20250914205306", "14-09-2025 20-53-06.jpg",
]  # fmt: skip


def written(taken: Taken | None) -> str | None:
    if taken is None:
        return None
    return taken.local.replace(tzinfo=taken.zone).isoformat().replace("123000", "123")


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_stamps_in_names(name: str, expected: str) -> None:
    """A4: each row is a shape that a camera or a program writes, with its time."""
    assert written(capture_time.from_name(name)) == expected


@pytest.mark.parametrize("name", NOT_NAMES)
def test_names_without_a_stamp(name: str) -> None:
    """A4: days only, serial numbers, and what could be two times."""
    assert capture_time.from_name(name) is None


TAKEN, DIGITIZED, WRITTEN = 0x9003, 0x9004, 0x0132
TAG_ROWS: list[tuple[dict[int, Any], str | None]] = [
    ({TAKEN: "2025:09:14 20:53:06"}, EVENING),
    ({TAKEN: b"2025:09:14 20:53:06\0junk"}, EVENING),
    # Only one of the other two times, and the order of all.
    ({WRITTEN: "2025:09:14 20:53:06"}, EVENING),
    ({DIGITIZED: "2025:09:14 20:53:06"}, EVENING),
    ({TAKEN: "2025:09:14 20:53:06", DIGITIZED: "2026:01:01 00:00:00", WRITTEN: "2026:01:01 00:00:00"}, EVENING),
    ({TAKEN: "0000:00:00 00:00:00", DIGITIZED: "    :  :     :  :  ", WRITTEN: "2025:09:14 20:53:06"}, EVENING),
    # Other ways to write it.
    ({TAKEN: "2025-09-14 20:53:06"}, EVENING),
    ({TAKEN: "2025/09/14 20:53:06"}, EVENING),
    ({TAKEN: "2025-09-14T20:53:06"}, EVENING),
    ({TAKEN: "2025-09-14T20:53:06Z"}, f"{EVENING}+00:00"),
    ({TAKEN: "2025-09-14T20:53:06.123+02:00"}, "2025-09-14T20:53:06.123+02:00"),
    ({TAKEN: "2025: 9:14 20:53: 6"}, EVENING),
    ({TAKEN: "2025:09:14 20:53"}, "2025-09-14T20:53:00"),
    # Clocks of twelve hours.
    ({TAKEN: "2025:09:14 08:53:06 PM"}, EVENING),
    ({TAKEN: "2025:09:14 8:53:06PM"}, EVENING),
    ({TAKEN: "2025:09:14 08:53:06 p.m."}, EVENING),
    ({TAKEN: "2025:09:14 08:53:06 AM"}, "2025-09-14T08:53:06"),
    ({TAKEN: "2025:09:14 12:05:06 AM"}, "2025-09-14T00:05:06"),
    ({TAKEN: "2025:09:14 20:53:06 PM"}, EVENING),
    # Offsets: of this time first, else of another; with and without a leading zero; in whole hours.
    ({TAKEN: "2025:09:14 20:53:06", 0x9011: "+02:00", 0x9010: "+05:00"}, f"{EVENING}+02:00"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9011: "+2:00"}, f"{EVENING}+02:00"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9011: "-330"}, f"{EVENING}-03:30"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9010: "-0330"}, f"{EVENING}-03:30"),
    ({WRITTEN: "2025:09:14 20:53:06", 0x9010: "UTC+2"}, f"{EVENING}+02:00"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9011: "   :  ", 0x9010: "Z"}, f"{EVENING}+00:00"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9011: "+99:00"}, EVENING),
    ({TAKEN: "2025:09:14 20:53:06", 0x882A: (-5, 0)}, f"{EVENING}-05:00"),
    ({TAKEN: "2025:09:14 20:53:06", 0x882A: 2}, f"{EVENING}+02:00"),
    # Fractions of a second: bursts.
    ({TAKEN: "2025:09:14 20:53:06", 0x9291: "123"}, "2025-09-14T20:53:06.123"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9291: "5 \0"}, "2025-09-14T20:53:06.500000"),
    ({DIGITIZED: "2025:09:14 20:53:06", 0x9292: "07", 0x9291: "99"}, "2025-09-14T20:53:06.070000"),
    ({TAKEN: "2025:09:14 20:53:06", 0x9291: "none"}, EVENING),
    # Nothing to read.
    ({}, None),
    ({TAKEN: "yesterday"}, None),
    ({TAKEN: 12, DIGITIZED: None, WRITTEN: (1, 2)}, None),
    ({TAKEN: "2025:02:30 20:53:06"}, None),
]  # fmt: skip


@pytest.mark.parametrize(("tags", "expected"), TAG_ROWS)
def test_times_in_exif_tags(tags: dict[int, Any], expected: str | None) -> None:
    """A4: each row is a variant that cameras and editors write, with its time."""
    assert written(capture_time.from_exif(tags)) == expected


LOCAL = datetime(2025, 9, 14, 20, 53, 6)
BURST = LOCAL.replace(microsecond=70_000)


@pytest.mark.parametrize(
    ("in_name", "in_exif", "expected"),
    [
        (Taken(LOCAL, None), Taken(LOCAL, zone(2)), Taken(LOCAL, zone(2))),
        (Taken(LOCAL, None), Taken(BURST, None), Taken(BURST, None)),
        (Taken(BURST, None), Taken(LOCAL, WEST), Taken(BURST, WEST)),
        (Taken(LOCAL, None), Taken(LOCAL + timedelta(hours=1), zone(2)), Taken(LOCAL, None)),
        (Taken(LOCAL, None), Taken(BURST + timedelta(hours=2), zone(2)), Taken(BURST + timedelta(hours=2), zone(2))),
        (Taken(LOCAL, zone(5)), Taken(LOCAL, zone(2)), Taken(LOCAL, zone(5))),
    ],
)
def test_exif_data_complete_the_time_of_a_name(in_name: Taken, in_exif: Taken, expected: Taken) -> None:
    """A4: the zone of the EXIF data wins over the same local time in the name."""
    assert capture_time.together(in_name, in_exif) == expected


def test_the_calendars_ends_are_no_error() -> None:
    assert Taken(datetime(9999, 12, 31, 23), zone(-5)).utc == datetime(9999, 12, 31, 23, tzinfo=UTC)
