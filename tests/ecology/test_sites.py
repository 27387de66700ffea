"""Files of deployments: what is read, what is kept, and what is refused with its row and column."""

from __future__ import annotations

import contextlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain.nights import zone_named
from antenna_orchestration.ecology import sites
from antenna_orchestration.ecology.model import Place

HEADER = (
    "deployment,latitude,longitude,coordinateUncertainty,timezone,clock,deploymentStart,deploymentEnd,"
    "locationName,countryCode,pixels_per_mm,attractant"
)
DENMARK = 'denmark,55.39,10.39,1000,Europe/Copenhagen,local,2022-08-10 20:00,2022-08-11,"Hedge ""A""",dk,11.5,UV'
PLACE = Place(
    deployment="denmark",
    latitude=55.39,
    longitude=10.39,
    uncertainty_m=1000,
    time_zone="Europe/Copenhagen",
    zone=zone_named("Europe/Copenhagen"),
    starts_at=datetime(2022, 8, 10, 20),
    ends_at=datetime(2022, 8, 11, 23, 59, 59),
    location_name='Hedge "A"',
    country_code="DK",
    pixels_per_mm=11.5,
    further={"attractant": "UV"},
)
SNAKES = HEADER.replace("coordinateU", "coordinate_u").replace("deploymentS", "deployment_s").replace("locationN", "n")


@pytest.mark.parametrize(
    "data",
    [
        f"{HEADER}\n{DENMARK}\n".encode(),
        f"\ufeff{HEADER}\r\n\r\n{DENMARK}\r\n".encode(),
        f"{HEADER}\n{DENMARK}\n".encode("utf-16"),
        f"{HEADER}\n{DENMARK}\n".replace(",", ";").encode(),
        f"sep=;\r\n{HEADER}\r\n{DENMARK}\r\n".replace(",", ";").encode(),
        f"{HEADER}\n{DENMARK}\n".replace(",", "\t").encode(),
        f"{SNAKES}\n{DENMARK}".encode(),
        f"{HEADER},,\n{DENMARK},,\n,,,\n".encode(),
    ],
)
def test_files_are_read_as_spreadsheets_write_them(data: bytes) -> None:
    assert sites.read_csv(data, {}) == [PLACE]


def test_what_is_not_said_of_a_deployment_stays_as_it_was() -> None:
    said = b"deployment,latitude,longitude,attractant,clock,habitat\ndenmark,56,9,,,\noak,,,,utc,hedge\n"
    denmark, oak = sites.read_csv(said, {"denmark": PLACE})
    assert (denmark.latitude, denmark.time_zone, denmark.location_name) == (56, "Europe/Copenhagen", 'Hedge "A"')
    assert denmark.further == {}
    assert oak == Place(deployment="oak", clock="utc", further={"habitat": "hedge"})


def test_objects_are_read_like_rows() -> None:
    said = [{"deployment": "oak", "latitude": 9, "longitude": -79.5, "timezone": "-05:00", "camera": 3, "clock": None}]
    assert sites.read_objects(said, {}) == [
        Place(
            deployment="oak", latitude=9, longitude=-79.5, time_zone="-05:00", zone=zone_named("-05:00"),
            further={"camera": "3"},
        )
    ]  # fmt: skip
    for wrong in ([{"latitude": 3}], [{"deployment": "oak", "clock": True}], [{"deployment": "oak", "tz": ["UTC"]}]):
        with pytest.raises(errors.InvalidTable, match="number 1"):
            sites.read_objects(wrong, {})


@pytest.mark.parametrize(
    ("columns", "cells", "fault"),
    [
        ("timezone", "Europe/Atlantis", "row 3, timezone: there is no time zone 'Europe/Atlantis'"),
        ("timezone", "+25:00", "row 3, timezone: there is no time zone"),
        ("latitude,longitude", "91,10", "row 3, latitude: 91 is not between -90 and 90"),
        ("latitude,longitude", "9,-180.5", "row 3, longitude: -180.5 is not between -180 and 180"),
        ("lat,lon", "nine,10", "row 3, lat: 'nine' is not a number"),
        ("lat,lon", "1e999,10", "row 3, lat: '1e999' is not a number"),
        ("lat,lon", "inf,10", "row 3, lat: 'inf' is not a number"),
        ("lat,lon", '"9,15",10', r"row 3, lat: '9,15' is not a number: write a decimal point, 9\.15"),
        ("latitude,longitude", "9.15,", "row 3, longitude: latitude without longitude"),
        ("latitude", "9.15", "row 3, latitude: latitude without longitude"),
        ("coordinateUncertainty", "0", "row 3, coordinateUncertainty: 0 is not more than 0"),
        ("clock", "summer", "row 3, clock: 'summer' is neither local nor UTC"),
        ("deploymentStart", "10/08/2022", "row 3, deploymentStart: '10/08/2022' is not a time such as"),
        (
            "deploymentStart,deploymentEnd",
            "2022-08-11,2022-08-10",
            "row 3, deploymentEnd: the end, 2022-08-10 23:59:59",
        ),
        ("deploymentStart", "2022-08-10T20:00Z", "row 3, deploymentStart: .* has an offset, but .* no time zone"),
        ("countryCode", "Denmark", "row 3, countryCode: 'Denmark' is not a country code"),
        ("pixels_per_mm", "-1", "row 3, pixels_per_mm: -1 is not more than 0"),
        ("locationName", "a\x07b", "row 3, locationName: .* cannot be printed"),
        ("habitat", "x" * 3000, "row 3, habitat: longer than 2,000"),
        ("latitude,lat", "1,2", "row 1, lat: the same column as latitude"),
        (",latitude", "1,2", "row 1: a column without a name"),
        ("habitat,habitat", "1,2", "row 1, habitat: the same column"),
        ("habitat", "1,2", "row 3: 3 cells, but the header has 2 columns"),
        ("habitat", '"1', "line 3"),
    ],
)
def test_a_fault_names_file_row_and_column(columns: str, cells: str, fault: str) -> None:
    fine = "," * columns.count(",")
    with pytest.raises(errors.InvalidTable, match=rf"(?s)^sites.csv: nothing was imported, 1 fault: {fault}"):
        sites.read_csv(f"deployment,{columns}\nash,{fine}\noak,{cells}\n".encode(), {}, "sites.csv")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "it is empty"),
        (b"deployment,latitude\n", "1 fault: no deployments$"),
        (b"site,latitude\noak,9\n", "row 1: no column deployment"),
        (b"deployment,clock\noak,local\nash,utc\noak,utc\n", "row 4, deployment: 'oak' is in row 2 already"),
        (b"deployment,clock\n,local\n", "row 2, deployment: no name"),
        (b"deployment,clock\nNA,local\n", "row 2, deployment: no name"),
        (b"deployment,clock\n" + b"x" * 201 + b",local\n", "row 2, deployment: longer than 200"),
        (b"deployment,name\noak,\xe9\n", "line 2: not UTF-8 text"),
        (b"PK\x03\x04\0\0", "not a CSV file"),
        (b"deployment," + b",".join(b"c%d" % n for n in range(300)) + b"\n", "row 1: more than 200 columns"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(data: bytes, fault: str) -> None:
    with pytest.raises(errors.InvalidTable, match=fault):
        sites.read_csv(data, {}, "sites.csv")


@given(
    st.binary(max_size=60)
    | st.text("deploymnt,;\t\"\r\n='0u\ud800\0é", max_size=60).map(lambda s: s.encode(errors="replace"))
)
def test_any_bytes_are_places_or_a_fault(data: bytes) -> None:
    for start in (b"", b"deployment,latitude,further\n", b'"sep=;"\n'):
        with contextlib.suppress(errors.InvalidTable):
            assert sites.read_csv(start + data, {})


def test_all_faults_are_listed_up_to_a_limit() -> None:
    rows = "".join(f"d{number},summer,{number + 89}\n" for number in range(15))
    with pytest.raises(errors.InvalidTable) as raised:
        sites.read_csv(f"deployment,clock,latitude\n{rows}".encode(), {}, "sites.csv")
    assert raised.value.summary == "sites.csv: nothing was imported, 28 faults"
    assert len(raised.value.faults) == 21
    assert raised.value.faults[0].startswith("row 2, clock")
    assert raised.value.faults[-1] == "… and 8 more"


def test_namibia_is_a_country_and_a_start_may_have_an_offset() -> None:
    [place] = sites.read_csv(
        b"deployment,countryCode,timezone,deploymentStart\noak,NA,Africa/Windhoek,2026-06-12T18:00:00Z\n", {}
    )
    assert (place.country_code, place.starts_at) == ("NA", datetime(2026, 6, 12, 20))


def test_single_values_follow_the_same_rules() -> None:
    assert sites.changed(PLACE, {"latitude": "56", "clock": "UTC"}).clock == "utc"
    assert sites.changed(PLACE, {"latitude": "", "longitude": ""}).latitude is None
    for values in ({"latitude": ""}, {"latitude": "55,4"}, {"ends_at": "2022-08-09"}, {"time_zone": "Mars"}):
        with pytest.raises(errors.InvalidInput):
            sites.changed(PLACE, values)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+1h", 3600), ("-1h30m", -5400), ("+8257d", 713_404_800), ("+90s", 90), ("-5min", -300), ("+1d1h1m1s", 90_061)],
)
def test_shifts_are_read(text: str, seconds: int) -> None:
    assert sites.parse_shift(text) == seconds


@pytest.mark.parametrize(
    "text", ["1h", "", "+", "+0h", "+1", "+1h1h", "+1.5h", "+99999d", "+1" + "0" * 300 + "d", "+-1h"]
)
def test_what_is_no_shift_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidInput):
        sites.parse_shift(text)
