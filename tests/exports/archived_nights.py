"""Results as archives meet them: two deployments with awkward names, a person's word, labels that are not names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from antenna_orchestration.domain import nights
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.ecology.reviews import REJECTED, Review
from antenna_orchestration.exports.material import Material
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.materials import DUSK, POND, material_of, night_at_the_pond

FOREST = Place(
    deployment='=Wald, "Süd"\N{EN DASH}蛾',
    latitude=-9.15,
    longitude=-79.85,
    time_zone="-05:00",
    zone=nights.zone_named("-05:00"),
    location_name="@edge; 'north'",
    country_code="PE",
    starts_at=datetime(2026, 6, 12, 20),
    further={"camera_height": "1.5", "Attractant": "UV | 8 W", "habitat": "line one\nline two", "note": "not for all"},
)

REVIEWED_AT = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)


def two_deployments(folder: Path, **changed: object) -> Material:
    """The night at the pond, and one in the forest with boxes over edges and outside, and nothing on its last one."""
    captures, detections = night_at_the_pond()
    captures = [{**one, "deployment": POND.deployment} for one in captures]
    forest = {"zone": FOREST.zone, "deployment": FOREST.deployment}
    captures += [
        capture(11, DUSK, url="https://x.org/public/a..b/11.JPG?size=full", **forest),
        capture(12, DUSK.replace(minute=40), url="https://x.org/private/12.png?X-Token=secret", **forest),
        capture(13, DUSK.replace(day=14), url="file:///card/\n13.heic", **forest),
    ]
    detections = [
        *detections,
        detection(11, 0, "Autographa gamma", 0.9, x1=-5.0, x2=399.9999, y1=100.0, y2=320.0),
        detection(11, 1, "Autographa gamma", 0.8, x1=399.99999, x2=410.0),
        detection(11, 2, "Autographa gamma", 0.7, x1=410.0, x2=420.0),
        detection(11, 3, "unlike any", 0.95),
        detection(12, 0, None, None, detector_score=1.5),
        detection(12, 1, "Noctua pronuba", 0.9),
        detection(12, 2, "Autographa gamma", 0.9),
    ]
    reviews = [
        Review(JobId(1), "12-1", "Noctua comes", "ada@example.org", REVIEWED_AT),
        Review(JobId(1), "12-2", REJECTED, "ada@example.org", REVIEWED_AT),
    ]
    places = {one.deployment: one for one in (POND, FOREST)}
    given = {"places": places, "reviews": reviews, **changed}
    return material_of(folder, captures, detections, **given)  # type: ignore[arg-type]


def nowhere(material: Material, **changed: object) -> Material:
    """The same with nothing known of the deployment but what is given."""
    place = replace(Place(deployment=POND.deployment), **changed)  # type: ignore[arg-type]
    return replace(material, places={POND.deployment: place})
