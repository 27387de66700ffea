"""The material of exports, written down: photographs with what was found on them, derived without any server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.domain import nights
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.ecology.reviews import REJECTED, Review
from antenna_orchestration.exports.dataset import Contributor, Dataset, Project
from antenna_orchestration.exports.material import Box, Material, OfJob
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import FINISHED, PROJECT, derive_all, write_job
from tests.ecology.nights_by_hand import GAMMA, PRONUBA, capture, detection

DUSK = datetime(2026, 6, 12, 22, 15, 30, 250_000)

POND = Place(
    deployment="by the pond",
    latitude=55.39,
    longitude=10.39,
    uncertainty_m=30,
    time_zone="Europe/Copenhagen",
    zone=nights.zone_named("Europe/Copenhagen"),
    location_name='Pond, "east"',
    country_code="DK",
)

DATASET = Dataset(
    title="Moths by the pond",
    description="One night, for tests.",
    contributors=(
        Contributor(
            given="Ada",
            family="Example",
            email="ada@example.org",
            organization="Example Lab",
            orcid="https://orcid.org/0000-0002-1825-0097",
            roles=("contact", "rightsHolder"),
        ),
    ),
    data_licence="CC0-1.0",
    media_licence="CC-BY-4.0",
    project=Project(title="Moths by the pond", sampling_design="targeted", capture_method=("timeLapse",)),
)


def decided(detection: str, taxon: str | None, job: int = 1) -> Review:
    """A person's word on a detection; None: it shows no animal."""
    return Review(JobId(job), detection, taxon or REJECTED, "ana@example.org", FINISHED)


class NoPictures:
    """Photographs that cannot be reached."""

    def drawn(self, url: str, boxes: Sequence[Box], *, width: int | None = None) -> bytes:
        raise errors.ImageForbidden(f"{url} cannot be read")

    def crops(self, url: str, boxes: Sequence[Box], *, margin: float = 0.0, longest: int | None = None) -> list[bytes]:
        raise errors.ImageForbidden(f"{url} cannot be read")


def night_at_the_pond() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two species on the first photograph, one of them on the second, nothing on the third; the fourth failed."""
    captures = [
        capture(1, DUSK, zone=POND.zone, url="file:///card/night 1/001.jpg"),
        capture(2, DUSK.replace(minute=16), zone=POND.zone, url="file:///card/night 1/002.jpg"),
        capture(3, DUSK.replace(minute=17), zone=POND.zone, url="file:///card/night 1/003.jpg"),
        capture(
            4, DUSK.replace(minute=18), zone=POND.zone, url="file:///card/night 1/004.jpg",
            status="failed", reason="cannot be decoded", width=None, height=None,
        ),
    ]  # fmt: skip
    detections = [
        detection(1, 0, "Autographa gamma", 0.96875),
        # Over the edge by a pixel.
        detection(1, 1, "Noctua pronuba", 0.95, x1=380.0, x2=401.0, y1=-1.0, y2=30.0),
        detection(2, 0, "Autographa gamma", 0.875, detector_score=None),
    ]
    return captures, detections


def material_of(
    folder: Path,
    captures: Sequence[Mapping[str, Any]] | None = None,
    detections: Sequence[Mapping[str, Any]] = (),
    *,
    places: Mapping[str, Place] | None = None,
    selection: Selection | None = None,
    reviews: Sequence[Review] = (),
    **changed: Any,
) -> Material:
    """The material of one job with these rows, or of `night_at_the_pond`; `changed` is of `Material`.

    `reviews` are people's.
    """
    if captures is None:
        captures, detections = night_at_the_pond()
    places = {POND.deployment: POND} if places is None else places
    taxa = {GAMMA.name: GAMMA, PRONUBA.name: PRONUBA}
    lake = Lake(str(folder))
    known = Knowledge(project="pond", places=places, taxa=taxa, reviews=reviews)
    derive_all(lake, [write_job(lake, 1, captures, detections)], known)
    given = {
        "selection": selection or Selection(project="pond"),
        "lake": lake,
        "scope": PROJECT,
        "jobs": [OfJob(known_job, "night", "moths", FINISHED) for known_job in (1,)],
        "places": places,
        "names": Names(taxa),
        "dataset": DATASET,
        "pictures": NoPictures(),
        "made_at": datetime(2026, 7, 2, 8, 0, 1, tzinfo=UTC),
    }
    return Material(**{**given, **changed})
