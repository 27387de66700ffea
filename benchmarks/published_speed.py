"""Published pipelines on the CPU: their forward passes alone, ours, and the published worker's loop.

    python -m benchmarks.published_speed [--images 4] [--rounds 2] [--slugs SLUG,SLUG]

One pipeline of each architecture, with random weights, on a drawn photograph of 4096x2160 pixels, by turns:

- ceiling: the networks on tensors that are ready: the detector on each photograph, the classifiers on its crops.
- ours: the pipeline as in a device process: `prepare` and `finish` on threads, `infer` on one, for which torch has all
  CPUs.
- loop: what the published worker does, in float32 and one after the other: decode, detect, cut out the crops, classify
  them in batches with the filter, and those that pass with the classifier.

The score that a box must have is set so that the photograph has forty. Prints a Markdown table: seconds and CPU
seconds per photograph, and which share of the ceiling's speed ours has by each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from torch import nn

from antenna_orchestration import settings
from antenna_orchestration.kernel import usable_cpus
from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import Pipeline, RawImage
from antenna_orchestration.pipelines.published import specs
from antenna_orchestration.synthetic import captures
from tests.pipelines import checkpoints

SLUGS: Final = ("panama_moths_2024", "costa_rica_moths_turing_2024", "insect_orders_2025")
SIZE: Final = (4096, 2160)
BOXES: Final = 40
CROPS_AT_ONCE: Final = 64
CLASSES: Final = 1_000
MOTH: Final = 1


@dataclass(frozen=True, slots=True)
class _Networks:
    """The plain networks, the least score, and the tensors that they take for each photograph."""

    detector: nn.Module
    # Filter, if there is one, and classifier, each with its transform of a crop.
    classifiers: list[tuple[nn.Module, Any]]
    least: float

    def crops(self, image: torch.Tensor) -> list[torch.Tensor]:
        output = self.detector([image])[0]
        boxes = output["boxes"][output["scores"] > self.least].numpy()
        return list(checkpoints.plain_crops(image, boxes).values())

    def batches(self, crops: Sequence[torch.Tensor], which: int) -> Iterator[torch.Tensor]:
        transform = self.classifiers[which][1]
        for start in range(0, len(crops), CROPS_AT_ONCE):
            yield torch.stack([transform(crop) for crop in crops[start : start + CROPS_AT_ONCE]])

    def loop(self, data: bytes) -> list[list[torch.Tensor]]:
        """The published worker on one photograph; returns the batches that each classifier got."""
        image = checkpoints.to_tensor(data)
        crops, took = self.crops(image), []
        for which, (network, _) in enumerate(self.classifiers):
            batches = list(self.batches(crops, which))
            took.append(batches)
            logits = [network(batch) for batch in batches]
            if which < len(self.classifiers) - 1 and logits:
                best = torch.cat(logits).argmax(1).tolist()
                crops = [crop for crop, label in zip(crops, best, strict=True) if label == MOTH]
        return took


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--slugs", default=",".join(SLUGS))
    arguments = parser.parse_args()
    torch.set_num_threads(usable_cpus())
    # Random weights find forty boxes in one, and none or five hundred in the next.
    photographs = [captures.draw_capture(0, *SIZE, insects=BOXES)[0]] * arguments.images
    print("| pipeline | | s per photograph | CPU s | share of the ceiling, by time and by CPU |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as mirror, torch.inference_mode():
        os.environ["ANTENNA_WEIGHTS_MIRROR"] = mirror
        settings.get.cache_clear()
        for slug in arguments.slugs.split(","):
            for line in _lines(slug, Path(mirror), photographs, arguments.rounds):
                print(line, flush=True)
    print(f"\n{torch.__version__}, {usable_cpus()} CPUs, load {os.getloadavg()[0]:.0f}")


def _lines(slug: str, mirror: Path, photographs: Sequence[bytes], rounds: int) -> Iterator[str]:
    networks, pipeline = _loaded(slug, mirror, photographs[0])
    images = [checkpoints.to_tensor(data) for data in photographs]
    # What the classifiers get: the same in all three.
    batches = [networks.loop(data) for data in photographs]

    def ceiling() -> None:
        for image, each in zip(images, batches, strict=True):
            networks.detector([image])
            for (network, _), some in zip(networks.classifiers, each, strict=True):
                for batch in some:
                    network(batch)

    def loop() -> None:
        for data in photographs:
            networks.loop(data)

    ways: dict[str, Callable[[], None]] = {
        "ceiling": ceiling, "ours": lambda: _run(pipeline, photographs), "loop": loop,
    }  # fmt: skip
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, cpu = time.perf_counter(), time.process_time()
            way()
            spent = (time.perf_counter() - began, time.process_time() - cpu)
            took[name].append((spent[0] / len(photographs), spent[1] / len(photographs)))
    best = {name: (median(one[0] for one in each), median(one[1] for one in each)) for name, each in took.items()}
    for name, (seconds, cpu) in best.items():
        shares = f"{best['ceiling'][0] / seconds:.2f}, {best['ceiling'][1] / cpu:.2f}"
        yield f"| `{slug}` | {name} | {seconds:.2f} | {cpu:.2f} | {shares} |"


def _run(pipeline: Pipeline[Any, Any], photographs: Sequence[bytes]) -> None:
    """All photographs, with the stages overlapping as in a device process."""
    with torch.inference_mode(), ThreadPoolExecutor(max(2, usable_cpus())) as sides:
        images = [RawImage(image=n, uri="", data=data) for n, data in enumerate(photographs)]
        # A batch is one photograph: on a CPU several take as long as one after the other.
        ready: list[Any] = [sides.submit(pipeline.prepare, image) for image in images]
        finished = []
        for index, future in enumerate(ready):
            prepared = future.result()
            ready[index] = None
            finished.append(sides.submit(pipeline.finish, prepared, pipeline.infer([prepared])[0]))
        for done in finished:
            done.result()


def _loaded(slug: str, mirror: Path, data: bytes) -> tuple[_Networks, Pipeline[Any, Any]]:
    """The plain networks, and the pipeline with the same weights."""
    spec = registry.get(slug, ())
    detector = checkpoints.plain_detector()
    checkpoints.save(mirror, specs.DETECTOR.uri, detector, wrapped=True)
    image = checkpoints.to_tensor(data)
    output = detector([image])[0]
    scores, boxes = output["scores"], output["boxes"].numpy()
    least = float(scores[min(BOXES, len(scores)) - 1]) - 1e-6
    crops = list(checkpoints.plain_crops(image, boxes[: min(BOXES, len(scores))]).values())
    names = [f"Species {number}" for number in range(CLASSES)]
    classifiers = []
    if spec.recipe.moth_filter is not None:
        filtering = spec.recipe.moth_filter.algorithm
        network, transform = checkpoints.plain_classifier("filter", 2)
        checkpoints.split_evenly(network, transform, crops)
        checkpoints.save(mirror, filtering.uri, network, wrapped=False)
        checkpoints.save_labels(mirror, filtering.labels_uri, ["nonmoth", "moth"])
        classifiers.append((network, transform))
    network, transform = checkpoints.plain_classifier(checkpoints.kind_of(spec), CLASSES)
    checkpoints.save(mirror, spec.recipe.classifier.algorithm.uri, network, wrapped=True)
    checkpoints.save_labels(mirror, spec.recipe.classifier.algorithm.labels_uri, names)
    classifiers.append((network, transform))
    pipeline = interface.build(spec, {"min_score": least})
    pipeline.load("cpu")
    return _Networks(detector, classifiers, least), pipeline


if __name__ == "__main__":
    main()
