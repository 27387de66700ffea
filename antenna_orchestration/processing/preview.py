"""What a submission would take, without writing anything: `antenna submit --dry-run`.

It needs no server, unless photographs are taken that the catalog knows. So it cannot tell which images were processed
before, and does not know pipelines that only workers behind the gateway have registered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import addresses, capture_sets, nights
from antenna_orchestration.domain.capture_sets import NotChosen
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing.submit import Selection, Submission, about_zones, check, select
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import capture_times
from antenna_orchestration.submission.kinds import Kind
from antenna_orchestration.submission.sources import LeftOut, count_left_out

_FIRST_CAMERAS: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Digital camera traps are younger; a clock that was reset begins at 1970, 1980 or 2000."""

_RESET: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """The images that a submission would take, in numbers and examples."""

    pipeline: str
    project: str
    images: int
    # Images that are named more than once and taken once.
    duplicates: int
    # Images by deployment; the empty name stands for images without one.
    deployments: Mapping[str, int]
    # Images by night: from noon to noon, named for the day on which it began.
    nights: Mapping[date, int]
    # At whose noons nights are cut: those of the deployments, and `time_zone` where a deployment has none.
    zones: Sequence[str]
    time_zone: str
    # Capture times in UTC; None if no image has one.
    earliest: datetime | None
    latest: datetime | None
    without_time: int
    # Images whose time cannot be right, with the reason.
    odd_times: Sequence[tuple[SubmittedImage, str]]
    # In the order in which they are processed.
    first: SubmittedImage
    last: SubmittedImage
    left_out: Sequence[LeftOut]
    # Photographs that were named and not wanted, by the reason.
    not_chosen: NotChosen
    # All images, as they would be submitted.
    selected: Sequence[SubmittedImage]
    warnings: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pipeline": self.pipeline,
            "project": self.project,
            "images": self.images,
            "duplicates": self.duplicates,
            "deployments": dict(self.deployments),
            "nights": {str(night): count for night, count in self.nights.items()},
            "time_zone": self.time_zone,
            "earliest": self.earliest,
            "latest": self.latest,
            "without_time": self.without_time,
            "odd_times": [{**_as_dict(image), "why": why} for image, why in self.odd_times],
            "first": _as_dict(self.first),
            "last": _as_dict(self.last),
            "left_out": {kind.value: count for kind, count in self.counts.items()},
            "not_chosen": capture_sets.as_data(self.not_chosen),
            "warnings": list(self.warnings),
        }

    @property
    def counts(self) -> Mapping[Kind, int]:
        """How many files and folders of each kind were left out."""
        return count_left_out(self.left_out)


def preview(
    settings: Settings,
    submission: Submission,
    *,
    allowed_roots: Sequence[Path] | None = None,
    known: Mapping[str, Place] | None = None,
    selection: Selection | None = None,
    progress: Callable[[str, int], None] = lambda what, count: None,
) -> Preview:
    """Look at what a submission would take, and check the rest of it. Raises what `submit` raises.

    `known` are the places of the project's deployments; None: nobody could be asked. `selection` are the photographs of
    a submission that takes known ones, as `select_known` has them.
    """
    check(submission, registry.get(submission.pipeline))
    time_zone = submission.time_zone or settings.time_zone
    zone = nights.zone_named(time_zone)
    selected = selection or select(submission, settings, known=known, allowed_roots=allowed_roots, progress=progress)
    images, zoneless = capture_times.at_places(selected.images, known or {})
    zones = about_zones(zoneless, known, submission.project) if known is not None else []
    zones += capture_times.unlike_their_places(images, known or {})
    times = [image.captured_at for image in images if image.captured_at]
    now = datetime.now(UTC)
    return Preview(
        pipeline=submission.pipeline,
        project=submission.project,
        images=len(images),
        duplicates=selected.duplicates,
        deployments=Counter(image.deployment or "" for image in images),
        nights=dict(sorted(Counter(_nights(images, known or {}, zone)).items())),
        zones=sorted({_zone_of(image, known or {}) or time_zone for image in images if image.captured_at}),
        time_zone=time_zone,
        earliest=min(times, default=None),
        latest=max(times, default=None),
        without_time=len(images) - len(times),
        odd_times=[(image, why) for image in images if image.captured_at and (why := odd(image.captured_at, now))],
        first=images[0],
        last=images[-1],
        left_out=selected.left_out,
        not_chosen=selected.not_chosen,
        selected=images,
        # How many were named twice is shown by itself.
        warnings=[*selected.warnings, *([selected.about_duplicates] if selected.conflicts else []), *zones],
    )


def _nights(images: Sequence[SubmittedImage], known: Mapping[str, Place], zone: tzinfo) -> Iterator[date]:
    for image in images:
        place = known.get(image.deployment or "")
        if image.captured_at:
            yield nights.night_of(image.captured_at, (place and place.zone) or zone)


def _zone_of(image: SubmittedImage, known: Mapping[str, Place]) -> str | None:
    place = known.get(image.deployment or "")
    return place.time_zone if place and place.zone else None


def odd(captured_at: datetime, now: datetime) -> str:
    """Why a capture time cannot be right; empty for one that can."""
    if captured_at > now + _RESET:
        return "in the future"
    if captured_at < _FIRST_CAMERAS + _RESET:
        return "the clock was reset" if (captured_at.month, captured_at.day) == (1, 1) else "before camera traps"
    return ""


def place(image: SubmittedImage) -> str:
    """Where an image is, for people: a path, or a URL."""
    return addresses.path_of(image.uri) if image.uri.startswith("file:") else image.uri


def _as_dict(image: SubmittedImage) -> dict[str, Any]:
    return {"uri": image.uri, "captured_at": image.captured_at, "deployment": image.deployment}
