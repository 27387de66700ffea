"""How fast each device decodes (Pillow, nvJPEG) and infers (the published detector, each kind of classifier).

Weights are random, which takes the same time as trained ones. The CPU is always measured, and each GPU that torch sees:
GPUs in float32 (with torch's defaults for TF32), float16 and bfloat16.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch

from antenna_orchestration.kernel import usable_cpus
from antenna_orchestration.pipelines.published import architectures, judges
from antenna_orchestration.pipelines.published.pipeline import placed_detector
from antenna_orchestration.pipelines.torch_device import TorchDevice
from antenna_orchestration.synthetic import captures
from benchmarks.figures import Figure
from tests.pipelines import checkpoints

SECONDS: Final = 4.0
"""Seconds of work per figure."""

SIZE: Final = (4096, 2160)
"""Width and height of the photograph, in pixels."""

PHOTOGRAPHS: Final = {"cpu": 2, "cuda": 8}
"""Photographs per batch."""

CROPS: Final = {"cpu": 32, "cuda": 256}
"""Crops per batch."""

CLASSES: Final = 2_500


def run() -> list[Figure]:
    """All rates, device by device."""
    count = torch.cuda.device_count()
    if not count:
        print(f"torch {torch.__version__} sees no GPU here: only the CPU is measured")
    return [Figure("GPUs", count), *_rates(["cpu", *(f"cuda:{index}" for index in range(count))])]


def _rates(devices: Sequence[str]) -> Iterator[Figure]:
    jpeg = captures.draw_capture(1, *SIZE, trap=0)[0]
    for device in devices:
        yield from _decoding(device, jpeg)
        for precision in ("float32", "float16", "bfloat16") if device != "cpu" else ("float32",):
            yield from _inference(device, jpeg, precision)


def _decoding(device: str, jpeg: bytes) -> Iterator[Figure]:
    """From JPEG bytes to pixels on the device, as in a worker: `begin` on threads, `pixels` on one thread."""
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

            yield _rate(device, f"decode, {name}, {threads} threads", "photographs", batch)


def _inference(device: str, jpeg: bytes, precision: str) -> Iterator[Figure]:
    place = TorchDevice(device, precision=None if device == "cpu" else precision, gpu_decode=False)
    kind = place.device.type
    [pixels] = place.pixels([place.begin(jpeg)])
    photographs = [pixels.float().div_(255)] * PHOTOGRAPHS[kind]
    detector = placed_detector(architectures.empty_detector().eval(), place)
    yield _rate(device, f"detect, {precision}", "photographs", lambda: len(detector(photographs)))
    for name in ("timm", "turing", "convnext"):
        model, _ = checkpoints.plain_classifier(name, CLASSES)
        network = judges.placed(model, place)
        side = 300 if name == "turing" else 128
        crops = torch.rand(CROPS[kind], 3, side, side, device=place.device)
        if place.is_cuda:
            crops = crops.contiguous(memory_format=torch.channels_last)
        what = {"timm": "resnet50", "turing": "headless_resnet50", "convnext": "convnext_tiny"}[name]
        title = f"classify, {what} at {side} pixels, {precision}"
        yield _rate(device, title, "crops", lambda n=network, c=crops: len(n(c)))


def _rate(device: str, what: str, unit: str, work: Callable[[], int]) -> Figure:
    """Repeat the work for SECONDS; the first round is a warm-up and does not count."""
    with torch.inference_mode():
        work()
        _finish(device)
        done, rounds = 0, 0
        began = time.perf_counter()
        while rounds < 2 or time.perf_counter() - began < SECONDS:
            done += work()
            rounds += 1
        _finish(device)
        elapsed = time.perf_counter() - began
    return Figure(f"{device}: {what}", done / elapsed, f"{unit}/s")


def _finish(device: str) -> None:
    """Wait for the GPU, which works asynchronously."""
    if device != "cpu":
        torch.cuda.synchronize(device)
