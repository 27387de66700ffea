"""The tables of Camtrap DP 1.0.2, and what their cells may be, as rules of our own: its schemas are not copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

VERSION: Final = "1.0.2"

SCHEMAS: Final = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}/"

ROLES: Final = ("contact", "principalInvestigator", "rightsHolder", "publisher", "contributor")

DESIGNS: Final = (
    "simpleRandom", "systematicRandom", "clusteredRandom", "experimental", "targeted", "opportunistic",
)  # fmt: skip

METHODS: Final = ("activityDetection", "timeLapse")


class Column(NamedTuple):
    """A column of a table, and what its cells may be."""

    name: str
    kind: str = "text"
    required: bool = False
    unique: bool = False
    least: float | None = None
    most: float | None = None
    among: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None

    def fault(self, cell: str) -> str | None:
        """What is wrong with a cell that has a value; None if nothing."""
        if self.among and cell not in self.among:
            return f"{cell[:40]!r} is not one of {', '.join(self.among)}"
        if self.pattern and not self.pattern.search(cell):
            return f"{cell[:80]!r} is not written as it must be"
        try:
            number = _KINDS[self.kind](cell)
        except ValueError:
            return f"{cell[:40]!r} is not {_IN_WORDS[self.kind]}"
        if number is None:
            return None
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            limits = [f"at least {self.least:g}"] if self.least is not None else []
            limits += [f"at most {self.most:g}"] if self.most is not None else []
            return f"{cell[:40]} must be {' and '.join(limits)}"
        return None


_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[-+]\d\d:?\d\d)", re.ASCII)


def _time(cell: str) -> None:
    if not _TIME.fullmatch(cell):
        raise ValueError(cell)
    datetime.fromisoformat(cell)


def _boolean(cell: str) -> None:
    if cell not in ("true", "false", "True", "False", "TRUE", "FALSE", "1", "0"):
        raise ValueError(cell)


def _number(cell: str) -> float:
    if cell.strip() != cell or "_" in cell:
        raise ValueError(cell)
    return float(cell)


def _integer(cell: str) -> float:
    if not re.fullmatch(r"[-+]?\d+", cell, re.ASCII):
        raise ValueError(cell)
    return int(cell)


_KINDS: Final[Mapping[str, Callable[[str], float | None]]] = {
    "text": lambda cell: None,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "time": _time,
}

_IN_WORDS: Final = {
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "time": "a time with an offset and without fractions, such as 2026-06-12T20:10:00+02:00",
}

_FEATURES: Final = (
    "roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass", "roadBridge", "culvert",
    "burrow", "nestSite", "carcass", "waterSource", "fruitingTree",
)  # fmt: skip

PATH: Final = re.compile(r"^(?=^[^./~])(^((?!\.{2}).)*$).*$")

TABLES: Final[Mapping[str, tuple[Column, ...]]] = {
    "deployments": (
        Column("deploymentID", required=True, unique=True),
        Column("locationID"),
        Column("locationName"),
        Column("latitude", "number", required=True, least=-90, most=90),
        Column("longitude", "number", required=True, least=-180, most=180),
        Column("coordinateUncertainty", "integer", least=1),
        Column("deploymentStart", "time", required=True),
        Column("deploymentEnd", "time", required=True),
        Column("setupBy"),
        Column("cameraID"),
        Column("cameraModel"),
        Column("cameraDelay", "integer", least=0),
        Column("cameraHeight", "number", least=0),
        Column("cameraDepth", "number", least=0),
        Column("cameraTilt", "integer", least=-90, most=90),
        Column("cameraHeading", "integer", least=0, most=360),
        Column("detectionDistance", "number", least=0),
        Column("timestampIssues", "boolean"),
        Column("baitUse", "boolean"),
        Column("featureType", among=_FEATURES),
        Column("habitat"),
        Column("deploymentGroups"),
        Column("deploymentTags"),
        Column("deploymentComments"),
    ),
    "media": (
        Column("mediaID", required=True, unique=True),
        Column("deploymentID", required=True),
        Column("captureMethod", among=METHODS),
        Column("timestamp", "time", required=True),
        Column("filePath", required=True, pattern=PATH),
        Column("filePublic", "boolean", required=True),
        Column("fileName"),
        Column("fileMediatype", required=True, pattern=re.compile("^(image|video|audio)/.*$")),
        Column("exifData"),
        Column("favorite", "boolean"),
        Column("mediaComments"),
    ),
    "observations": (
        Column("observationID", required=True, unique=True),
        Column("deploymentID", required=True),
        Column("mediaID"),
        Column("eventID"),
        Column("eventStart", "time", required=True),
        Column("eventEnd", "time", required=True),
        Column("observationLevel", required=True, among=("media", "event")),
        Column(
            "observationType",
            required=True,
            among=("animal", "human", "vehicle", "blank", "unknown", "unclassified"),
        ),
        Column("cameraSetupType", among=("setup", "calibration")),
        Column("scientificName"),
        Column("count", "integer", least=1),
        Column("lifeStage", among=("adult", "subadult", "juvenile")),
        Column("sex", among=("female", "male")),
        Column("behavior"),
        Column("individualID"),
        Column("individualPositionRadius", "number", least=0),
        Column("individualPositionAngle", "number", least=-90, most=90),
        Column("individualSpeed", "number", least=0),
        Column("bboxX", "number", least=0, most=1),
        Column("bboxY", "number", least=0, most=1),
        Column("bboxWidth", "number", least=1e-15, most=1),
        Column("bboxHeight", "number", least=1e-15, most=1),
        Column("classificationMethod", among=("human", "machine")),
        Column("classifiedBy"),
        Column("classificationTimestamp", "time"),
        Column("classificationProbability", "number", least=0, most=1),
        Column("observationTags"),
        Column("observationComments"),
    ),
}
