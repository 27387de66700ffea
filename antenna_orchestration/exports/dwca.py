"""`dwca`: a Darwin Core archive for GBIF. A record is a taxon in a night at a deployment; `dwca.sql` has the mapping.

Its photograph is the one that shows the taxon best, with the box as shares of it. Nights without any are in no record:
the format has no place for them beside records of occurrences.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import archives, dwca_check, eml
from antenna_orchestration.exports.archives import Gaps, Opened
from antenna_orchestration.exports.dataset import LICENCES
from antenna_orchestration.exports.formats import Checked, Incomplete, Written
from antenna_orchestration.exports.material import BOXES, Material

_DWC: Final = "http://rs.tdwg.org/dwc/terms/"
_TERMS: Final = "http://purl.org/dc/terms/"
_ELEMENTS: Final = "http://purl.org/dc/elements/1.1/"
_AC: Final = "http://rs.tdwg.org/ac/terms/"
_XMP: Final = "http://ns.adobe.com/xap/1.0/"
_EXIF: Final = "http://ns.adobe.com/exif/1.0/"

_PREFIXES: Final[Mapping[str, Mapping[str, str]]] = {
    "occurrence": {"type": _ELEMENTS, "license": _TERMS, "rightsHolder": _TERMS},
    "multimedia": {
        "identifier": _TERMS,
        "title": _TERMS,
        "type": _ELEMENTS,
        "format": _ELEMENTS,
        "accessURI": _AC,
        "comments": _AC,
        "xFrac": _AC,
        "yFrac": _AC,
        "widthFrac": _AC,
        "heightFrac": _AC,
        "CreateDate": _XMP,
        "PixelXDimension": _EXIF,
        "PixelYDimension": _EXIF,
        "UsageTerms": f"{_XMP}rights/",
        "Owner": f"{_XMP}rights/",
    },
    "measurementorfact": {},
}
"""Of each table, where its terms are from; the others are Darwin Core's."""

_ROW_TYPES: Final = {
    "occurrence": f"{_DWC}Occurrence",
    "multimedia": f"{_AC}Multimedia",
    "measurementorfact": f"{_DWC}MeasurementOrFact",
}


def write(material: Material, out: Path) -> Written:
    """Write an archive to a file. Raises `Incomplete`, `InvalidInput` for several pipelines, and `Unavailable`."""
    gaps = Gaps(format="dwca", partial=material.partial)
    people = archives.contacts(material, gaps)
    _ask(material, gaps)
    with (
        archives.opened(material, gaps) as made,
        tempfile.TemporaryDirectory(prefix=".antenna-dwca-", dir=out.parent) as folder,
    ):
        _create(material, made)
        columns = {table: _copy(made, Path(folder) / f"{table}.txt", table) for table in _ROW_TYPES}
        counts = {
            "records": made.count("SELECT count(*) FROM occurrences"),
            "photographs": made.count("SELECT count(*) FROM dwca_multimedia"),
            "measurements": made.count("SELECT count(*) FROM dwca_measurementorfact"),
        }
        if not counts["records"]:
            raise Incomplete("dwca", ["a taxon: no observation has a scientific name"])
        hidden = made.count("SELECT count(*) FROM dwca_multimedia WHERE \"accessURI\" NOT LIKE 'http%://%'")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("meta.xml", _meta(columns))
            archive.writestr("eml.xml", eml.text(material, made, people))
            for table in _ROW_TYPES:
                archive.write(Path(folder) / f"{table}.txt", f"{table}.txt")
    notes = [f"{counted(hidden, 'photograph')} without a public address: GBIF does not show them"] if hidden else []
    return Written(counts=counts, left_out=made.left_out, notes=[*made.notes, *notes])


def check(path: Path) -> Checked:
    """Check an archive: by our rules, then by schemas, GBIF's definitions and python-dwca-reader where they are."""
    return dwca_check.check(path)


def _ask(material: Material, gaps: Gaps) -> None:
    """Note what the data set lacks."""
    said = material.dataset
    if said.title is None:
        archives.ask(gaps, material, "the title of the data set", "`title: …`")
    if said.description is None:
        archives.ask(gaps, material, "a description of the data set", "`description: …`")
    if said.data_licence not in dwca_check.LICENCES:
        what = f"a licence in place of {said.data_licence[:40]}" if said.data_licence else "a licence of the data"
        names = ", ".join(dwca_check.LICENCES)
        archives.ask(gaps, material, what, f"one that GBIF takes, which are {names}, such as `data_licence: CC0-1.0`")
    if said.media_licence is None:
        archives.ask(gaps, material, "a licence of the photographs", "`media_licence: CC-BY-4.0`")


def _create(material: Material, made: Opened) -> None:
    """The tables of `dwca.sql`."""
    said, session = material.dataset, made.session
    holders = [one.name for one in said.contributors if "rightsHolder" in one.roles and one.name]
    for name, value in {
        "license": LICENCES[said.data_licence] if said.data_licence in dwca_check.LICENCES else None,
        "media_license": LICENCES.get(said.media_licence or "", said.media_licence),
        "rights_holder": " | ".join(holders) or None,
        "dataset_name": said.title,
        "sampling_protocol": said.sampling_protocol or "camera trap",
        "boxes": BOXES,
    }.items():
        session.execute(f"SET VARIABLE {name} = ?::VARCHAR", [value])
    session.execute(
        "CREATE TABLE places (deployment VARCHAR, latitude DOUBLE, longitude DOUBLE, uncertainty DOUBLE,"
        " locality VARCHAR, country VARCHAR)"
    )
    session.executemany(
        "INSERT INTO places VALUES (?, ?, ?, ?, ?, ?)",
        [
            [name, place.latitude, place.longitude, place.uncertainty_m, place.location_name, place.country_code]
            for name, place in made.places.items()
        ],
    )
    archives.run_file(session, "dwca.sql")


def _copy(made: Opened, path: Path, table: str) -> list[str]:
    """Write a table, and return its columns."""
    view = f"dwca_{table}"
    columns = [name for (name, *_) in made.session.execute(f"DESCRIBE {view}").fetchall()]
    values = ", ".join(f'plain("{name}") AS "{name}"' for name in columns)
    place = str(path).replace("'", "''")
    made.session.execute(
        f"COPY (SELECT {values} FROM {view}) TO '{place}'"  # noqa: S608  # names of ours
        " (FORMAT csv, HEADER true, DELIMITER '\t', QUOTE '', ESCAPE '')"
    )
    return columns


def _meta(columns: Mapping[str, list[str]]) -> bytes:
    """`meta.xml`: which column is which term."""
    root = ET.Element("archive", {"xmlns": dwca_check.TEXT, "metadata": "eml.xml"})
    for table, names in columns.items():
        is_core = table == "occurrence"
        part = ET.SubElement(
            root,
            "core" if is_core else "extension",
            {
                "encoding": "UTF-8",
                "fieldsTerminatedBy": "\\t",
                "linesTerminatedBy": "\\n",
                "fieldsEnclosedBy": "",
                "ignoreHeaderLines": "1",
                "rowType": _ROW_TYPES[table],
            },
        )
        ET.SubElement(ET.SubElement(part, "files"), "location").text = f"{table}.txt"
        ET.SubElement(part, "id" if is_core else "coreid", {"index": "0"})
        for index, name in enumerate(names):
            if name != "coreid":
                term = _PREFIXES[table].get(name, _DWC) + name
                ET.SubElement(part, "field", {"index": str(index), "term": term})
    ET.indent(root)
    made: Any = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return bytes(made)
