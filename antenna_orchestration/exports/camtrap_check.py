"""What is wrong with a Camtrap DP, wherever it came from: by our own rules, then by frictionless and the profile."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import settings
from antenna_orchestration.ecology.model import RANKS
from antenna_orchestration.exports.archives import NO_VALUE
from antenna_orchestration.exports.camtrap_columns import DESIGNS, METHODS, ROLES, SCHEMAS, TABLES, VERSION, Column
from antenna_orchestration.exports.formats import MOST_FAULTS, Checked

TOP: Final = ("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic")

OF_PROJECT: Final = ("title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel")

_ROWS_OF_FRICTIONLESS: Final = 20_000
"""Rows of each table that frictionless reads, at some thousand a second; our own rules read all."""


def check(path: Path) -> Checked:
    """Check a package's folder: by our rules, then by frictionless and the profile where they are there."""
    faults: list[str] = []
    for fault in faults_of(path):
        faults.append(fault)
        if len(faults) >= MOST_FAULTS:
            break
    by, unchecked = ["own rules"], []
    schemas = settings.get().export_schemas
    lacking = [name for name in ("frictionless", "jsonschema", "referencing") if find_spec(name) is None]
    if lacking:
        unchecked.append(f"by {' and '.join(lacking)}: pip install 'antenna-orchestration[validators]'")
    elif schemas is None:
        unchecked.append(
            "by frictionless and the profile: ANTENNA_EXPORT_SCHEMAS names no folder that has camtrap-dp-1.0.2 and "
            "frictionless"
        )
    elif not (path / "datapackage.json").is_file():
        unchecked.append("by frictionless and the profile: there is no datapackage.json that can be read")
    else:
        found, partly = _faults_by_frictionless(path, schemas)
        faults += [fault for fault in found if fault not in faults]
        by.append("frictionless and jsonschema")
        unchecked += partly
    return Checked(faults=faults[:MOST_FAULTS], by=by, unchecked=unchecked)


def faults_of(path: Path) -> Iterator[str]:
    """What our own rules find, the description first."""
    described = path / "datapackage.json"
    try:
        package = json.loads(described.read_text(encoding="utf-8"))
    except FileNotFoundError:
        yield "datapackage.json is missing"
        return
    except (OSError, ValueError) as error:
        yield f"datapackage.json cannot be read as JSON: {' '.join(str(error).split())}"
        return
    if not isinstance(package, dict):
        yield "datapackage.json is not an object"
        return
    for fault in faults_of_package(package):
        yield f"datapackage.json: {fault}"
    yield from _Tables(path, package).faults()


def faults_of_package(package: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the description itself."""
    for name in TOP:
        if name not in package:
            yield f"{name} is missing"
    if f"/{VERSION}/" not in str(package.get("profile", f"/{VERSION}/")):
        yield f"profile must be {SCHEMAS}camtrap-dp-profile.json"
    if not _is_moment(package.get("created", "2026-01-01T00:00:00Z")):
        yield f"created: {str(package['created'])[:40]!r} is not a time with an offset"
    yield from _faults_of_people(package.get("contributors", [{"title": "-"}]))
    if "licenses" in package:
        yield from _faults_of_licences(_objects(package["licenses"]))
    yield from _faults_of_project(package.get("project", {}))
    area = package.get("spatial", {"type": "", "coordinates": ""})
    if not isinstance(area, dict) or not {"type", "coordinates"} <= area.keys():
        yield "spatial must be GeoJSON, with type and coordinates"
    yield from _faults_of_dates(package.get("temporal"))
    for number, taxon in enumerate(_objects(package.get("taxonomic", []))):
        if not taxon.get("scientificName"):
            yield f"taxonomic {number}: scientificName is missing"
        if taxon.get("taxonRank", "species") not in (*RANKS, "subspecies"):
            yield f"taxonomic {number}: {str(taxon['taxonRank'])[:40]!r} is not a rank"
        names = taxon.get("vernacularNames", {})
        if not isinstance(names, dict):
            yield f"taxonomic {number}: vernacularNames must be an object of names by language"
        for language in names if isinstance(names, dict) else ():
            if not re.fullmatch("[a-z]{3}", language):
                yield f"taxonomic {number}: {language[:40]!r} is not a language code of three letters, such as eng"


def _faults_of_people(people: Any) -> Iterator[str]:
    if not _objects(people):
        yield "contributors: there is none"
    for number, one in enumerate(_objects(people)):
        if not one.get("title"):
            yield f"contributors {number}: title is missing"
        if one.get("role", "contributor") not in ROLES:
            yield f"contributors {number}: role {str(one['role'])[:40]!r} is not one of {', '.join(ROLES)}"


def _faults_of_licences(licences: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for scope in ("data", "media"):
        if not any(one.get("scope") == scope for one in licences):
            yield f"licenses: there is none of the scope {scope}"
    for number, one in enumerate(licences):
        if not one.get("name") and not one.get("path"):
            yield f"licenses {number}: neither name nor path"


def _faults_of_project(project: Any) -> Iterator[str]:
    if not isinstance(project, dict):
        yield "project is not an object"
        return
    for name in OF_PROJECT:
        if project and name not in project:
            yield f"project: {name} is missing"
    if project.get("samplingDesign", DESIGNS[0]) not in DESIGNS:
        yield f"project: samplingDesign is not one of {', '.join(DESIGNS)}"
    methods = project.get("captureMethod", list(METHODS))
    if not isinstance(methods, list) or not methods or not set(map(str, methods)) <= set(METHODS):
        yield f"project: captureMethod must be a list of {' and '.join(METHODS)}"
    if not isinstance(project.get("individualAnimals", False), bool):
        yield "project: individualAnimals must be true or false"


def _faults_of_dates(said: Any) -> Iterator[str]:
    if said is None:
        return
    try:
        first, last = (date.fromisoformat(str(said[name])) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError):
        yield "temporal must have dates start and end, such as 2026-06-12"
        return
    if first > last:
        yield f"temporal: the end, {last}, is before the start, {first}"


def _objects(said: Any) -> list[dict[str, Any]]:
    return [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []


def _is_moment(said: Any) -> bool:
    try:
        return datetime.fromisoformat(str(said)).tzinfo is not None
    except ValueError:
        return False


class _Tables:
    """The tables of a package, read row by row, in the order in which they refer to each other."""

    def __init__(self, path: Path, package: Mapping[str, Any]) -> None:
        self._path = path
        self._resources = {str(one.get("name")): one for one in _objects(package.get("resources", []))}
        self._names = {str(one.get("scientificName")) for one in _objects(package.get("taxonomic", []))}
        # Ids that other tables may name.
        self._ids: dict[str, set[str]] = {"deployments": set(), "media": set(), "observations": set()}

    def faults(self) -> Iterator[str]:
        for table, columns in TABLES.items():
            resource = self._resources.get(table)
            if resource is None:
                yield f"datapackage.json: the resource {table} is missing"
                continue
            if resource.get("profile") != "tabular-data-resource":
                yield f"datapackage.json: the profile of {table} must be tabular-data-resource"
            if VERSION not in str(resource.get("schema")):
                yield f"datapackage.json: the schema of {table} must be {SCHEMAS}{table}-table-schema.json"
            name = str(resource.get("path", ""))
            file = self._path / name
            if not name or name.startswith(("/", ".")) or ".." in name or not file.is_file():
                yield f"datapackage.json: {name or 'the path'} of {table} is not a file in the folder"
                continue
            try:
                yield from self._faults_of_file(file, table, columns)
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                yield f"{name} cannot be read as CSV in UTF-8: {' '.join(str(error).split())}"

    def _faults_of_file(self, file: Path, table: str, columns: Sequence[Column]) -> Iterator[str]:
        names = [column.name for column in columns]
        with file.open(newline="", encoding="utf-8") as text:
            reader = csv.reader(text, strict=True)
            header = next(reader, [])
            if header != names:
                yield f"{file.name}, header: it must be {','.join(names)}"
                return
            for number, cells in enumerate(reader, 2):
                if len(cells) != len(names):
                    yield f"{file.name}, row {number}: {len(cells)} cells in place of {len(names)}"
                    continue
                for fault in self._faults_of_row(table, columns, cells):
                    yield f"{file.name}, row {number}, {fault}"

    def _faults_of_row(self, table: str, columns: Sequence[Column], cells: Sequence[str]) -> Iterator[str]:
        row: dict[str, str] = {}
        faulty = False
        for column, cell in zip(columns, cells, strict=True):
            if cell in NO_VALUE:
                if column.required:
                    faulty = True
                    yield f"{column.name}: it is missing"
                continue
            row[column.name] = cell
            if fault := column.fault(cell):
                faulty = True
                yield f"{column.name}: {fault}"
        key = columns[0].name
        if (id_ := row.get(key)) is not None:
            if id_ in self._ids[table]:
                yield f"{key}: {id_[:80]!r} is in a row before"
            self._ids[table].add(id_)
        for name, other in (("deploymentID", "deployments"), ("mediaID", "media")):
            if name != key and name in row and row[name] not in self._ids[other]:
                yield f"{name}: {row[name][:80]!r} is not in {other}"
        if not faulty:
            yield from self._faults_between(table, row)

    def _faults_between(self, table: str, row: Mapping[str, str]) -> Iterator[str]:
        """What is wrong among the cells of a row, each of which is right."""
        for start, end in (("deploymentStart", "deploymentEnd"), ("eventStart", "eventEnd")):
            if start in row and end in row and row[start] != row[end] and _moment(row[start]) > _moment(row[end]):
                yield f"{end}: {row[end]} is before {row[start]}"
        if table != "observations":
            return
        if row["observationLevel"] == "media" and "mediaID" not in row:
            yield "mediaID: an observation of the level media must name one"
        for corner, size in (("bboxX", "bboxWidth"), ("bboxY", "bboxHeight")):
            if (corner in row) != ("bboxX" in row) or (size in row) != ("bboxX" in row):
                yield f"{size if corner in row else corner}: a box needs all four numbers"
            elif corner in row and float(row[corner]) + float(row[size]) > 1 + 1e-9:
                yield f"{size}: the box ends outside of the photograph"
        if row["observationType"] == "blank" and ("scientificName" in row or "bboxX" in row):
            yield "observationType: a blank has neither a name nor a box"
        if "scientificName" in row and row["scientificName"] not in self._names:
            yield f"scientificName: {row['scientificName'][:80]!r} is not in taxonomic of datapackage.json"


def _moment(cell: str) -> datetime:
    return datetime.fromisoformat(cell)


def _faults_by_frictionless(path: Path, schemas: Path) -> tuple[list[str], list[str]]:
    """What the profile and the table schemas find, and what of the package they did not read."""
    from frictionless import Package
    from jsonschema import Draft4Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT4

    try:
        package = json.loads((path / "datapackage.json").read_text(encoding="utf-8"))
        profile = _json_of(schemas / f"camtrap-dp-{VERSION}" / "camtrap-dp-profile.json")
        registry = Registry().with_resources(
            (address, Resource.from_contents(_json_of(schemas / "frictionless" / file), DRAFT4))
            for address, file in (
                ("https://specs.frictionlessdata.io/schemas/data-package.json", "data-package.json"),
                ("http://json.schemastore.org/geojson.json", "geojson.json"),
            )
        )
        tables = {name: _json_of(schemas / f"camtrap-dp-{VERSION}" / f"{name}-table-schema.json") for name in TABLES}
    except (OSError, ValueError) as error:
        return [], [f"by frictionless and the profile: {' '.join(str(error).split())}"]
    faults = [
        f"datapackage.json: {'/'.join(map(str, error.path)) or 'the whole'}: {error.message[:200]}"
        for error in Draft4Validator(profile, registry=registry).iter_errors(package)
    ]
    unchecked, readable = [], []
    paths = {one.get("name"): str(one.get("path")) for one in _objects(package.get("resources"))}
    for name, schema in tables.items():
        file = path / paths.get(name, "-")
        if not file.is_file():
            continue
        if _is_longer(file, _ROWS_OF_FRICTIONLESS):
            unchecked.append(f"by frictionless: rows of {file.name} after the first {_ROWS_OF_FRICTIONLESS:,}")
        readable.append({"name": name, "path": file.name, "format": "csv", "encoding": "utf-8", "schema": schema})
    if unchecked:
        # Rows that are read refer to some that are not.
        for one in readable:
            one["schema"] = {key: value for key, value in one["schema"].items() if key != "foreignKeys"}
    if readable:
        longest = csv.field_size_limit()
        try:
            report = Package.from_descriptor({"resources": readable}, basepath=str(path)).validate(
                limit_rows=_ROWS_OF_FRICTIONLESS, limit_errors=MOST_FAULTS
            )
        finally:
            # frictionless raises it for the whole process, in which our readers refuse longer cells.
            csv.field_size_limit(longest)
        faults += [f"{task.place}: {error.message}" for task in report.tasks for error in task.errors]
        faults += [error.message for error in report.errors]
    return faults, unchecked


def _is_longer(file: Path, rows: int) -> bool:
    """Whether a table has more lines than a header and so many rows."""
    with file.open("rb") as lines:
        return next(islice(lines, rows + 1, None), None) is not None


def _json_of(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
