"""`camtrap-dp`: a Camera Trap Data Package 1.0.2, with observations of each photograph and of each night.

GBIF reads those of nights. `camtrap_dp.sql` has the mapping of rows.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from antenna_orchestration.domain import list_columns
from antenna_orchestration.ecology.model import RANKS, Place
from antenna_orchestration.exports import archives, camtrap_check
from antenna_orchestration.exports.archives import Gaps, Opened
from antenna_orchestration.exports.camtrap_columns import SCHEMAS, TABLES, Column
from antenna_orchestration.exports.dataset import Contributor
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import BOXES, Material

_SPDX: Final = re.compile(r"[-a-zA-Z0-9._]+")

_AROUND_A_POINT: Final = 0.0005
"""Degrees. An area must be one, also around a single trap."""

_OURS: Final = frozenset(
    ("deploymentID", "locationName", "latitude", "longitude", "coordinateUncertainty", "deploymentStart",
     "deploymentEnd")
)  # fmt: skip
"""Columns of deployments that we fill from what is known of a place; the others are as the file of sites has them."""


def write(material: Material, out: Path) -> Written:
    """Write a package into a new folder. Raises `Incomplete`, `InvalidInput` for several pipelines, `Unavailable`."""
    gaps = Gaps(format="camtrap-dp", partial=material.partial)
    people = archives.contacts(material, gaps)
    licences = _licences(material, gaps)
    project = _project(material, gaps)
    with archives.opened(material, gaps, judge=_faults_of_further) as made:
        out.mkdir()
        deployments = _deployments(made)
        _write_rows(out / "deployments.csv", deployments)
        methods = material.dataset.project.capture_method
        made.session.execute("SET VARIABLE capture_method = ?", [methods[0] if len(methods) == 1 else None])
        archives.run_file(made.session, "camtrap_dp.sql")
        _copy(made, out / "media.csv", "media")
        _copy(made, out / "observations.csv", "package_observations")
        described = _described(material, made, deployments, people=people, licences=licences, project=project)
        text = json.dumps(described, ensure_ascii=False, indent=2)
        (out / "datapackage.json").write_text(text + "\n", encoding="utf-8")
        return Written(
            counts={
                "deployments": len(deployments),
                "photographs": made.count("SELECT count(*) FROM taken"),
                "observations": made.count("SELECT count(*) FROM seen"),
                "events": made.count("SELECT count(*) FROM events"),
            },
            left_out=made.left_out,
            notes=made.notes,
        )


def _licences(material: Material, gaps: Gaps) -> list[dict[str, str]]:
    """Those of the data and of the photographs; none unless there are both, as the format demands."""
    found = []
    for scope, given in (("data", material.dataset.data_licence), ("media", material.dataset.media_licence)):
        name = f"{scope}_licence"
        if given is None:
            what = "the data" if scope == "data" else "the photographs"
            archives.ask(gaps, material, f"a licence of {what}", f"`{name}: CC-BY-4.0`")
        elif given.startswith(("http://", "https://")):
            found.append({"path": given, "scope": scope})
        elif _SPDX.fullmatch(given):
            found.append({"name": given, "scope": scope})
        else:
            archives.ask(
                gaps, material, f"a licence that programs know in place of {given[:40]!r}",
                f"an SPDX identifier or an address, such as `{name}: CC-BY-4.0`",
            )  # fmt: skip
    return found if len(found) == 2 else []


def _project(material: Material, gaps: Gaps) -> dict[str, Any]:
    said = material.dataset.project
    title = said.title or material.dataset.title
    if title is None:
        archives.ask(gaps, material, "the title of the project", "`title: …`")
    if said.sampling_design is None:
        archives.ask(gaps, material, "the sampling design", "`project: {sampling_design: opportunistic}`")
    if not said.capture_method:
        archives.ask(gaps, material, "how photographs are triggered", "`project: {capture_method: [timeLapse]}`")
    return _filled(
        {
            "id": material.selection.project,
            "title": title,
            "description": said.description,
            "samplingDesign": said.sampling_design,
            "captureMethod": list(dict.fromkeys(said.capture_method)) or None,
            "individualAnimals": False,
            "observationLevel": ["media", "event"],
        }
    )


def _further(place: Place) -> Iterator[tuple[Column, str]]:
    """The cells of the file of sites that are columns of the format."""
    cells = {list_columns.key(title): cell.strip() for title, cell in place.further.items()}
    for column in TABLES["deployments"]:
        cell = cells.get(list_columns.key(column.name))
        if cell and column.name not in _OURS:
            yield column, cell


def _faults_of_further(place: Place) -> Iterator[str]:
    for column, cell in _further(place):
        if fault := column.fault(cell):
            yield f"{column.name}: {fault}"


def _deployments(made: Opened) -> list[dict[str, Any]]:
    rows = []
    for name, place in made.places.items():
        first, last = made.spans[name]
        row = {
            "deploymentID": name,
            "locationName": place.location_name,
            "latitude": place.latitude,
            "longitude": place.longitude,
            "coordinateUncertainty": place.uncertainty_m and max(1, round(place.uncertainty_m)),
            "deploymentStart": archives.moment_of(place.starts_at, place) or first,
            "deploymentEnd": archives.moment_of(place.ends_at, place) or last,
            **{column.name: cell for column, cell in _further(place) if not column.fault(cell)},
        }
        cells = {list_columns.key(title): cell for title, cell in place.further.items()}
        if attractant := cells.get("attractant", "").strip():
            tags = filter(None, (row.get("deploymentTags"), f"attractant:{attractant.replace('|', '/')}"))
            row["deploymentTags"] = " | ".join(map(str, tags))
        rows.append(row)
    return rows


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [column.name for column in TABLES[path.stem]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _copy(made: Opened, path: Path, view: str) -> None:
    """Write a view as CSV, with all columns of the table in its order."""
    columns = ", ".join(f'NULL::VARCHAR AS "{column.name}"' for column in TABLES[path.stem])
    place = str(path).replace("'", "''")
    made.session.execute(
        f"COPY (SELECT {columns} WHERE false UNION ALL BY NAME FROM {view})"  # noqa: S608  # names of ours
        f" TO '{place}' (FORMAT csv, HEADER true, DELIMITER ',')"
    )


def _described(
    material: Material,
    made: Opened,
    deployments: Sequence[Mapping[str, Any]],
    *,
    people: Sequence[Contributor],
    licences: Sequence[Mapping[str, str]],
    project: Mapping[str, Any],
) -> dict[str, Any]:
    """What `datapackage.json` says."""
    said, chosen = material.dataset, material.selection
    name = re.sub(r"[^-a-z0-9._/]+", "-", f"{chosen.name}".lower()).strip("-")
    starts = min(str(row["deploymentStart"])[:10] for row in deployments)
    ends = max(str(row["deploymentEnd"])[:10] for row in deployments)
    return _filled(
        {
            "profile": f"{SCHEMAS}camtrap-dp-profile.json",
            "name": name,
            "id": archives.id_of(material),
            "created": material.made_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "title": said.title,
            "description": f"{said.description}\n\n{BOXES}" if said.description else BOXES,
            "keywords": list(said.keywords) or None,
            "bibliographicCitation": said.citation,
            "contributors": [one for person in people for one in _as_contributors(person)],
            "licenses": list(licences) or None,
            "project": dict(project),
            "spatial": _area(made.places.values()),
            "temporal": {"start": starts, "end": ends},
            "taxonomic": _taxa(made, said.language),
            "resources": [
                {
                    "name": table,
                    "path": f"{table}.csv",
                    "profile": "tabular-data-resource",
                    "format": "csv",
                    "mediatype": "text/csv",
                    "encoding": "utf-8",
                    "schema": f"{SCHEMAS}{table}-table-schema.json",
                }
                for table in TABLES
            ],
        }
    )


def _as_contributors(person: Contributor) -> Iterator[dict[str, str]]:
    """One for each role, as a contributor of a data package has one at most."""
    address = person.orcid and f"https://orcid.org/{person.orcid.rpartition('/')[2]}"
    for role in dict.fromkeys(person.roles) or (None,):
        organization = person.organization if person.organization != person.name else None
        yield _filled(
            {
                "title": person.name,
                "email": person.email,
                "path": address,
                "role": role,
                "organization": organization,
            }
        )


def _area(places: Iterable[Place]) -> dict[str, Any]:
    """The rectangle that all places are in."""
    latitudes = [place.latitude for place in places if place.latitude is not None]
    longitudes = [place.longitude for place in places if place.longitude is not None]
    south, north = max(min(latitudes) - _AROUND_A_POINT, -90), min(max(latitudes) + _AROUND_A_POINT, 90)
    west, east = max(min(longitudes) - _AROUND_A_POINT, -180), min(max(longitudes) + _AROUND_A_POINT, 180)
    corners = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [[[round(one, 6) for one in corner] for corner in corners]]}


def _taxa(made: Opened, language: str) -> list[dict[str, Any]]:
    found = made.rows(
        "SELECT * EXCLUDE (kind) FROM named WHERE scientific_name IN"
        " (SELECT scientific_name FROM seen UNION SELECT scientific_name FROM labelled) ORDER BY scientific_name"
    )
    return [
        _filled(
            {
                "scientificName": row["scientific_name"],
                "taxonID": row["taxon_id"],
                "taxonRank": row["taxon_rank"] if row["taxon_rank"] in RANKS else None,
                **{rank: row[rank] for rank in archives.RANKS_ABOVE},
                "vernacularNames": row["vernacular"] and {language: row["vernacular"]},
            }
        )
        for row in found
    ]


def _filled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def check(path: Path) -> Checked:
    """Check a package's folder: by our rules, then by frictionless and the profile where they are there."""
    return camtrap_check.check(path)
