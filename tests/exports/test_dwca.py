"""Darwin Core archives: what is written passes its validators, and each broken rule is found."""

import csv
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antenna_orchestration.exports import dwca, dwca_check
from antenna_orchestration.exports.dataset import Contributor, Dataset
from antenna_orchestration.exports.formats import Incomplete, Written
from antenna_orchestration.exports.material import BOXES, Material
from tests.exports.archived_nights import FOREST, nowhere, two_deployments
from tests.exports.materials import DATASET
from tests.exports.schema_folder import schemas_in, usual_validators

DWC = "http://rs.tdwg.org/dwc/terms/"

VALIDATORS = ("lxml", "dwca")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return two_deployments(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def written(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    out = tmp_path_factory.mktemp("written") / "dwca.zip"
    return out, dwca.write(material, out)


def records_of(archive: Path, table: str) -> list[dict[str, str]]:
    with zipfile.ZipFile(archive) as files:
        text = files.read(f"{table}.txt").decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.long
def test_an_archive_passes_schemas_definitions_and_the_reader(written: tuple[Path, Written]) -> None:
    with usual_validators(*VALIDATORS):
        found = dwca.check(written[0])
    assert (found.faults, found.unchecked) == ([], [])
    assert [one.split()[0] for one in found.by] == ["own", "lxml", "GBIF's", "python-dwca-reader"]


def test_a_check_without_schemas_tells_what_it_left(written: tuple[Path, Written]) -> None:
    with schemas_in(""):
        found = dwca.check(written[0])
    assert found.faults == []
    assert all("ANTENNA_EXPORT_SCHEMAS" in line or "pip install" in line for line in found.unchecked)


def test_a_record_is_a_taxon_in_a_night(written: tuple[Path, Written]) -> None:
    found = records_of(written[0], "occurrence")
    assert [(row["scientificName"], row["individualCount"], row["identifiedBy"]) for row in found] == [
        ("Autographa", "1", "moths 1"),
        ("Autographa gamma", "2", "moths 1"),
        ("Noctua comes", "1", "human"),
        ("Autographa gamma", "1", "moths 1"),
        ("Noctua pronuba", "1", "moths 1"),
    ]
    assert {row["basisOfRecord"] for row in found} == {"MachineObservation"}
    last = found[-1]
    assert last["occurrenceID"] == "pond:moths:by the pond_2026-06-12:Noctua_pronuba"
    assert last["eventDate"] == "2026-06-12T22:15:30+02:00/2026-06-12T22:18:30+02:00"
    assert (last["locality"], last["countryCode"], last["decimalLatitude"]) == ('Pond, "east"', "DK", "55.39")
    assert (last["family"], last["taxonID"]) == ("Noctuidae", "https://www.gbif.org/species/1776155")
    assert last["license"] == "https://creativecommons.org/publicdomain/zero/1.0/"
    assert last["identificationRemarks"] == "classified by a machine with 95% certainty"
    assert found[2]["identificationVerificationStatus"] == "verified using recorded media"
    assert (found[0]["locality"], found[0]["parentEventID"]) == ("@edge; 'north'", FOREST.deployment)


def test_a_record_has_its_best_picture_with_the_box(written: tuple[Path, Written]) -> None:
    found = records_of(written[0], "multimedia")
    assert [(row["identifier"], row["accessURI"]) for row in found[:3]] == [
        ("1-11-2", "https://x.org/public/a%2E%2Eb/11.JPG?size=full"),
        ("1-11-0", "https://x.org/public/a%2E%2Eb/11.JPG?size=full"),
        ("1-12-1", "x.org/private/12.png"),
    ]
    assert [found[1][f"{side}Frac"] for side in ("x", "y", "width", "height")] == [
        "0.000000", "0.333333", "1.000000", "0.666667",
    ]  # fmt: skip
    assert {row["comments"] for row in found} == {BOXES}
    measured = {(row["coreid"], row["measurementType"]): row for row in records_of(written[0], "measurementorfact")}
    best = measured["pond:moths:by the pond_2026-06-12:Noctua_pronuba", "classificationProbability"]
    assert (best["measurementValue"], best["measurementMethod"]) == ("0.95", "moths 1")
    assert "3 photographs without a public address: GBIF does not show them" in written[1].notes


def test_the_description_escapes_what_people_wrote(material: Material, tmp_path: Path) -> None:
    title = 'Moths & <b>"butterflies"</b>\x0b of the 森'
    people = (
        Contributor(given="Ada", family="O'Example & Co", roles=("contact",)),
        Contributor(organization="Lab <3", roles=("rightsHolder", "publisher")),
    )
    said = DATASET.model_copy(
        update={"title": title, "contributors": people, "citation": "A & B", "keywords": ("a<b",)}
    )
    out = tmp_path / "dwca.zip"
    dwca.write(replace(material, dataset=said), out)
    with zipfile.ZipFile(out) as files:
        root = ET.fromstring(files.read("eml.xml"))
    assert root.findtext("dataset/title") == title.replace("\x0b", " ")
    assert [one.text for one in root.iterfind("dataset/creator//surName")] == ["O'Example & Co"]
    assert "".join(root.find("dataset/intellectualRights").itertext()).strip() == (  # type: ignore[union-attr]
        "This work is licensed under CC0-1.0."
    )
    assert {row["rightsHolder"] for row in records_of(out, "occurrence")} == {"Lab <3"}
    assert {row["datasetName"] for row in records_of(out, "occurrence")} == {title.replace("\x0b", " ")}
    with usual_validators(*VALIDATORS):
        assert dwca.check(out).faults == []


def test_what_gbif_demands_is_asked_for_at_once(material: Material, tmp_path: Path) -> None:
    said = Dataset(data_licence="CC-BY-SA-4.0")
    with pytest.raises(Incomplete) as caught:
        dwca.write(replace(nowhere(material), dataset=said), tmp_path / "dwca.zip")
    asks = "\n".join(caught.value.missing)
    for what in ("a contact", "the title of the data set", "a description of the data set",
                 "a licence in place of CC-BY-SA-4.0", "CC0-1.0, CC-BY-4.0, CC-BY-NC-4.0",
                 "a licence of the photographs", "latitude and longitude of deployment by the pond"):  # fmt: skip
        assert what in asks
    assert not list(tmp_path.iterdir())


def test_partial_writes_what_has_a_place(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "dwca.zip"
    places = {name: place for name, place in material.places.items() if name != FOREST.deployment}
    made = dwca.write(replace(material, places=places, partial=True), out)
    assert made.counts == {"records": 2, "photographs": 2, "measurements": 8}
    assert made.left_out[0].startswith(f"latitude and longitude of deployment {FOREST.deployment} (3 photographs)")
    assert not list(dwca_check.faults_of(out))


def swapped(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    """In one file, the first of a text is another."""

    def change(files: dict[str, bytes]) -> None:
        assert old.encode() in files[name]
        files[name] = files[name].replace(old.encode(), new.encode(), 1)

    return change


def renamed_file(name: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        files["other"] = files.pop(name)

    return change


def changed_value(table: str, column: str, value: str) -> Callable[[dict[str, bytes]], None]:
    """In the last row, which all broken values are in."""

    def change(files: dict[str, bytes]) -> None:
        lines = files[f"{table}.txt"].decode().rstrip("\n").split("\n")
        names, cells = lines[0].split("\t"), lines[-1].split("\t")
        cells[names.index(column)] = value
        files[f"{table}.txt"] = "\n".join([*lines[:-1], "\t".join(cells), ""]).encode()

    return change


def without_element(tag: str) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        root = ET.fromstring(files["eml.xml"])
        dataset = root.find("dataset")
        assert dataset is not None
        for one in dataset.findall(tag):
            dataset.remove(one)
        files["eml.xml"] = ET.tostring(root)

    return change


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (renamed_file("meta.xml"), "meta.xml is missing"),
        (renamed_file("eml.xml"), "metadata names no file"),
        (renamed_file("multimedia.txt"), "multimedia.txt is not in the archive"),
        (swapped("meta.xml", "</archive>", ""), "meta.xml is not well-formed"),
        (swapped("eml.xml", "</dataset>", ""), "eml.xml is not well-formed"),
        (swapped("meta.xml", "dwc/text/", "dwc/texts/"), "an archive with one core"),
        (swapped("meta.xml", f'{DWC}Occurrence"', f'{DWC}Event"'), "the rowType of the core"),
        (swapped("meta.xml", 'encoding="UTF-8" f', 'encoding="latin1" f'), "must be UTF-8"),
        (swapped("meta.xml", "encoding='UTF-8'", "encoding='TF-8'"), "meta.xml is not well-formed"),
        (swapped("meta.xml", 'fieldsTerminatedBy="\\t"', 'fieldsTerminatedBy=", "'), "one character in"),
        (swapped("meta.xml", 'ignoreHeaderLines="1"', 'ignoreHeaderLines="one"'), "a number in ignoreHeaderLines"),
        (swapped("meta.xml", '<id index="0" />', ""), "has no id"),
        (swapped("meta.xml", '<coreid index="0" />', ""), "has no coreid"),
        (swapped("meta.xml", f"{DWC}eventID", f"{DWC}parentEventID"), "parentEventID twice"),
        *((swapped("meta.xml", f'{DWC}{term}"', f'{DWC}other"'), f"lacks {term}") for term in dwca_check.REQUIRED),
        *((without_element(tag), f"eml.xml: {tag} is missing") for tag in dwca_check.IN_EML),
        (swapped("eml.xml", "publicdomain/zero/1.0", "licenses/by-sa/4.0"), "intellectualRights has no link"),
        (swapped("occurrence.txt", "\tImage\t", "\t"), "cells in place of 34"),
        (changed_value("occurrence", "occurrenceID", ""), "the id '' is missing"),
        (changed_value("occurrence", "occurrenceID", "pond:moths:by the pond_2026-06-12:Autographa_gamma"), "in a row"),
        (changed_value("occurrence", "scientificName", ""), "scientificName: it is missing"),
        (changed_value("occurrence", "eventDate", ""), "eventDate: it is missing"),
        *(
            (changed_value("occurrence", "eventDate", date), "eventDate: ")
            for date in ("June", "2026-06-31", "2026-06-12T25:00:00Z", "2026-06-13/2026-06-12", "2026/06/12")
        ),
        (changed_value("occurrence", "basisOfRecord", "Photograph"), "basisOfRecord: 'Photograph'"),
        (changed_value("occurrence", "occurrenceStatus", "yes"), "occurrenceStatus: 'yes'"),
        (changed_value("occurrence", "individualCount", "two"), "individualCount: 'two'"),
        (changed_value("occurrence", "license", "https://creativecommons.org/licenses/by-sa/4.0/"), "license: "),
        (changed_value("occurrence", "decimalLatitude", "91"), "decimalLatitude: '91'"),
        (changed_value("occurrence", "decimalLongitude", "-181"), "decimalLongitude: '-181'"),
        (changed_value("occurrence", "decimalLongitude", ""), "latitude and longitude belong together"),
        (changed_value("occurrence", "geodeticDatum", ""), "geodeticDatum: it is missing"),
        (changed_value("occurrence", "coordinateUncertaintyInMeters", "0"), "coordinateUncertaintyInMeters: '0'"),
        (changed_value("occurrence", "countryCode", "Denmark"), "countryCode: 'Denmark'"),
        (changed_value("occurrence", "dateIdentified", "today"), "dateIdentified: 'today'"),
        (changed_value("multimedia", "coreid", "nobody"), "'nobody' is not a record of the core"),
        (changed_value("multimedia", "xFrac", "1.5"), "a box has four numbers"),
        (changed_value("multimedia", "xFrac", ""), "a box has four numbers"),
        (changed_value("multimedia", "xFrac", "0.99"), "ends outside of the photograph"),
        (changed_value("multimedia", "widthFrac", "0"), "the box is empty"),
        (changed_value("measurementorfact", "coreid", "nobody"), "'nobody' is not a record of the core"),
        (changed_value("measurementorfact", "measurementType", ""), "measurementType: it is missing"),
    ],
)
def test_each_broken_rule_of_an_archive_is_found(
    written: tuple[Path, Written], tmp_path: Path, change: Callable[[dict[str, bytes]], None], fault: str
) -> None:
    broken = repacked(written[0], tmp_path / "broken.zip", change)
    found = list(islice(dwca_check.faults_of(broken), 50))
    assert any(fault in line for line in found), found


def repacked(archive: Path, to: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    with zipfile.ZipFile(archive) as made:
        files = {name: made.read(name) for name in made.namelist()}
    change(files)
    with zipfile.ZipFile(to, "w") as made:
        for name, content in files.items():
            made.writestr(name, content)
    return to


def test_no_archive_at_all_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "dwca.zip"
    path.write_text("no zip")
    assert dwca.check(path).faults == ["dwca.zip cannot be read as a zip file: File is not a zip file"]


def test_schemas_and_definitions_find_faults_of_their_own(written: tuple[Path, Written], tmp_path: Path) -> None:
    def change(files: dict[str, bytes]) -> None:
        swapped("eml.xml", "<pubDate>", "<pubdate>")(files)
        swapped("eml.xml", "</pubDate>", "</pubdate>")(files)
        swapped("meta.xml", f"{DWC}locality", f"{DWC}place")(files)

    broken = repacked(written[0], tmp_path / "broken.zip", change)
    with usual_validators(*VALIDATORS):
        found = dwca.check(broken).faults
    assert any("pubdate" in line and line.startswith("eml.xml, line") for line in found), found
    assert f"meta.xml: {DWC}Occurrence has no term {DWC}place" in found


def test_the_usual_reader_reads_the_same_records(written: tuple[Path, Written]) -> None:
    read = pytest.importorskip("dwca.read")
    with read.DwCAReader(str(written[0])) as archive:
        found = {row.id: (row.data, row.extensions) for row in archive}
    assert list(found) == [row["occurrenceID"] for row in records_of(written[0], "occurrence")]
    data, extensions = found["pond:moths:by the pond_2026-06-12:Noctua_pronuba"]
    assert data[f"{DWC}scientificName"] == "Noctua pronuba"
    kinds = [one.rowtype.rpartition("/")[2] for one in extensions]
    assert (kinds.count("Multimedia"), kinds.count("MeasurementOrFact")) == (1, 4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["meta.xml", "eml.xml", "occurrence.txt", "multimedia.txt"]),
    st.integers(0, 6000),
    st.binary(max_size=3),
)
def test_no_archive_makes_the_check_fail(
    written: tuple[Path, Written], tmp_path: Path, name: str, at: int, between: bytes
) -> None:
    def change(files: dict[str, bytes]) -> None:
        place = at % (len(files[name]) + 1)
        files[name] = files[name][:place] + between + files[name][place + 1 :]

    broken = repacked(written[0], tmp_path / "broken.zip", change)
    for fault in islice(dwca_check.faults_of(broken), 50):
        assert isinstance(fault, str)
