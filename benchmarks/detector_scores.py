"""What a pipeline's scores are worth: of the boxes with a score, how many are insects, and how many an empty sheet has.

    python -m benchmarks.detector_scores [FOLDER] [--pipeline SLUG] [--drawn 40] [--json]

Drawn photographs come from `training.scenes`, with seeds that no training uses: sheets of all kinds, with and without
insects. The annotated photographs are those of `detector_accuracy`, and are left out if there are none. A box is right,
wrong or neither as there; an insect below the pipeline's smallest size is neither.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from PIL import Image

from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.light_trap.network_detector import WORKING_SIDE
from benchmarks import detector_accuracy as accuracy
from training import scenes
from training.pictures import as_jpeg

FIRST_SEED: Final = 2_000_000
"""Of the drawn photographs. Training draws from 1,000,003 on."""

LEAST: Final = 0.05
"""Boxes of a lower score are not looked at."""

STEPS: Final = 10
"""Rows of the table, each as wide as the others."""

THRESHOLDS: Final = (0.2, 0.3, 0.4, 0.5, 0.6)
"""Scores from which boxes on empty sheets are counted."""

Judged = list[tuple[float, bool]]
"""Boxes: their score, and whether it is an insect."""


def main() -> None:
    """Print a table, or the numbers as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--pipeline", default=registry.DEFAULT_PIPELINE)
    parser.add_argument("--drawn", type=int, default=40, help="number of drawn photographs of either kind")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the tables")
    arguments = parser.parse_args()
    pipeline = interface.build(registry.get(arguments.pipeline), {"min_score": LEAST})
    pipeline.load("cpu")
    judged = {"drawn": judge(pipeline, drawn(arguments.drawn))}
    if (folder := arguments.folder or accuracy.photographs_folder()) is not None:
        traps = (one for one in accuracy.photographs(folder) if one[0]["site"] != "DSLR")
        judged["photographs"] = judge(pipeline, traps)
    on_empty = [one.score for data in empty(arguments.drawn) for one in accuracy.found_on(pipeline, data)]
    false = {least: sum(score >= least for score in on_empty) / arguments.drawn for least in THRESHOLDS}
    if arguments.json:
        rows = {name: reliability(boxes) for name, boxes in judged.items()}
        print(json.dumps({"reliability": rows, "false_boxes_per_empty_photograph": false}, indent=1))
        return
    for name, boxes in judged.items():
        print(f"{name}: {len(boxes)} boxes")
        for row in reliability(boxes):
            print(f"  {row['from']:.1f}-{row['to']:.1f}  {row['boxes']:5d} boxes  {row['share']:5.2f} insects")
    counts = ", ".join(f"{number:.2f} from {least}" for least, number in false.items())
    print(f"boxes on an empty drawn photograph, by score: {counts}")


def judge(pipeline: interface.Pipeline[Any, Any], photographs: Iterable[tuple[dict[str, Any], bytes]]) -> Judged:
    """All boxes of these photographs but those on insects too small to count."""
    judged: Judged = []
    for photograph, data in photographs:
        pairs, spare = accuracy.match(photograph["insects"], accuracy.found_on(pipeline, data))
        judged += [(one.score, True) for _, one in pairs]
        judged += [(one.score, False) for one in spare if not accuracy.lies_on_small(one.box, photograph["small"])]
    return judged


def drawn(count: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Drawn photographs, as `detector_accuracy.photographs` gives annotated ones."""
    for number in range(count):
        scene = scenes.draw_scene(FIRST_SEED + number, WORKING_SIDE)
        boxes = [{"box": one.box, "kind": one.kind} for one in scene.insects]
        # As the annotations, of photographs of 4096 pixels.
        least = accuracy.SIZES[0][0] / 4096 * WORKING_SIDE
        yield (
            {
                "insects": [one for one in boxes if accuracy.longer(one["box"]) >= least],  # type: ignore[arg-type]
                "small": [one["box"] for one in boxes if accuracy.longer(one["box"]) < least],  # type: ignore[arg-type]
            },
            as_jpeg(Image.fromarray(scene.pixels)),
        )


def empty(count: int) -> Iterator[bytes]:
    """Drawn photographs of sheets without any insect."""
    for number in range(count):
        yield as_jpeg(Image.fromarray(scenes.draw_scene(FIRST_SEED + number, WORKING_SIDE, empty=True).pixels))


def reliability(judged: Judged) -> list[dict[str, Any]]:
    """By score, how many boxes there are, and which share of them are insects."""
    boxes: Counter[int] = Counter()
    insects: Counter[int] = Counter()
    for score, is_insect in judged:
        step = min(STEPS - 1, int(score * STEPS))
        boxes[step] += 1
        insects[step] += is_insect
    return [
        {"from": step / STEPS, "to": (step + 1) / STEPS, "boxes": boxes[step], "share": insects[step] / boxes[step]}
        for step in sorted(boxes)
    ]


if __name__ == "__main__":
    main()
