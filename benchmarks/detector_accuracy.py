"""How well a pipeline finds insects in real light-trap photographs, compared with hand annotations, by site and size.

    python -m benchmarks.detector_accuracy [FOLDER] [--pipeline SLUG] [--altered NAME] [--json] [--pictures FOLDER]

The photographs are not part of this repository. FOLDER, or `ANTENNA_TRAP_IMAGES`, or `../shared/data/trap-images`
holds them as `<site>/<name>`; `tests/data/trap_annotations.json` names each with its sha256. A detection is correct
if its IoU with an insect that is not matched yet is at least 0.4. Only insects of 40 pixels and more count; a detection
of a smaller one is neither correct nor wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antenna_orchestration.domain.boxes import Box, overlap
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import interface, pictures, registry
from antenna_orchestration.pipelines.interface import RawImage
from benchmarks import alterations

REPOSITORY = Path(__file__).resolve().parent.parent
ANNOTATIONS = REPOSITORY / "tests" / "data" / "trap_annotations.json"
IOU = 0.4
SIZES = ((40, 80), (80, 160), (160, 10_000))


def main() -> None:
    """Print the table, or the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pipeline", default=registry.DEFAULT_PIPELINE)
    parser.add_argument("--config", type=json.loads, default={}, help="the pipeline's settings, as JSON")
    parser.add_argument(
        "--altered", choices=alterations.ALTERATIONS, help="photographs as another trap might take them"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument(
        "--pictures", type=Path, help="write each photograph with its detections drawn into this folder"
    )
    arguments = parser.parse_args()
    folder = arguments.folder or photographs_folder()
    if folder is None or not folder.is_dir():
        sys.exit("no photographs: name their folder, or set ANTENNA_TRAP_IMAGES")
    counts = measure(folder, arguments.pipeline, arguments.config, arguments.pictures, arguments.altered)
    if arguments.json:
        print(json.dumps({name: {**count, **rates(count)} for name, count in counts.items()}, indent=1))
        return
    print(f"{'':16} insects  found  boxes  recall  precision  moth/non-moth   photographs/s")
    for name, count in counts.items():
        rate = rates(count)
        print(
            f"{name:16} {count['insects']:7.0f} {count['found']:6.0f} {count['boxes']:6.0f}  {rate['recall']:6.2f}"
            f"  {rate['precision']:9.2f}  {rate['kinds']:13.2f}   {rate['per_second']:13.1f}"
        )


def photographs_folder() -> Path | None:
    """The folder in `ANTENNA_TRAP_IMAGES`, or else the usual one; None if it does not exist."""
    named = os.environ.get("ANTENNA_TRAP_IMAGES")
    candidates = [Path(named)] if named else [REPOSITORY.parent / "shared/data/trap-images"]
    return next((folder for folder in candidates if folder.is_dir()), None)


def measure(
    folder: Path,
    slug: str = registry.DEFAULT_PIPELINE,
    config: dict[str, Any] | None = None,
    drawn: Path | None = None,
    altered: str | None = None,
) -> dict[str, Counter[str]]:
    """Count, by site, by size and for all traps: insects, insects found, boxes, correct kinds, seconds, photographs.

    Boxes on insects too small to count are left out. The site `DSLR` (daylight photographs of a butterfly on stony
    ground) is not included in `traps`.
    """
    pipeline = interface.build(registry.get(slug), config or {})
    pipeline.load("cpu")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for photograph, data in photographs(folder, altered):
        started = time.perf_counter()
        detections = found_on(pipeline, data)
        spent = time.perf_counter() - started
        site = photograph["site"]
        if drawn is not None:
            drawn.mkdir(parents=True, exist_ok=True)
            picture = pictures.draw_boxes(data, detections, 1600)
            (drawn / f"{site}_{Path(photograph['name']).stem}.jpg").write_bytes(picture)
        pairs, spare = match(photograph["insects"], detections)
        spare = [detection for detection in spare if not lies_on_small(detection.box, photograph["small"])]
        for name in [site] if site == "DSLR" else [site, "traps"]:
            counts[name].update(
                insects=len(photograph["insects"]),
                found=len(pairs),
                boxes=len(pairs) + len(spare),
                kinds=sum(insect["kind"] == label(detection) for insect, detection in pairs),
                seconds=spent,  # type: ignore[arg-type]  # a Counter adds floats as well
                photographs=1,
            )
        for low, high in SIZES:
            fits = [insect for insect in photograph["insects"] if low <= longer(insect["box"]) < high]
            found = [pair for pair in pairs if low <= longer(pair[0]["box"]) < high]
            kinds = sum(insect["kind"] == label(detection) for insect, detection in found)
            boxes = len(found) + sum(low <= longer(detection.box) < high for detection in spare)
            counts[f"{low}-{high} px" if high < 10_000 else f"{low} px and more"].update(
                insects=len(fits), found=len(found), boxes=boxes, kinds=kinds
            )
    return counts


def found_on(pipeline: interface.Pipeline[Any, Any], data: bytes) -> list[Detection]:
    """What the pipeline finds on a photograph."""
    prepared = pipeline.prepare(RawImage(image=0, uri="", data=data))
    return pipeline.finish(prepared, pipeline.infer([prepared])[0]).detections


def photographs(folder: Path, altered: str | None = None) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each annotated photograph with its bytes, altered if asked for.

    Raises `FileNotFoundError` if one is missing, and `ValueError` if it is another file than the annotated one.
    """
    for photograph in json.loads(ANNOTATIONS.read_text())["photographs"]:
        data = (folder / photograph["site"] / photograph["name"]).read_bytes()
        if hashlib.sha256(data).hexdigest() != photograph["sha256"]:
            raise ValueError(f"{photograph['site']}/{photograph['name']} is not the photograph that was annotated")
        if altered is None:
            yield photograph, data
        else:
            data_altered, by = alterations.alter(data, altered)
            yield _moved(photograph, by), data_altered


def _moved(photograph: dict[str, Any], by: tuple[int, int]) -> dict[str, Any]:
    """The annotations of a photograph, moved right and down by so many pixels."""

    def box(values: Box) -> list[float]:
        return [value + by[side % 2] for side, value in enumerate(values)]

    return {
        **photograph,
        "insects": [{**insect, "box": box(insect["box"])} for insect in photograph["insects"]],
        "small": [box(small) for small in photograph["small"]],
    }


def match(
    insects: list[dict[str, Any]], detections: list[Detection]
) -> tuple[list[tuple[dict[str, Any], Detection]], list[Detection]]:
    """Match insects and detections greedily, largest IoU first; returns the pairs and the unmatched detections."""
    scored = [
        (overlap(insect["box"], detection.box), row, column)
        for row, insect in enumerate(insects)
        for column, detection in enumerate(detections)
    ]
    rows: set[int] = set()
    columns: set[int] = set()
    pairs = []
    for score, row, column in sorted(scored, reverse=True):
        if score >= IOU and row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            pairs.append((insects[row], detections[column]))
    return pairs, [detection for column, detection in enumerate(detections) if column not in columns]


def lies_on_small(box: Box, small: list[Box]) -> bool:
    """Whether a detection is of an insect too small to count."""
    return any(overlap(box, other) >= 0.2 for other in small)


def longer(box: Box) -> float:
    """The longer side of a box, in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def label(detection: Detection) -> str | None:
    """The detection's label, `moth` or `nonmoth`; None if the pipeline does not classify."""
    return detection.classifications[0].label if detection.classifications else None


def rates(count: Counter[str]) -> dict[str, float]:
    """Recall, precision, share of correct kinds, photographs per second."""
    return {
        "recall": count["found"] / max(1, count["insects"]),
        "precision": count["found"] / max(1, count["boxes"]),
        "kinds": count["kinds"] / max(1, count["found"]),
        "per_second": count["photographs"] / count["seconds"] if count["seconds"] else 0.0,
    }


if __name__ == "__main__":
    main()
