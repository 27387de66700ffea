"""Camtrap DP: what is written passes its validators, and each broken rule is found."""

import csv
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.exports import archives, camtrap_check, camtrap_columns, camtrap_dp
from antenna_orchestration.exports.dataset import Dataset
from antenna_orchestration.exports.formats import Incomplete, Written
from antenna_orchestration.exports.material import BOXES, Material
from tests.exports.archived_nights import FOREST, nowhere, two_deployments
from tests.exports.materials import DATASET, POND, material_of, night_at_the_pond
from tests.exports.schema_folder import schemas_in, usual_validators


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return two_deployments(tmp_path_factory.mktemp("lake"))


@pytest.fixture(scope="module")
def written(material: Material, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Written]:
    out = tmp_path_factory.mktemp("written") / "package"
    return out, camtrap_dp.write(material, out)


@pytest.fixture
def package(written: tuple[Path, Written], tmp_path: Path) -> Path:
    """A copy, to break."""
    return Path(shutil.copytree(written[0], tmp_path / "package"))


def rows_of(package: Path, table: str) -> list[dict[str, str]]:
    with (package / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.long
def test_a_package_passes_the_profile_and_frictionless(written: tuple[Path, Written]) -> None:
    with usual_validators("frictionless", "jsonschema", "referencing"):
        found = camtrap_dp.check(written[0])
    assert (found.faults, found.unchecked) == ([], [])
    assert found.by == ["own rules", "frictionless and jsonschema"]


def test_a_check_without_schemas_says_so(package: Path) -> None:
    with schemas_in(""):
        found = camtrap_dp.check(package)
    assert (found.faults, found.by) == ([], ["own rules"])
    assert len(found.unchecked) == 1


def test_photographs_are_written_with_moments_and_public_paths(written: tuple[Path, Written]) -> None:
    media = {row["mediaID"]: row for row in rows_of(written[0], "media")}
    assert [(row["filePath"], row["filePublic"], row["fileMediatype"]) for _, row in sorted(media.items())] == [
        ("card/night 1/001.jpg", "false", "image/jpeg"),
        ("https://x.org/public/a%2E%2Eb/11.JPG?size=full", "true", "image/jpeg"),
        # Whoever has such an address may read what others may not.
        ("x.org/private/12.png", "false", "image/png"),
        ("card/%0A13.heic", "false", "image/heic"),
        ("card/night 1/002.jpg", "false", "image/jpeg"),
        ("card/night 1/003.jpg", "false", "image/jpeg"),
        ("card/night 1/004.jpg", "false", "image/jpeg"),
    ]
    # With offset, and without fractions of seconds.
    assert media["1"]["timestamp"] == "2026-06-12T22:15:30+02:00"
    assert media["11"]["timestamp"] == "2026-06-12T22:15:30-05:00"
    assert "cannot be decoded" in media["4"]["mediaComments"]


def test_photographs_have_what_is_on_them_or_why_not(written: tuple[Path, Written]) -> None:
    found = {row["observationID"]: row for row in rows_of(written[0], "observations") if row["mediaID"]}
    said = ("observationType", "scientificName", "classificationMethod", "classifiedBy", "classificationProbability")
    assert {name: tuple(row[column] for column in said) for name, row in found.items()} == {
        "1-1-0": ("animal", "Autographa gamma", "machine", "moths 1", "0.921875"),
        "1-1-1": ("animal", "Noctua pronuba", "machine", "moths 1", "0.95"),
        "1-2-0": ("animal", "Autographa gamma", "machine", "moths 1", "0.921875"),
        "1-3-blank": ("blank", "", "machine", "", ""),
        "1-4-failed": ("unclassified", "", "", "", ""),
        "1-11-0": ("animal", "Autographa gamma", "machine", "moths 1", "0.9"),
        "1-11-1": ("animal", "Autographa gamma", "machine", "moths 1", "0.8"),
        # As sure as it is of the genus.
        "1-11-2": ("animal", "Autographa", "machine", "moths 1", "0.7001953"),
        "1-11-3": ("unknown", "", "machine", "moths 1", "0.95"),
        "1-12-0": ("unclassified", "", "", "", ""),
        "1-12-1": ("animal", "Noctua comes", "human", "human", ""),
        # A person said that it is none: 1-12-2 is not there.
        "1-13-blank": ("blank", "", "machine", "", ""),
    }
    boxes = {name: tuple(row[f"bbox{one}"] for one in ("X", "Y", "Width", "Height")) for name, row in found.items()}
    assert boxes["1-1-1"] == ("0.950000", "0.000000", "0.050000", "0.100000")
    assert boxes["1-11-0"] == ("0.000000", "0.333333", "1.000000", "0.666667")
    assert boxes["1-11-2"] == ("", "", "", "")
    assert written[1].left_out == ["2 boxes outside of their photographs"]


def test_nights_have_a_row_for_each_taxon(written: tuple[Path, Written]) -> None:
    found = [row for row in rows_of(written[0], "observations") if row["observationLevel"] == "event"]
    forest = FOREST.deployment
    assert [(row["eventID"], row["observationType"], row["scientificName"], row["count"]) for row in found] == [
        (f"{forest}_2026-06-12", "animal", "Autographa", "1"),
        (f"{forest}_2026-06-12", "animal", "Autographa gamma", "2"),
        (f"{forest}_2026-06-12", "animal", "Noctua comes", "1"),
        ("by the pond_2026-06-12", "animal", "Autographa gamma", "1"),
        ("by the pond_2026-06-12", "animal", "Noctua pronuba", "1"),
        (f"{forest}_2026-06-14", "blank", "", ""),
    ]
    assert (found[3]["eventStart"], found[3]["eventEnd"]) == ("2026-06-12T22:15:30+02:00", "2026-06-12T22:18:30+02:00")
    assert found[3]["observationID"] == "pond:moths:by the pond_2026-06-12:Autographa_gamma"
    assert found[1]["observationComments"].startswith("largest number on one photograph")


def test_deployments_take_columns_of_the_file_of_sites(written: tuple[Path, Written]) -> None:
    forest, pond = rows_of(written[0], "deployments")
    assert (forest["deploymentID"], forest["cameraHeight"], forest["habitat"]) == (
        FOREST.deployment, "1.5", "line one\nline two",
    )  # fmt: skip
    assert (forest["deploymentStart"], forest["deploymentEnd"]) == (
        "2026-06-12T20:00:00-05:00", "2026-06-14T22:15:30-05:00",
    )  # fmt: skip
    assert forest["deploymentTags"] == "attractant:UV / 8 W"
    assert (pond["locationName"], pond["coordinateUncertainty"]) == ('Pond, "east"', "30")


def test_the_description_states_the_rule_of_boxes_and_no_reviewer(written: tuple[Path, Written]) -> None:
    described = json.loads((written[0] / "datapackage.json").read_text(encoding="utf-8"))
    assert described["description"].endswith(BOXES)
    assert [one["scientificName"] for one in described["taxonomic"]] == [
        "Autographa", "Autographa gamma", "Noctua comes", "Noctua pronuba",
    ]  # fmt: skip
    assert described["taxonomic"][1]["taxonID"] == "https://www.gbif.org/species/1773434"
    # Known by its genus.
    assert (described["taxonomic"][2]["family"], described["taxonomic"][2]["taxonRank"]) == ("Noctuidae", "species")
    every = "".join(
        path.read_text(encoding="utf-8") for path in written[0].iterdir() if path.name != "datapackage.json"
    )
    assert "ada@example.org" not in every and "not for all" not in every


def test_without_a_place_or_a_description_all_is_asked_for(material: Material, tmp_path: Path) -> None:
    asked = replace(nowhere(material), dataset=Dataset())
    with pytest.raises(Incomplete) as caught:
        camtrap_dp.write(asked, tmp_path / "package")
    asks = "\n".join(caught.value.missing)
    for what in (
        "a contact", "a licence of the data", "a licence of the photographs", "the sampling design",
                 "how photographs are triggered", "the title of the project",
                 "latitude and longitude of deployment by the pond (4 photographs)",
                 "--latitude … --longitude … --project pond",
        f"latitude and longitude of deployment {FOREST.deployment}",
    ):  # fmt: skip
        assert what in asks
    assert not (tmp_path / "package").exists()
    # With nothing left to write, leaving out is no help.
    with pytest.raises(errors.InvalidInput, match="no photograph is left to be written; latitude and longitude"):
        camtrap_dp.write(replace(asked, partial=True), tmp_path / "package")


@pytest.mark.parametrize("name", ["-dash", "--project", "{0} pond", "o'brien", "a b"])
def test_commands_that_give_places_hold_for_any_name(name: str, tmp_path: Path) -> None:
    captures, detections = night_at_the_pond()
    elsewhere = [{**one, "deployment": name} for one in captures]
    with pytest.raises(Incomplete) as caught:
        camtrap_dp.write(material_of(tmp_path / "lake", elsewhere, detections), tmp_path / "package")
    [line] = [line for line in caught.value.missing if line.startswith("latitude and longitude of")]
    words = shlex.split(line.split("`")[1])
    typed = words[3:] if "--" not in words else [*words[3 : words.index("--")], *words[words.index("--") + 1 :]]
    assert sorted(typed) == sorted([name, "--latitude", "…", "--longitude", "…", "--project", "pond"])
    assert ("--" in words) == name.startswith("-")


def test_partial_leaves_out_what_lacks_a_place(material: Material, tmp_path: Path) -> None:
    out = tmp_path / "package"
    faulty = replace(POND, further={"cameraHeight": "tall"})
    made = camtrap_dp.write(replace(material, places={POND.deployment: faulty}, dataset=DATASET, partial=True), out)
    assert made.counts == {"deployments": 1, "photographs": 4, "observations": 3, "events": 1}
    assert [line.split(":")[0] for line in made.left_out] == [
        f"latitude and longitude of deployment {FOREST.deployment} (3 photographs)",
        "deployment by the pond, cameraHeight",
    ]
    assert not list(camtrap_check.faults_of(out))


def changed_description(**changes: Any) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        path = package / "datapackage.json"
        described = json.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            described.pop(name)
            if value is not None:
                described[name] = value
        path.write_text(json.dumps(described), encoding="utf-8")

    return change


def changed_part(part: str, **changes: Any) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        path = package / "datapackage.json"
        described = json.loads(path.read_text(encoding="utf-8"))
        whole = described[part]
        one = whole[0] if isinstance(whole, list) else whole
        for name, value in changes.items():
            one[name] = value
            if value is None:
                del one[name]
        path.write_text(json.dumps(described), encoding="utf-8")

    return change


def changed_cell(table: str, column: str, value: str, *, row: int = 0) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        found = rows_of(package, table)
        found[row][column] = value
        with (package / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            writer.writerows(found)

    return change


def changed_text(table: str, pattern: str, by: str) -> Callable[[Path], None]:
    def change(package: Path) -> None:
        path = package / f"{table}.csv"
        path.write_text(re.sub(pattern, by, path.read_text(encoding="utf-8"), count=1), encoding="utf-8")

    return change


def without_file(name: str) -> Callable[[Path], None]:
    return lambda package: (package / name).unlink()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without_file("datapackage.json"), "datapackage.json is missing"),
        (without_file("media.csv"), "media.csv of media is not a file"),
        (lambda package: (package / "datapackage.json").write_text("[1"), "cannot be read as JSON"),
        (lambda package: (package / "media.csv").write_bytes(b"\xff"), "media.csv cannot be read"),
        *((changed_description(**{name: None}), f"{name} is missing") for name in camtrap_check.TOP),
        (changed_description(profile="https://x.org/1.0.1/profile.json"), "profile must be"),
        (changed_description(created="2026-06-12T20:00:00"), "created: "),
        (changed_description(contributors=[]), "contributors: there is none"),
        (changed_part("contributors", title=None), "contributors 0: title is missing"),
        (changed_part("contributors", role="author"), "role 'author'"),
        (changed_description(licenses=[{"name": "CC0-1.0", "scope": "data"}]), "none of the scope media"),
        (changed_part("licenses", name=None), "licenses 0: neither name nor path"),
        *((changed_part("project", **{one: None}), f"project: {one} is missing") for one in camtrap_check.OF_PROJECT),
        (changed_part("project", samplingDesign="random"), "samplingDesign is not one of"),
        (changed_part("project", captureMethod=["motion"]), "captureMethod must be"),
        (changed_part("project", individualAnimals="no"), "individualAnimals must be"),
        (changed_description(spatial="Denmark"), "spatial must be GeoJSON"),
        (changed_description(temporal={"start": "2026-06-12"}), "temporal must have dates"),
        (changed_part("temporal", start="2027-06-12"), "is before the start"),
        (changed_part("taxonomic", scientificName=None), "taxonomic 0: scientificName is missing"),
        (changed_part("taxonomic", taxonRank="tribe"), "'tribe' is not a rank"),
        (changed_part("taxonomic", vernacularNames={"en": "Silver Y"}), "'en' is not a language code"),
        (changed_part("taxonomic", vernacularNames=["Silver Y"]), "vernacularNames must be an object"),
        (changed_part("resources", name="cameras"), "the resource deployments is missing"),
        (changed_part("resources", path="../deployments.csv"), "is not a file in the folder"),
        (changed_part("resources", profile="data-resource"), "must be tabular-data-resource"),
        (changed_part("resources", schema="https://x.org/deployments.json"), "the schema of deployments must be"),
        (changed_text("observations", "observationID,", ""), "observations.csv, header"),
        (changed_text("media", "image/jpeg,,,", "image/jpeg,,"), "cells in place of 11"),
        (changed_cell("deployments", "deploymentID", ""), "row 2, deploymentID: it is missing"),
        (changed_cell("deployments", "deploymentID", "by the pond"), "row 3, deploymentID: 'by the pond' is in a row"),
        (changed_cell("deployments", "latitude", "91"), "latitude: 91 must be at least -90 and at most 90"),
        (changed_cell("deployments", "longitude", "east"), "longitude: 'east' is not a number"),
        (changed_cell("deployments", "coordinateUncertainty", "30.5"), "is not a whole number"),
        (changed_cell("deployments", "coordinateUncertainty", "0"), "0 must be at least 1"),
        (changed_cell("deployments", "deploymentEnd", "2025-06-12T20:00:00Z"), "is before"),
        (changed_cell("deployments", "baitUse", "perhaps"), "is not true or false"),
        (changed_cell("deployments", "featureType", "meadow"), "featureType: 'meadow' is not one of"),
        (changed_cell("media", "mediaID", "12"), "mediaID: '12' is in a row before"),
        (changed_cell("media", "deploymentID", "elsewhere"), "'elsewhere' is not in deployments"),
        (changed_cell("media", "captureMethod", "video"), "captureMethod: 'video'"),
        (changed_cell("media", "timestamp", "2026-06-12T22:15:30.5+02:00"), "is not a time with an offset"),
        (changed_cell("media", "timestamp", "2026-06-12T22:15:30"), "is not a time with an offset"),
        (changed_cell("media", "timestamp", "2026-06-32T22:15:30Z"), "is not a time with an offset"),
        *((changed_cell("media", "filePath", path), "filePath") for path in ("./1.jpg", "/1.jpg", "~/1", "a/../1.jpg")),
        (changed_cell("media", "filePublic", ""), "filePublic: it is missing"),
        (changed_cell("media", "fileMediatype", "jpeg"), "fileMediatype: 'jpeg'"),
        (changed_cell("observations", "observationID", "1-1-1"), "is in a row before"),
        (changed_cell("observations", "mediaID", "99"), "mediaID: '99' is not in media"),
        (changed_cell("observations", "mediaID", ""), "an observation of the level media must name one"),
        (changed_cell("observations", "eventEnd", "2025-06-12T20:00:00Z"), "eventEnd: 2025"),
        (changed_cell("observations", "observationLevel", "night"), "observationLevel: 'night'"),
        (changed_cell("observations", "observationType", "moth"), "observationType: 'moth'"),
        (changed_cell("observations", "observationType", "blank"), "a blank has neither a name nor a box"),
        (changed_cell("observations", "scientificName", "Noctua fimbriata"), "is not in taxonomic"),
        (changed_cell("observations", "count", "0"), "count: 0 must be at least 1"),
        (changed_cell("observations", "bboxX", "1.5"), "bboxX: 1.5 must be"),
        (changed_cell("observations", "bboxX", "0.99"), "the box ends outside"),
        (changed_cell("observations", "bboxHeight", ""), "a box needs all four numbers"),
        (changed_cell("observations", "bboxWidth", "0"), "bboxWidth: 0 must be"),
        (changed_cell("observations", "classificationMethod", "both"), "classificationMethod: 'both'"),
        (changed_cell("observations", "classificationTimestamp", "yesterday"), "classificationTimestamp: 'yesterday'"),
        (changed_cell("observations", "classificationProbability", "1.01"), "classificationProbability: 1.01"),
        (changed_cell("observations", "sex", "worker"), "sex: 'worker'"),
    ],
)  # fmt: skip
def test_each_broken_rule_is_found(package: Path, change: Callable[[Path], None], fault: str) -> None:
    change(package)
    found = list(islice(camtrap_check.faults_of(package), 50))
    assert any(fault in line for line in found), found


def test_the_usual_validator_finds_faults_of_its_own(package: Path) -> None:
    changed_part("taxonomic", vernacularNames={"en": "Silver Y"})(package)
    changed_cell("media", "timestamp", "2026-06-12T22:15:30.5+02:00")(package)
    with usual_validators("frictionless", "jsonschema", "referencing"):
        found = camtrap_dp.check(package).faults
    assert any(line.startswith("datapackage.json: taxonomic/0/vernacularNames") for line in found)
    assert any(line.startswith("media.csv: ") for line in found)


@settings(max_examples=50)
@given(st.text(max_size=30), st.sampled_from(["file:///card/", "https://x.org/", "s3://bucket/", ""]))
def test_any_path_may_stand_in_an_archive(name: str, before: str) -> None:
    path = archives.public_path("", f"{before}{name or 'a'}.jpg")
    assert camtrap_columns.PATH.search(path) and path.isascii() >= name.isascii()


@pytest.mark.parametrize(
    ("label", "is_name"),
    [
        ("Noctua pronuba", True), ("Noctua", True), ("Noctua pronuba pronuba", True), ("Éacles imperialis", True),
        ("Polygonia c-album", True), ("moth", False), ("Unknown moth?", False), ("NOCTUA", False), ("蛾", False),
        ("Noctua Pronuba", False), ("Human", False), ("=Noctua", False), ("Noctua  pronuba", False), ("", False),
    ],
)  # fmt: skip
def test_labels_that_read_as_names(label: str, is_name: bool) -> None:
    assert archives.is_like_a_name(label) is is_name


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "title", "role"]), inner, max_size=2)
    ),
    max_leaves=3,
)


INNER = (None, "name", "title", "path", "scope", "schema", "role", "start", "taxonRank", "captureMethod",
         "samplingDesign", "vernacularNames")  # fmt: skip


@settings(max_examples=100)
@given(
    st.sampled_from(sorted({*camtrap_check.TOP, "licenses", "title"})),
    st.sampled_from(INNER),
    ANY_JSON,
)
def test_no_description_makes_the_check_fail(
    described: dict[str, Any], name: str, inner: str | None, value: Any
) -> None:
    odd = json.loads(json.dumps(described))
    target = odd[name][0] if isinstance(odd.get(name), list) else odd.get(name)
    if inner and isinstance(target, dict):
        target[inner] = value
    else:
        odd[name] = value
    for fault in camtrap_check.faults_of_package(odd):
        assert isinstance(fault, str)


@pytest.fixture(scope="module")
def described(written: tuple[Path, Written]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written[0] / "datapackage.json").read_text(encoding="utf-8"))
    found["taxonomic"][0]["vernacularNames"] = {"eng": "Silver Ys"}
    return found


EDGES = st.floats(-500, 5000, width=32) | st.sampled_from([0.0, 1e-30, 3999.9998, 4000.0, 4000.0002])


@pytest.fixture(scope="module")
def shares() -> Iterator[duckdb.DuckDBPyConnection]:
    """The rules of boxes alone."""
    text = Path(archives.__file__).with_name("archives.sql").read_text(encoding="utf-8")
    with duckdb.connect() as session:
        session.execute(text[: text.index("CREATE VIEW")])
        yield session


@pytest.mark.long
@settings(max_examples=100)
@given(st.lists(st.tuples(EDGES, EDGES, st.integers(1, 5000)), min_size=1, max_size=50))
def test_shares_of_boxes_stay_in_the_photograph(
    shares: duckdb.DuckDBPyConnection, boxes: list[tuple[float, float, int]]
) -> None:
    values = ", ".join(f"({a}::FLOAT, {b}::FLOAT, {size})" for a, b, size in boxes)
    for a, b, size, is_inside, start, length in shares.execute(
        f"SELECT *, inside(a, b, size), begins(a, size), length(a, b, size) FROM (VALUES {values}) v(a, b, size)"
    ).fetchall():
        assert is_inside is (min(b, size) > max(a, 0))
        if is_inside:
            assert 0 <= start < 1 and length > 0 and start + length <= 1
            assert abs(float(start) - max(a, 0) / size) < 2e-6
            assert abs(float(length) - (min(b, size) - max(a, 0)) / size) < 2e-6
