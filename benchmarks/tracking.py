"""How well tracking follows animals on drawn sequences, by the cost that it allows and the pause between photographs.

    python -m benchmarks.tracking [--sequences N] [--json] [--picture FILE]

The sequences are those of `synthetic/sheets.py`: animals that stay, walk, cross the sheet, leave and come back, seen by
a detector that misses and jitters and a classifier that errs; once with twelve species, and once with a single label
for all, where labels help nothing. A link is two sightings that follow each other in a
track. It is right if both are the same animal and nothing of it was seen in between; every such pair with at most
`most_skipped` photographs between them should be linked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import nights
from antenna_orchestration.ecology.model import Classes, Night
from antenna_orchestration.ecology.steps import tracking
from antenna_orchestration.ecology.steps.tracking import TrackingParameters
from antenna_orchestration.synthetic import sheets
from antenna_orchestration.synthetic.sheets import Habits, Sighting

COSTS: Final = (0.1, 0.25, 0.5, 0.75, 1.0, 1.1, 1.25, 1.4, 1.5, 1.75, 2.0)
INTERVALS: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Seconds between photographs."""

SPECIES: Final = (12, 1)
"""Labels that the classifier tells apart."""

_PHOTOGRAPHS: Final = 300
_LONGEST: Final = 8 * 3600.0
_EVENING: Final = datetime(2026, 6, 1, 18, tzinfo=UTC)
_CLASSIFIER: Final = AlgorithmRef("drawn", "1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """How well it went at one cost and one interval."""

    species: int
    interval: float
    max_cost: float
    precision: float
    recall: float
    # Of what is counted, over the animals that were seen at all: tracks of two and more sightings, and MaxN by species.
    tracks: float
    max_n: float


def main() -> None:
    """Print the table, or the points as JSON; draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sequences", type=int, default=3, help="drawn sequences for each interval")
    parser.add_argument("--json", action="store_true", help="print the points as JSON instead of the table")
    parser.add_argument("--picture", type=Path, help="draw the curves into this file")
    arguments = parser.parse_args()
    seeds = range(arguments.sequences)
    points = [one for n in SPECIES for interval in INTERVALS for one in curve(interval, seeds=seeds, species=n)]
    if arguments.picture:
        draw(points, arguments.picture)
    if arguments.json:
        print(json.dumps([asdict(point) for point in points], indent=1))
        return
    print("labels  interval  max_cost  precision  recall  tracks/animals  MaxN/animals")
    for point in points:
        print(
            f"{point.species:6}  {point.interval:6.0f} s  {point.max_cost:8.2f}  {point.precision:9.3f}"
            f"  {point.recall:6.3f}  {point.tracks:14.2f}  {point.max_n:12.2f}"
        )


def curve(interval: float, *, seeds: Sequence[int], species: int, costs: Sequence[float] = COSTS) -> list[Point]:
    """The points of one interval, over all sequences together."""
    times = np.arange(0, min(_LONGEST, max(600.0, _PHOTOGRAPHS * interval)), interval).tolist()
    drawn = [sheets.sequence(seed, times, Habits(species=species)) for seed in seeds]
    made = [night_of(one, times, species) for one in drawn]
    return [_point(species, interval, cost, list(zip(drawn, made, strict=True))) for cost in costs]


def night_of(photographs: Sequence[Sequence[Sighting]], times: Sequence[float], species: int) -> Night:
    """The sequence as results have it; detection `<photograph>-<number>`."""
    labels = tuple(f"species {number}" for number in range(species))
    captures, detections, said = [], [], []
    for number, (time, sightings) in enumerate(zip(times, photographs, strict=True)):
        moment = _EVENING + timedelta(seconds=time)
        photograph = {"job_id": 1, "image_id": number, "url": f"{number:06d}", "status": "done"}
        size = {"width": sheets.WIDTH, "height": sheets.HEIGHT, "detections": len(sightings)}
        captures.append({**photograph, **size, "captured_at": moment, "local_time": moment.replace(tzinfo=None)})
        for place, one in enumerate(sightings):
            key = {"image_id": number, "detection_id": f"{number}-{place}"}
            box = dict(zip(("x1", "y1", "x2", "y2"), one.box, strict=True))
            detections.append({"job_id": 1, **key, **box, "detector": "drawn", "detector_version": "1"})
            classifier = {"classifier": _CLASSIFIER.key, "classifier_version": _CLASSIFIER.version, "terminal": True}
            said.append({**key, **classifier, "label": labels[one.label], "scores": _scores(one, species)})
    return nights.of_rows(
        pa.Table.from_pylist(captures, nights.CAPTURES),
        pa.Table.from_pylist(detections, nights.DETECTIONS),
        pa.Table.from_pylist(said, nights.CLASSIFICATIONS),
        deployment="sheet",
        night=date(2026, 6, 1),
        classes={_CLASSIFIER: Classes(algorithm=_CLASSIFIER, labels=labels, taxa=(None,) * species)},
    )


def _scores(one: Sighting, species: int) -> bytes:
    """What a classifier says that is fairly sure, and when it errs has the right species second."""
    scores = np.full(species, 0.2 / species)
    scores[one.species] += 0.25
    scores[one.label] += 0.55
    return scores.astype("<f2").tobytes()


def _point(species: int, interval: float, cost: float, drawn: Sequence[tuple[list[list[Sighting]], Night]]) -> Point:
    parameters = TrackingParameters(max_cost=cost, max_gap=86_400.0)
    made = right = due = tracks = highest = animals = 0
    for photographs, night in drawn:
        wanted = _wanted(photographs, parameters.most_skipped)
        frame = tracking.apply(night, parameters).detections
        links, several = _links(frame["track"].tolist(), frame["detection_id"].tolist())
        made, due, right = made + len(links), due + len(wanted), right + len(links & wanted)
        seen = {one.animal: one.species for sightings in photographs for one in sightings if one.animal >= 0}
        tracks, animals = tracks + several, animals + len(seen)
        highest += sum(_max_n(photographs, one) for one in set(seen.values()))
    return Point(
        species=species,
        interval=interval,
        max_cost=cost,
        precision=right / made if made else 1.0,
        recall=right / due if due else 1.0,
        tracks=tracks / animals,
        max_n=highest / animals,
    )


def _wanted(photographs: Sequence[Sequence[Sighting]], most_skipped: int) -> set[tuple[str, str]]:
    """The right links, as pairs of detections."""
    last: dict[int, tuple[int, str]] = {}
    pairs = set()
    for number, sightings in enumerate(photographs):
        for place, one in enumerate(sightings):
            if one.animal < 0:
                continue
            if one.animal in last and number - last[one.animal][0] - 1 <= most_skipped:
                pairs.add((last[one.animal][1], f"{number}-{place}"))
            last[one.animal] = (number, f"{number}-{place}")
    return pairs


def _links(tracks: Sequence[str], ids: Sequence[str]) -> tuple[set[tuple[str, str]], int]:
    """The links that were made, and how many tracks have two and more sightings; rows are in the order of time."""
    last: dict[str, str] = {}
    pairs = set()
    for track, one in zip(tracks, ids, strict=True):
        if track in last:
            pairs.add((last[track], one))
        last[track] = one
    return pairs, sum(last[track] != track for track in last)


def _max_n(photographs: Sequence[Sequence[Sighting]], species: int) -> int:
    return max(sum(one.species == species and one.animal >= 0 for one in sightings) for sightings in photographs)


def draw(points: Sequence[Point], file: Path) -> None:
    """Precision and recall over the cost, a line for each interval, with labels that help and with one for all."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), sharex=True, sharey=True, layout="constrained")
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(INTERVALS)))
    for line, species in zip(axes, SPECIES, strict=True):
        for axis, what in zip(line, ("precision", "recall"), strict=True):
            for interval, colour in zip(INTERVALS, colours, strict=True):
                own = [point for point in points if (point.interval, point.species) == (interval, species)]
                name = f"{interval} s" if interval < 60 else f"{interval // 60} min"
                values = [getattr(point, what) for point in own]
                axis.plot([point.max_cost for point in own], values, marker=".", color=colour, label=name)
            axis.axvline(TrackingParameters().max_cost, color="grey", linestyle=":", linewidth=1)
            axis.set(title=f"{what}, {'one label' if species == 1 else f'{species} labels'}", ylim=(0, 1.02))
            axis.grid(alpha=0.3)
    for axis in axes[1]:
        axis.set(xlabel="max_cost")
    axes[0][1].legend(title="pause between\nphotographs", fontsize=8)
    figure.savefig(file, dpi=100, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
