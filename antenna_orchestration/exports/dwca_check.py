"""What is wrong with a Darwin Core archive, wherever it came from.

First by our own rules, which are what GBIF demands; then, where they are there, by the schemas of EML and of Darwin
Core's text files (lxml), by GBIF's definitions of terms, and by python-dwca-reader.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

from antenna_orchestration import settings
from antenna_orchestration.exports.dataset import LICENCES as _ALL_LICENCES
from antenna_orchestration.exports.formats import MOST_FAULTS, Checked

TEXT: Final = "http://rs.tdwg.org/dwc/text/"
"""The namespace of `meta.xml`."""

LICENCES: Final = ("CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0")
"""Those that GBIF takes."""

_DWC: Final = "http://rs.tdwg.org/dwc/terms/"

_OCCURRENCE: Final = f"{_DWC}Occurrence"

REQUIRED: Final = ("occurrenceID", "basisOfRecord", "scientificName", "eventDate")
"""Terms without which GBIF takes no record."""

_BASES: Final = frozenset(
    ("MachineObservation", "HumanObservation", "Observation", "Occurrence", "PreservedSpecimen", "FossilSpecimen",
     "LivingSpecimen", "MaterialSample", "MaterialEntity", "MaterialCitation")
)  # fmt: skip

IN_EML: Final = ("title", "creator", "pubDate", "abstract", "intellectualRights", "contact", "metadataProvider")
"""What GBIF demands of a data set."""

_ROWS_OF_READER: Final = 20_000
"""Records that python-dwca-reader walks through; our own rules read all."""

_CHARACTERS: Final = {"\\t": "\t", "\\n": "\n", "\\r": "\r", "\\r\\n": "\r\n"}
"""As `meta.xml` writes them."""

_DATE: Final = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[-+]\d\d:?\d\d)?)?)?)?", re.ASCII)


def check(path: Path) -> Checked:
    """Check an archive."""
    faults = list(islice(faults_of(path), MOST_FAULTS))
    by, unchecked = ["own rules"], []
    schemas = settings.get().export_schemas
    for name, module, needs_schemas, usual in (
        ("lxml and the XML schemas", "lxml", True, _faults_by_schema),
        ("GBIF's definitions of terms", "xml", True, _faults_by_terms),
        ("python-dwca-reader", "dwca", False, _faults_by_reader),
    ):
        if find_spec(module) is None:
            unchecked.append(f"by {name}: pip install 'antenna-orchestration[validators]'")
        elif needs_schemas and schemas is None:
            unchecked.append(
                f"by {name}: ANTENNA_EXPORT_SCHEMAS names no folder that has dwc-text, eml-2.2.0 and rs.gbif.org"
            )
        elif not zipfile.is_zipfile(path):
            unchecked.append(f"by {name}: it is not a zip file")
        else:
            try:
                faults += usual(path, schemas or Path())
            except OSError as error:
                unchecked.append(f"by {name}: {' '.join(str(error).split())}")
            else:
                by.append(name)
    return Checked(faults=list(dict.fromkeys(faults))[:MOST_FAULTS], by=by, unchecked=unchecked)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A table, as `meta.xml` describes it."""

    row_type: str
    file: str
    id_index: int
    # By term.
    indices: Mapping[str, int]
    delimiter: str
    quote: str
    headers: int
    is_core: bool


def faults_of(path: Path) -> Iterator[str]:
    """What our own rules find."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "meta.xml" not in names:
                yield "meta.xml is missing"
                return
            meta, fault = _parsed(archive, "meta.xml")
            if meta is None:
                yield fault
                return
            yield from _faults_of_eml(archive, meta.get("metadata"))
            parts, faults = _parts(meta, names)
            yield from faults
            ids: set[str] = set()
            for part in sorted(parts, key=lambda part: not part.is_core):
                try:
                    yield from _faults_of_table(archive, part, ids)
                except (UnicodeDecodeError, csv.Error) as error:
                    yield f"{part.file} cannot be read as a table in UTF-8: {' '.join(str(error).split())}"
    except (OSError, zipfile.BadZipFile) as error:
        yield f"{path.name} cannot be read as a zip file: {' '.join(str(error).split())}"


def _parsed(archive: zipfile.ZipFile, name: str) -> tuple[ET.Element | None, str]:
    try:
        return ET.fromstring(archive.read(name)), ""  # noqa: S314  # expat bounds what entities may become
    # The others are of encodings that there are not.
    except (ET.ParseError, LookupError, ValueError) as error:
        return None, f"{name} is not well-formed XML: {error}"


def _faults_of_eml(archive: zipfile.ZipFile, name: str | None) -> Iterator[str]:
    if not name or name not in archive.namelist():
        yield "meta.xml: metadata names no file of the archive, such as eml.xml"
        return
    root, fault = _parsed(archive, name)
    if root is None:
        yield fault
        return
    dataset = root.find("dataset")
    for tag in IN_EML:
        element = None if dataset is None else dataset.find(tag)
        if element is None or not "".join(element.itertext()).strip():
            yield f"{name}: {tag} is missing"
    links = [] if dataset is None else [link.get("url", "") for link in dataset.iterfind("intellectualRights//ulink")]
    if dataset is not None and not any(_is_gbif_licence(link) for link in links):
        yield f"{name}: intellectualRights has no link to {', '.join(LICENCES)}"


def _is_gbif_licence(address: str) -> bool:
    plain = re.sub(r"^https?://|/legalcode$|/$", "", address.strip())
    return plain in {re.sub(r"^https?://|/$", "", _ALL_LICENCES[name]) for name in LICENCES}


def _parts(meta: ET.Element, names: set[str]) -> tuple[list[_Part], list[str]]:
    """The tables that can be read, and what is wrong with the description."""
    parts, faults = [], []
    cores = meta.findall(f"{{{TEXT}}}core")
    if meta.tag != f"{{{TEXT}}}archive" or len(cores) != 1:
        return [], ["meta.xml must be an archive with one core"]
    if cores[0].get("rowType") != _OCCURRENCE:
        faults.append(f"meta.xml: the rowType of the core must be {_OCCURRENCE}")
    for element in (cores[0], *meta.findall(f"{{{TEXT}}}extension")):
        is_core = element is cores[0]
        file = (element.findtext(f"{{{TEXT}}}files/{{{TEXT}}}location") or "").strip()
        row_type = element.get("rowType", "")
        if not row_type:
            faults.append(f"meta.xml: {file} has no rowType")
        if element.get("encoding", "UTF-8").upper() not in ("UTF-8", "UTF8"):
            faults.append(f"meta.xml: {file} must be UTF-8")
        if file not in names:
            faults.append(f"meta.xml: {file or 'a location'} is not in the archive")
            continue
        id_ = element.find(f"{{{TEXT}}}{'id' if is_core else 'coreid'}")
        fields = [(one.get("index", ""), one.get("term", "")) for one in element.iterfind(f"{{{TEXT}}}field")]
        index = "" if id_ is None else id_.get("index", "")
        if not index.isdecimal() or not all(number.isdecimal() for number, _ in fields if number):
            faults.append(f"meta.xml: {file} has no {'id' if is_core else 'coreid'}, or an index that is not a number")
            continue
        terms = [term for _, term in fields]
        faults += [
            f"meta.xml: {file} has {term} twice" for term in sorted({one for one in terms if terms.count(one) > 1})
        ]
        if is_core:
            faults += [f"meta.xml: {file} lacks {term}" for term in REQUIRED if _DWC + term not in terms]
        separator = element.get("fieldsTerminatedBy", ",")
        delimiter = _CHARACTERS.get(separator, separator)
        quote = element.get("fieldsEnclosedBy", '"')
        headers = element.get("ignoreHeaderLines", "0")
        unfit = len(delimiter) != 1 or len(quote) > 1 or delimiter in "\r\n" or quote in ("\r", "\n", delimiter)
        if unfit or not headers.isdecimal():
            faults.append(
                f"meta.xml: {file} must have one character in fieldsTerminatedBy, at most another one in "
                "fieldsEnclosedBy, and a number in ignoreHeaderLines"
            )
            continue
        parts.append(
            _Part(
                row_type=row_type,
                file=file,
                id_index=int(index),
                indices={term: int(number) for number, term in fields if number},
                delimiter=delimiter,
                quote=quote,
                headers=int(headers),
                is_core=is_core,
            )
        )
    return parts, faults


def _faults_of_table(archive: zipfile.ZipFile, part: _Part, ids: set[str]) -> Iterator[str]:
    """What is wrong with the rows; those of the core add to the ids that the others may name."""
    with archive.open(part.file) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        reader = csv.reader(
            text,
            delimiter=part.delimiter,
            quotechar=part.quote or None,
            quoting=csv.QUOTE_MINIMAL if part.quote else csv.QUOTE_NONE,
        )
        needed = max([part.id_index, *part.indices.values()]) + 1
        width = None
        for number, cells in enumerate(reader, 1):
            where = f"{part.file}, row {number}"
            width = len(cells) if width is None else width
            if len(cells) != width or len(cells) < needed:
                yield f"{where}: {len(cells)} cells in place of {max(width, needed)}"
                continue
            if number <= part.headers:
                continue
            id_ = cells[part.id_index]
            if not part.is_core:
                if id_ not in ids:
                    yield f"{where}: {id_[:80]!r} is not a record of the core"
            elif not id_ or id_ in ids:
                yield f"{where}: the id {id_[:80]!r} is {'in a row before' if id_ else 'missing'}"
            if part.is_core:
                ids.add(id_)
            row = {term.rpartition("/")[2]: cells[index] for term, index in part.indices.items() if cells[index]}
            judge = _faults_of_record if part.is_core else _faults_of_extension
            for fault in judge(row):
                yield f"{where}, {fault}"


def _faults_of_record(row: Mapping[str, str]) -> Iterator[str]:
    for term in REQUIRED:
        if term not in row:
            yield f"{term}: it is missing"
    for term, (is_right, what) in _RULES.items():
        if term in row and not is_right(row[term]):
            yield f"{term}: {row[term][:80]!r} is not {what}"
    if ("decimalLatitude" in row) != ("decimalLongitude" in row):
        yield "decimalLatitude: latitude and longitude belong together"
    if "decimalLatitude" in row and "geodeticDatum" not in row:
        yield "geodeticDatum: it is missing, so nobody knows what the coordinates mean"


def _faults_of_extension(row: Mapping[str, str]) -> Iterator[str]:
    if "measurementID" in row and "measurementType" not in row:
        yield "measurementType: it is missing"
    shares = {term: row[term] for term in ("xFrac", "yFrac", "widthFrac", "heightFrac") if term in row}
    if not shares:
        return
    if len(shares) < 4 or not all(_is_number(share, 0, 1) for share in shares.values()):
        yield "xFrac: a box has four numbers between 0 and 1"
        return
    for corner, size in (("xFrac", "widthFrac"), ("yFrac", "heightFrac")):
        if float(shares[size]) <= 0 or float(shares[corner]) + float(shares[size]) > 1 + 1e-9:
            yield f"{size}: the box is empty, or ends outside of the photograph"


def _is_number(text: str, least: float, most: float) -> bool:
    return re.fullmatch(r"[-+]?\d+(\.\d+)?([eE][-+]?\d+)?", text, re.ASCII) is not None and least <= float(text) <= most


def _is_dated(text: str) -> bool:
    """Whether it is a date, a time, or an interval whose end is not before its start."""
    parts = text.split("/")
    if len(parts) > 2 or not all(_DATE.fullmatch(part) for part in parts):
        return False
    try:
        moments = [_moment(part) for part in parts]
    except ValueError:
        return False
    return len(moments) < 2 or (moments[0].tzinfo is None) != (moments[1].tzinfo is None) or moments[0] <= moments[1]


def _moment(text: str) -> datetime:
    if "T" in text:
        return datetime.fromisoformat(text)
    whole = text + "-01" * (2 - text.count("-"))
    return datetime.combine(date.fromisoformat(whole), datetime.min.time())


_RULES: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "basisOfRecord": (_BASES.__contains__, "a basis that GBIF knows, such as MachineObservation"),
    "occurrenceStatus": (("present", "absent").__contains__, "present or absent"),
    "eventDate": (_is_dated, "a time such as 2026-06-12T20:10:00+02:00, or an interval of two with a slash"),
    "dateIdentified": (_is_dated, "a time such as 2026-06-12T20:10:00Z"),
    "decimalLatitude": (lambda text: _is_number(text, -90, 90), "between -90 and 90"),
    "decimalLongitude": (lambda text: _is_number(text, -180, 180), "between -180 and 180"),
    "coordinateUncertaintyInMeters": (lambda text: _is_number(text, 1e-9, 20_040_000), "a length in metres"),
    "countryCode": (lambda text: re.fullmatch("[A-Z]{2}", text) is not None, "two letters, such as DK"),
    "individualCount": (lambda text: text.isascii() and text.isdecimal(), "a whole number"),
    "license": (_is_gbif_licence, f"the address of {', '.join(LICENCES)}"),
}


def _faults_by_schema(path: Path, schemas: Path) -> list[str]:
    """What the XML schemas find in `meta.xml` and in the description of the data set."""
    from lxml import etree

    class OfXml(etree.Resolver):  # type: ignore[misc]
        """In place of the W3C's schema of `xml:lang`, which is on the internet, the one attribute that is used."""

        def resolve(self, url: str, pubid: Any, context: Any) -> Any:
            if not url.endswith("/xml.xsd"):
                return None
            return self.resolve_string(
                "<xs:schema xmlns:xs='http://www.w3.org/2001/XMLSchema'"
                " targetNamespace='http://www.w3.org/XML/1998/namespace'><xs:attribute name='lang'/></xs:schema>",
                context,
            )

    faults = []
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name, file in (
            ("meta.xml", schemas / "dwc-text" / "tdwg_dwc_text.xsd"),
            ("eml.xml", schemas / "eml-2.2.0" / "eml.xsd"),
        ):
            if name not in names:
                continue
            parser = etree.XMLParser(no_network=True)
            parser.resolvers.add(OfXml())
            schema = etree.XMLSchema(etree.parse(str(file), parser))
            try:
                found = etree.fromstring(archive.read(name), etree.XMLParser(no_network=True, resolve_entities=False))
            except etree.XMLSyntaxError as error:
                faults.append(f"{name}: {error}")
                continue
            if not schema.validate(found):
                faults += [f"{name}, line {error.line}: {error.message[:200]}" for error in schema.error_log]
    return faults


def _faults_by_terms(path: Path, schemas: Path) -> list[str]:
    """Terms that GBIF does not know for their row types, and required ones that are not there."""
    known: dict[str, dict[str, bool]] = {}
    files = sorted((schemas / "rs.gbif.org").glob("*.xml"))
    if not files:
        raise FileNotFoundError(f"{schemas / 'rs.gbif.org'} has no definitions")
    for file in files:
        root = ET.parse(file).getroot()  # noqa: S314  # of the administrator's folder
        terms = {one.get("qualName", ""): one.get("required") == "true" for one in root.iterfind("{*}property")}
        known[root.get("rowType", "")] = terms
    with zipfile.ZipFile(path) as archive:
        if "meta.xml" not in archive.namelist():
            return []
        meta, _ = _parsed(archive, "meta.xml")
    faults = []
    for part in () if meta is None else (*meta.findall(f"{{{TEXT}}}core"), *meta.findall(f"{{{TEXT}}}extension")):
        row_type = part.get("rowType", "")
        used = {one.get("term", "") for one in part.iterfind(f"{{{TEXT}}}field")}
        if row_type not in known:
            faults.append(f"meta.xml: GBIF knows no rowType {row_type}")
            continue
        faults += [f"meta.xml: {row_type} has no term {term}" for term in sorted(used - known[row_type].keys())]
        needed = {term for term, is_required in known[row_type].items() if is_required}
        faults += [f"meta.xml: {row_type} requires {term}" for term in sorted(needed - used)]
    return faults


def _faults_by_reader(path: Path, schemas: Path) -> Sequence[str]:
    """What python-dwca-reader cannot read."""
    from dwca.exceptions import InvalidArchive
    from dwca.read import DwCAReader

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with DwCAReader(str(path)) as archive:
                for row in islice(archive, _ROWS_OF_READER):
                    _ = row.data, row.extensions
    except (InvalidArchive, ValueError, KeyError, IndexError, AttributeError, UnicodeDecodeError, OSError) as error:
        return [f"python-dwca-reader: {type(error).__name__} {' '.join(str(error).split())[:200]}"]
    return []
