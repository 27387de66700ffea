"""How fast each device decodes and infers: Pillow and nvJPEG, the published detector, each kind of classifier.

    python -m benchmarks.devices [--seconds 5] [--width 4096 --height 2160] [--json FILE]

Weights are random, which costs as much time as trained ones. The CPU is always measured, each GPU when torch sees one;
GPUs in float32 (with TF32, as torch comes) and in both halved precisions.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import torch

from antenna_orchestration.pipelines import drawing
from antenna_orchestration.pipelines.published_pipeline import placed_detector
from antenna_orchestration.pipelines.torch_device import TorchDevice
from antenna_orchestration.worker.machine import usable_cpus
from tests.pipelines import checkpoints

Row = dict[str, Any]

PHOTOGRAPHS: Final = {"cpu": 2, "cuda": 8}
"""Photographs a batch."""

CROPS: Final = {"cpu": 32, "cuda": 256}
"""Crops a batch."""

CLASSES: Final = 2_500


def measure(*, width: int, height: int, seconds: float) -> Iterator[Row]:
    """All rates, device by device; `seconds` of work for each."""
    jpeg = drawing.draw_capture(1, width, height, trap=0)[0]
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    for device in devices:
        yield from _decoding(device, jpeg, seconds)
        for precision in ("float32", "float16", "bfloat16") if device != "cpu" else ("float32",):
            yield from _inference(device, jpeg, precision, seconds)


def _decoding(device: str, jpeg: bytes, seconds: float) -> Iterator[Row]:
    """From a JPEG's bytes to pixels on the device, as a worker does it: threads decode, one thread takes."""
    on_gpu = device != "cpu"
    threads = usable_cpus()
    for name, gpu_decode in (("Pillow", False), *((("nvJPEG", True),) if on_gpu else ())):
        place = TorchDevice(device, gpu_decode=gpu_decode)
        files = [jpeg] * max(2 * threads, PHOTOGRAPHS["cuda" if on_gpu else "cpu"])
        with ThreadPoolExecutor(threads) as pool:

            def batch(
                place: TorchDevice = place, files: Sequence[bytes] = files, pool: ThreadPoolExecutor = pool
            ) -> int:
                return len(place.pixels(list(pool.map(place.begin, files))))

            yield _row(device, f"decode, {name} ({threads} threads)", "", "photographs", batch, seconds)


def _inference(device: str, jpeg: bytes, precision: str, seconds: float) -> Iterator[Row]:
    place = TorchDevice(device, precision=None if device == "cpu" else precision, gpu_decode=False)
    kind = place.device.type
    [pixels] = place.pixels([place.begin(jpeg)])
    photographs = [pixels.float().div_(255)] * PHOTOGRAPHS[kind]
    detector = placed_detector(checkpoints.plain_detector(), place)
    yield _row(device, "detect", precision, "photographs", lambda: len(detector(photographs)), seconds)
    for name in ("timm", "turing", "convnext"):
        model, _ = checkpoints.plain_classifier(name, CLASSES)
        network = place.lowered(place.place(model))
        side = 300 if name == "turing" else 128
        crops = torch.rand(CROPS[kind], 3, side, side, device=place.device)
        if place.is_cuda:
            crops = crops.contiguous(memory_format=torch.channels_last)
        what = {"timm": "resnet50", "turing": "headless_resnet50", "convnext": "convnext_tiny"}[name]
        title = f"classify, {what} at {side} pixels"
        yield _row(device, title, precision, "crops", lambda n=network, c=crops: len(n(c)), seconds)


def _row(device: str, what: str, precision: str, unit: str, work: Callable[[], int], seconds: float) -> Row:
    """Do the work over and over; the first time does not count."""
    with torch.inference_mode():
        work()
        _finish(device)
        done, rounds = 0, 0
        began = time.perf_counter()
        while rounds < 2 or time.perf_counter() - began < seconds:
            done += work()
            rounds += 1
        _finish(device)
        elapsed = time.perf_counter() - began
    return {
        "device": device,
        "name": torch.cuda.get_device_name(device) if device != "cpu" else f"{usable_cpus()} CPUs",
        "what": what,
        "precision": precision,
        "unit": unit,
        "per_second": round(done / elapsed, 2),
    }


def _finish(device: str) -> None:
    """Work on a GPU goes on behind the caller's back."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def main() -> int:
    """Measure and print, a line as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--height", type=int, default=2160)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    gpu = torch.cuda.is_available()
    print(f"torch {torch.__version__}; " + ("" if gpu else "torch sees no GPU here: only the CPU is measured"))
    rows = []
    for row in measure(width=arguments.width, height=arguments.height, seconds=arguments.seconds):
        rows.append(row)
        print(
            f"{row['device']:8} {row['what']:44} {row['precision']:9} {row['per_second']:>10,.2f} {row['unit']}/s",
            flush=True,
        )
    if arguments.json:
        figures = {"torch": torch.__version__, "gpu": gpu, "rates": rows}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
