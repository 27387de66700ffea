"""What the functions of this package take and give: places, taxa, and the results of one night at one deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal

from antenna_orchestration.domain.messages import AlgorithmRef

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

RANKS: Final = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
"""From the coarsest to the finest."""

Clock = Literal["local", "utc"]
"""What a camera's clock showed, and so what the stamps in its files say: the time of its place, or UTC."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A deployment with its place and its clock. What is not known is None."""

    deployment: str
    # WGS 84, in decimal degrees; both or neither.
    latitude: float | None = None
    longitude: float | None = None
    uncertainty_m: float | None = None
    # An IANA name such as `Europe/Copenhagen`, or a fixed offset such as `+01:00`.
    time_zone: str | None = None
    zone: tzinfo | None = None
    clock: Clock = "local"
    # How much later the clock should have been, in seconds: the sum of the shifts that hold.
    shift_seconds: int = 0
    # Local times, without a zone; None: from the first, to the last photograph.
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    location_name: str | None = None
    # ISO 3166-1 alpha-2.
    country_code: str | None = None
    pixels_per_mm: float | None = None
    # The name of its species list; None: the project's, if it has one.
    species_list: str | None = None
    # Further columns of the file, as they were.
    further: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taxon:
    """A name with its place in the taxonomy."""

    name: str
    # One of `RANKS`.
    rank: str
    # Its names by rank, its own among them; ranks without a name are left out.
    lineage: Mapping[str, str]
    # A GBIF key, or any URL.
    taxon_id: str | None = None
    vernacular: str | None = None
    # The finest rank that a determination may have, for groups that photographs cannot tell apart.
    finest_rank: str | None = None

    def as_data(self, label: str) -> dict[str, Any]:
        """The taxon as what a label stands for: as the catalog, the commands and the gateway write it."""
        return {
            "label": label,
            "scientific_name": self.name,
            "rank": self.rank,
            "lineage": dict(self.lineage),
            "taxon_id": self.taxon_id,
            "vernacular_name": self.vernacular,
            "finest_rank": self.finest_rank,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Classes:
    """The classes that a classifier tells apart, in the order of its outputs."""

    algorithm: AlgorithmRef
    labels: tuple[str, ...]
    # For each label its taxon, None where the label has no match.
    taxa: tuple[Taxon | None, ...]
    # False where only the labels that occur are known: nothing says to which of them a place in a vector belongs.
    is_in_order: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Vectors:
    """The scores of those detections that one classifier judged last."""

    # Positions in `Night.detections`, ascending.
    rows: npt.NDArray[np.intp]
    # One row each, one column a class, in the order of `Classes.labels`.
    scores: npt.NDArray[np.float32]
    # Which of the rows have only the best few classes; the others' scores are 0 there.
    partial: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """The photographs of one deployment in one night, as one pipeline saw them; what each step takes and gives.

    A step returns a new one (`dataclasses.replace`) and changes no table in place. The order of rows is `captured_at`,
    then `local_time`, `url`, and for detections their number within the photograph; it does not depend on jobs.
    """

    # None: photographs without a deployment, or without a time.
    deployment: str | None
    night: date | None
    place: Place | None
    # One row a photograph: job_id, image_id, url, stamp, captured_at, local_time, width, height, status,
    # detections, reason.
    captures: pd.DataFrame
    # One row a detection, index 0 to n - 1; see `columns.DETECTION` for what a night begins with.
    detections: pd.DataFrame
    # By algorithm.
    classes: Mapping[AlgorithmRef, Classes]
    vectors: Mapping[AlgorithmRef, Vectors]
    # The names of the species list that holds here; None: there is none, every class is kept.
    species: frozenset[str] | None = None
    # (job_id, detection_id) of detections where a box stays over several nights; found over all nights beforehand.
    fixtures: frozenset[tuple[int, str]] = frozenset()
    # Whether tracks were made.
    tracked: bool = False
