"""How many photographs of 4096x2160 pixels a pipeline processes per second on this machine, and which stage limits it.

    python -m benchmarks.detector_speed [--pipeline SLUG] [--images 40]

As in a worker's device process, `prepare` and `finish` run on one thread per core and `infer` on one thread, with one
torch thread per core. Each stage is also timed alone, to show where the time goes.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import Pipeline, RawImage
from antenna_orchestration.synthetic import captures


def main() -> None:
    """Draw some photographs, run them, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pipeline", default=registry.DEFAULT_PIPELINE)
    parser.add_argument("--images", type=int, default=40)
    arguments = parser.parse_args()
    drawn = [captures.draw_capture(seed, 4096, 2160, insects=40)[0] for seed in range(4)]
    images = [RawImage(image=n, uri="", data=drawn[n % len(drawn)]) for n in range(arguments.images)]
    pipeline = interface.build(registry.get(arguments.pipeline), {})
    pipeline.load("cpu")
    stages = time_stages(pipeline, images[:8])
    print("alone: " + ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in stages.items()))
    cores = len(os.sched_getaffinity(0))
    print(f"together on {cores} cores: {len(images) / run(pipeline, images, cores):.1f} photographs/s")


def time_stages(pipeline: Pipeline[Any, Any], images: list[RawImage]) -> dict[str, float]:
    """Seconds per image that each stage takes when nothing else runs."""
    stages = {"prepare": 0.0, "infer": 0.0, "finish": 0.0}
    for image in images:
        at = [time.perf_counter()]
        prepared = pipeline.prepare(image)
        at.append(time.perf_counter())
        raw = pipeline.infer([prepared])[0]
        at.append(time.perf_counter())
        pipeline.finish(prepared, raw)
        at.append(time.perf_counter())
        for name, begin, end in zip(stages, at, at[1:], strict=False):
            stages[name] += (end - begin) / len(images)
    return stages


def run(pipeline: Pipeline[Any, Any], images: list[RawImage], cores: int) -> float:
    """Seconds for all images, with the stages overlapping."""
    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as sides:
        prepared = [sides.submit(pipeline.prepare, image) for image in images]
        finished = [
            sides.submit(pipeline.finish, ready, pipeline.infer([ready])[0])
            for ready in (future.result() for future in prepared)
        ]
        for future in finished:
            future.result()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
