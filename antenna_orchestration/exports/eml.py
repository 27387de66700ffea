"""`eml.xml` of a Darwin Core archive: the data set in the Ecological Metadata Language 2.2.0, whose order matters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

from antenna_orchestration.ecology.model import RANKS
from antenna_orchestration.exports import archives
from antenna_orchestration.exports.archives import Opened
from antenna_orchestration.exports.dataset import LICENCES, Contributor
from antenna_orchestration.exports.material import BOXES, Material

NAMESPACE: Final = "https://eml.ecoinformatics.org/eml-2.2.0"

_TYPES: Final = "GBIF Dataset Type Vocabulary: http://rs.gbif.org/vocabulary/gbif/dataset_type_2015-07-10.xml"

_MOST_TAXA: Final = 10_000
"""Of the coverage; the records have all."""

_METHOD: Final = (
    "Animals were detected and classified by machine in photographs of camera traps. There is one record for each "
    "taxon, night (from noon to noon) and deployment. individualCount is the number of tracks where tracks were made, "
    "else the largest number on one photograph; occurrenceRemarks says which. What a person identified is marked by "
    "identificationVerificationStatus."
)

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


def text(material: Material, made: Opened, people: Sequence[Contributor]) -> bytes:
    """The description of the data set as a file."""
    said = material.dataset
    ET.register_namespace("eml", NAMESPACE)
    root = ET.Element(
        f"{{{NAMESPACE}}}eml",
        {"packageId": f"{archives.id_of(material)}/v1.0", "system": "http://gbif.org", "scope": "system"},
    )
    dataset = ET.SubElement(root, "dataset")
    contacts = [one for one in people if "contact" in one.roles]
    if said.title:
        _add(dataset, "title", said.title)
    for one in people:
        _add_person(dataset, "creator", one)
    for one in contacts:
        _add_person(dataset, "metadataProvider", one)
    _add(dataset, "pubDate", material.made_at.strftime("%Y-%m-%d"))
    _add(dataset, "language", said.language)
    abstract = ET.SubElement(dataset, "abstract")
    for line in filter(None, (said.description, BOXES)):
        _add(abstract, "para", line)
    _add_keywords(dataset, ["Occurrence"], _TYPES)
    if said.keywords:
        _add_keywords(dataset, said.keywords, "n/a")
    if said.data_licence:
        ET.SubElement(ET.SubElement(dataset, "intellectualRights"), "para")
    _add_coverage(dataset, made)
    for one in contacts:
        _add_person(dataset, "contact", one)
    _add_methods(dataset, material)
    _add_project(dataset, material, people)
    if said.citation:
        gbif = ET.SubElement(ET.SubElement(ET.SubElement(root, "additionalMetadata"), "metadata"), "gbif")
        _add(gbif, "citation", said.citation)
    ET.indent(root)
    # Within a paragraph, spaces count.
    if said.data_licence and (rights := dataset.find("intellectualRights/para")) is not None:
        rights.text = "This work is licensed under "
        link = ET.SubElement(rights, "ulink", {"url": LICENCES.get(said.data_licence, said.data_licence)})
        link.tail = "."
        _add(link, "citetitle", said.data_licence)
    written: Any = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return bytes(written)


def _add(parent: ET.Element, tag: str, content: str) -> None:
    ET.SubElement(parent, tag).text = _NO_XML.sub(" ", content)


def _add_person(parent: ET.Element, tag: str, one: Contributor, role: str | None = None) -> None:
    person = ET.SubElement(parent, tag)
    if one.given or one.family:
        name = ET.SubElement(person, "individualName")
        if one.given and one.family:
            _add(name, "givenName", one.given)
        _add(name, "surName", one.family or one.given or "")
    if one.organization:
        _add(person, "organizationName", one.organization)
    if one.email:
        _add(person, "electronicMailAddress", one.email)
    if one.orcid:
        ET.SubElement(person, "userId", {"directory": "https://orcid.org/"}).text = one.orcid.rpartition("/")[2]
    if role:
        _add(person, "role", role)


def _add_keywords(parent: ET.Element, words: Iterable[str], thesaurus: str) -> None:
    keywords = ET.SubElement(parent, "keywordSet")
    for word in words:
        _add(keywords, "keyword", word)
    _add(keywords, "keywordThesaurus", thesaurus)


def _add_coverage(dataset: ET.Element, made: Opened) -> None:
    coverage = ET.SubElement(dataset, "coverage")
    geographic = ET.SubElement(coverage, "geographicCoverage")
    names = [place.location_name or name for name, place in made.places.items()]
    _add(geographic, "geographicDescription", "; ".join(names))
    corners = ET.SubElement(geographic, "boundingCoordinates")
    latitudes = [place.latitude for place in made.places.values() if place.latitude is not None]
    longitudes = [place.longitude for place in made.places.values() if place.longitude is not None]
    for side, degrees in (
        ("west", min(longitudes)), ("east", max(longitudes)), ("north", max(latitudes)), ("south", min(latitudes)),
    ):  # fmt: skip
        _add(corners, f"{side}BoundingCoordinate", f"{degrees:f}")
    dates = ET.SubElement(ET.SubElement(coverage, "temporalCoverage"), "rangeOfDates")
    for tag, day in (
        ("beginDate", min(first for first, _ in made.spans.values())),
        ("endDate", max(last for _, last in made.spans.values())),
    ):
        _add(ET.SubElement(dates, tag), "calendarDate", day[:10])
    taxa = made.rows(
        "SELECT scientific_name, any_value(taxon_rank) AS taxon_rank FROM best_of_nights GROUP BY 1 ORDER BY 1"
    )
    taxonomic = ET.SubElement(coverage, "taxonomicCoverage")
    for row in taxa[:_MOST_TAXA]:
        classification = ET.SubElement(taxonomic, "taxonomicClassification")
        if row["taxon_rank"] in RANKS:
            _add(classification, "taxonRankName", row["taxon_rank"])
        _add(classification, "taxonRankValue", row["scientific_name"])


def _add_methods(dataset: ET.Element, material: Material) -> None:
    methods = ET.SubElement(dataset, "methods")
    description = ET.SubElement(ET.SubElement(methods, "methodStep"), "description")
    for line in filter(None, (material.dataset.sampling_protocol, _METHOD)):
        _add(description, "para", line)


def _add_project(dataset: ET.Element, material: Material, people: Sequence[Contributor]) -> None:
    said = material.dataset.project
    title = said.title or material.dataset.title
    if not title or not people:
        return
    project = ET.SubElement(dataset, "project")
    _add(project, "title", title)
    for one in people:
        for role in dict.fromkeys(one.roles) or ("contributor",):
            _add_person(project, "personnel", one, role)
    if said.description:
        _add(ET.SubElement(project, "abstract"), "para", said.description)
    if said.sampling_design:
        description = ET.SubElement(ET.SubElement(project, "designDescription"), "description")
        _add(description, "para", f"Sampling design: {said.sampling_design}")
