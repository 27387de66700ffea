"""What to learn first on a GPU: decoding and its traps, each stage's time, lack of memory, a lost context.

Prints lines for people; no part stops the others, and one that fails says so. `ANTENNA_TRAP_IMAGES` names real
photographs, else they are drawn. Not run yet: no GPU was at hand.
"""

from __future__ import annotations

import asyncio
import copy
import io
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image

from antenna_orchestration import settings
from antenna_orchestration.pipelines import batch_norms, device_errors, images, interface, registry
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.pipelines.published import architectures, specs
from antenna_orchestration.pipelines.published.pipeline import PublishedPipeline, _crops
from antenna_orchestration.pipelines.torch_device import TorchDevice, _nvjpeg
from antenna_orchestration.synthetic import captures
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Device, Shipment
from antenna_orchestration.worker.policy.batch_groups import BatchGroup
from benchmarks.figures import Figure
from tests.pipelines import checkpoints

DEV: Final = "cuda:0"
SIZE: Final = (4096, 2160)
SLUG: Final = "panama_moths_2024"


def run() -> list[Figure]:
    """All parts, one after the other; none where torch sees no GPU."""
    count = torch.cuda.device_count()
    if not count:
        print(f"no GPU here: torch {torch.__version__} sees none, and nothing of this part is measured")
        return [Figure("GPUs", 0)]
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(ANTENNA_HOME=folder, ANTENNA_WEIGHTS_MIRROR=folder)
        failed = 0
        for part in (where, decode, odd, race, pipeline, stages, oom, sticky, process):
            began = time.monotonic()
            print(f"=== {part.__name__}", flush=True)
            try:
                part()
            except Exception:
                failed += 1
                traceback.print_exc(file=sys.stdout)
            print(f"    ({time.monotonic() - began:.0f} s)", flush=True)
    return [Figure("GPUs", count), Figure("parts that failed", failed, at_most=0)]


def sync() -> None:
    """Wait for the card."""
    torch.cuda.synchronize()


def rate(work: Callable[[], object], seconds: float = 3.0) -> float:
    """Seconds a call, after one that does not count."""
    work()
    sync()
    began, done = time.perf_counter(), 0
    while done < 2 or time.perf_counter() - began < seconds:
        work()
        done += 1
    sync()
    return (time.perf_counter() - began) / done


@cache
def photos() -> tuple[bytes, ...]:
    """Compressed photographs."""
    folder = os.environ.get("ANTENNA_TRAP_IMAGES")
    found = sorted(Path(folder).rglob("*.[jJ]*")) if folder else []
    return tuple(file.read_bytes() for file in found) or tuple(
        captures.draw_capture(seed, *SIZE, trap=0)[0] for seed in range(2)
    )


def where() -> None:
    """Versions, the card, its memory."""
    print("torch", torch.__version__, "torchvision", torchvision.__version__, "cuda", torch.version.cuda)
    print(torch.cuda.get_device_name(0), torch.cuda.get_device_properties(0), "archs", torch.cuda.get_arch_list())
    print("memory free/total", torch.cuda.mem_get_info(), "alloc conf", os.environ.get("PYTORCH_CUDA_ALLOC_CONF"))
    asked = ["nvidia-smi", "-q", "-d", "UTILIZATION"]
    print(subprocess.run(asked, capture_output=True, text=True, check=False).stdout[-700:])


def decode() -> None:
    """nvJPEG: hardware or software? how many at once? how far from Pillow? does it leak?"""
    files = photos()
    for count in (1, 2, 4, 8, 16, 32):
        some = [files[n % len(files)] for n in range(count)]
        seconds = rate(partial(_nvjpeg, some, torch.device(DEV)), 1.5)
        print(f"nvJPEG, {count:2} at once: {1000 * seconds:7.1f} ms = {count / seconds:6.0f} photographs/s")
    for data in files[:6]:
        whole = images.decode(data).pixels
        [pixels] = _nvjpeg([data], torch.device(DEV))
        off = np.abs(pixels.cpu().numpy().transpose(1, 2, 0).astype(int) - whole.astype(int))
        most = f"p99.9 {np.percentile(off, 99.9):.0f} max {off.max()}"
        print(f"against Pillow {whole.shape}: mean {off.mean():.3f} {most}")
    place = TorchDevice(DEV, gpu_decode=False)
    seconds = rate(lambda: place.pixels([place.begin(files[0])]), 1.5)
    print(f"Pillow and a pinned copy, one thread: {1000 * seconds:.1f} ms")
    before = torch.cuda.mem_get_info()[0]
    for _ in range(400):
        _nvjpeg(files[:2], torch.device(DEV))
    print("leak over 800 decodes, bytes:", before - torch.cuda.mem_get_info()[0])


def odd() -> None:
    """Every odd JPEG: what nvJPEG says, and whether our way round it holds."""
    picture = images.decode(captures.draw_capture(3, 320, 240, trap=0)[0]).pixels
    bgr = picture[:, :, ::-1]

    def cv(*flags: int) -> bytes:
        return cv2.imencode(".jpg", bgr, list(flags))[1].tobytes()

    def pil(mode: str = "RGB", **options: object) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(picture).convert(mode).save(stream, "JPEG", **options)
        return stream.getvalue()

    factor = cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    plain = pil(quality=92)
    table = plain.index(b"\xff\xc4") + 5
    middle = plain.index(b"\xff\xda") + (len(plain) - plain.index(b"\xff\xda")) // 2
    kinds = {
        "4:2:0": plain, "4:4:4": pil(subsampling=0), "4:2:2": pil(subsampling=1), "grey": pil("L"),
        "4:1:1": cv(factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411),
        "4:4:0": cv(factor, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440),
        "progressive": pil(progressive=True), "restarts": cv(cv2.IMWRITE_JPEG_RST_INTERVAL, 8),
        "odd size": cv2.imencode(".jpg", bgr[:237, :317])[1].tobytes(),
        "one pixel": cv2.imencode(".jpg", bgr[:1, :1])[1].tobytes(),
        "cmyk": pil("CMYK"), "broken table": plain[:table] + b"\xff" * 16 + plain[table + 16 :],
        "garbled middle": plain[:middle] + os.urandom(300).replace(b"\xff", b"\0") + plain[middle + 300 :],
        "cut middle": plain[: middle] + b"\xff\xd9", "bytes behind": plain + b"\0" * 1000,
    }  # fmt: skip
    place = TorchDevice(DEV, gpu_decode=True)
    for name, data in kinds.items():
        try:
            [pixels] = _nvjpeg([data], torch.device(DEV))
            said = f"{tuple(pixels.shape)} mean {pixels.float().mean().item():.2f}"
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:110]}"
        try:
            got = place.pixels([place.begin(data)])[0].cpu().numpy().transpose(1, 2, 0).astype(int)
            off = np.abs(got - images.decode(data).pixels.astype(int))
            ours = f"ours differs from Pillow by mean {off.mean():.2f}, max {off.max()}"
        except Exception as error:
            ours = f"ours {type(error).__name__}: {str(error)[:70]}"
        print(f"{name:15} nvJPEG {said} | {ours}")
    good = place.pixels([place.begin(plain)])[0]
    print("a good one afterwards:", good.float().mean().item(), "refusals", place._refusals, "decodes", place._decodes)


def race() -> None:
    """pytorch/vision#9606: does nvJPEG write into memory that kernels in line still read? And is the cure one?"""
    data = photos()[0]
    width, height = Image.open(io.BytesIO(data)).size
    device = torch.device(DEV)
    expected = _nvjpeg([data], device)[0].long().sum().item()
    private = torch.cuda.Stream(device)

    def as_now() -> torch.Tensor:
        return _nvjpeg([data], device)[0]

    def on_a_stream_of_its_own() -> torch.Tensor:
        with torch.cuda.stream(private):
            [pixels] = _nvjpeg([data], device)
        torch.cuda.current_stream(device).wait_stream(private)
        pixels.record_stream(torch.cuda.current_stream(device))
        return pixels

    for name, one in (("as now", as_now), ("on a stream of its own", on_a_stream_of_its_own)):
        read = wrote = 0
        for _ in range(40):
            victims = [torch.full((3, height, width), 7, dtype=torch.uint8, device=device) for _ in range(4)]
            sync()
            torch.cuda._sleep(100_000_000)
            sums = [victim.sum(dtype=torch.int64) for victim in victims]
            for victim in victims:
                victim.fill_(9)
            del victims, victim
            pixels = one()
            sync()
            read += any(value.item() != 7 * 3 * height * width for value in sums)
            wrote += pixels.long().sum().item() != expected
        print(f"{name}: {read} of 40 corrupted what was still being read, {wrote} of 40 photographs corrupted")


def _world() -> None:
    mirror = Path(os.environ["ANTENNA_WEIGHTS_MIRROR"])
    if (mirror / "done").exists():
        return
    spec = registry.get(SLUG, ())
    checkpoints.save(mirror, specs.DETECTOR.uri, checkpoints.plain_detector(), wrapped=False)
    for step, kind, names in (
        (specs.MOTH_FILTER, "filter", ["nonmoth", "moth"]),
        (spec.recipe.classifier, "timm", [f"Species {number}" for number in range(2500)]),
    ):
        model, _ = checkpoints.plain_classifier(kind, len(names))
        checkpoints.save(mirror, step.algorithm.uri, model, wrapped=False)
        checkpoints.save_labels(mirror, step.algorithm.labels_uri, names)
    (mirror / "done").touch()


def _pipeline(precision: str, device: str = DEV, min_score: float = 0.8) -> PublishedPipeline:
    os.environ["ANTENNA_PRECISION"] = precision
    settings.get.cache_clear()
    pipeline = interface.build(registry.get(SLUG, ()), {"min_score": min_score})
    pipeline.load(device)
    return pipeline


def _least_score(files: list[bytes], boxes: int = 40) -> float:
    """The score that leaves about so many boxes a photograph."""
    pipeline = _pipeline("float32", min_score=0.05)
    with torch.inference_mode():
        pixels = [one.float() / 255 for one in pipeline._device.pixels([pipeline.prepare(_raw(files[0]))])]
        scores = pipeline._detect(pixels)[0].scores
    return float(np.sort(scores)[::-1][min(boxes, len(scores) - 1)])


def _raw(data: bytes) -> RawImage:
    return RawImage(image=0, uri="file:///x.jpg", data=data)


def pipeline() -> None:
    """The whole infer, in each precision and batch: photographs a second, and how far from the CPU's numbers."""
    _world()
    files = photos()
    least = _least_score(files)
    cpu = _pipeline("float32", "cpu", least)
    reference = cpu.infer([cpu.prepare(_raw(files[0]))])[0]
    for precision in ("float32", "float16", "bfloat16"):
        ours = _pipeline(precision, DEV, least)
        for count in (1, 4, 8, 16):
            batch = [ours.prepare(_raw(files[n % len(files)])) for n in range(count)]
            try:
                seconds = rate(partial(ours.infer, batch), 2.0)
                print(f"{precision}, batch {count:2}: {count / seconds:6.1f} photographs/s", flush=True)
            except Exception as error:
                print(f"{precision}, batch {count:2}: {type(error).__name__} {str(error)[:120]}")
        found = ours.infer([ours.prepare(_raw(files[0]))])[0]
        same = {tuple(box) for box in found.boxes.astype(int).tolist()} & {
            tuple(box) for box in reference.boxes.astype(int).tolist()
        }
        print(f"  boxes {len(found.boxes)} against {len(reference.boxes)} on CPU, {len(same)} equal in whole pixels")


def stages() -> None:
    """Where an infer spends its time: ours by stage, then torch's profiler."""
    _world()
    files = photos()
    ours = _pipeline("float32", DEV, _least_score(files))
    batch = [ours.prepare(_raw(files[n % len(files)])) for n in range(8)]
    with torch.inference_mode():
        pixels = ours._device.pixels(batch)
        print(f"decode 8: {1000 * rate(lambda: ours._device.pixels(batch), 1):.1f} ms")
        floats = [one.float().div_(255) for one in pixels]
        print(f"to float 8: {1000 * rate(lambda: [one.float().div_(255) for one in pixels], 1):.1f} ms")
        print(f"detect 8: {1000 * rate(lambda: ours._detect(floats), 2):.1f} ms")
        crops = _crops(floats, ours._detect(floats))
        judge = ours._judges[0]
        for together in (False, True):
            judge.resizes_together = together
            how = "together" if together else "one by one"
            seconds = rate(lambda: judge.inputs(floats, crops), 1)
            print(f"resize {len(crops)} crops {how}: {1000 * seconds:.1f} ms")
            print(f"… and judge them: {1000 * rate(lambda: judge.answers(floats, crops), 1):.1f} ms")
        for name, network in _variants().items():
            some = [one.half() for one in floats] if "half" in name else floats
            print(f"backbone 8, {name}: {1000 * rate(partial(_through, network, some), 1.5):.1f} ms", flush=True)
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        began = time.perf_counter()
        for _ in range(3):
            ours.infer(batch)
        sync()
        wall = time.perf_counter() - began
    events = profile.key_averages()
    busy = sum(event.self_device_time_total for event in events) / 1e6
    print(f"GPU busy {busy:.3f} s of {wall:.3f} s; calls a photograph:")
    for event in events:
        if event.key in ("cudaStreamSynchronize", "cudaLaunchKernel", "cudaMemcpyAsync", "aten::item", "aten::nonzero"):
            print(f"  {event.key}: {event.count / 3 / len(batch):.1f}")
    print(events.table(sort_by="self_cuda_time_total", row_limit=14, max_name_column_width=50)[:5000])


def _through(network: torch.nn.Module, pictures: list[torch.Tensor]) -> object:
    return network(_resized(pictures))


def _resized(pictures: list[torch.Tensor]) -> torch.Tensor:
    resized = [torch.nn.functional.interpolate(one[None], size=(704, 1344), mode="bilinear") for one in pictures]
    stacked = torch.cat(resized)
    return stacked.contiguous(memory_format=torch.channels_last)


def _variants() -> dict[str, torch.nn.Module]:
    """The detector's backbone as it was published, and with its frozen batch norms folded into the convolutions."""
    published: Any = architectures.empty_detector().eval().requires_grad_(requires_grad=False)
    backbone = published.backbone.to(DEV).to(memory_format=torch.channels_last)
    folded = batch_norms.folded(copy.deepcopy(backbone))
    return {"published": backbone, "folded": folded, "folded, half": copy.deepcopy(folded).half()}


def oom() -> None:
    """How lack of memory shows itself in each place, and whether a batch is halved and then fits."""
    _world()
    files = photos()
    ours = _pipeline("float32", DEV, _least_score(files))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1.5e9) / total)
    for count in (32, 16, 8, 4, 2, 1):
        batch = [ours.prepare(_raw(files[n % len(files)])) for n in range(count)]
        try:
            ours.infer(batch)
            print(f"infer of {count} fits")
            break
        except Exception as error:
            fault = device_errors.fault_of(error).value
            print(f"infer of {count}: {type(error).__name__} fault={fault} {str(error)[:90]}")
            error.__traceback__ = None
            torch.cuda.empty_cache()
    hog = []
    try:
        while True:
            hog.append(torch.empty(2**24, dtype=torch.uint8, device=DEV))
    except torch.OutOfMemoryError:
        pass
    try:
        _nvjpeg(files[:1], torch.device(DEV))
        print("nvJPEG fits beside the hog")
    except Exception as error:
        fault = device_errors.fault_of(error).value
        print(f"nvJPEG without memory: {type(error).__name__} fault={fault} {str(error)[:160]}")
    del hog
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1.0)


STICKY = """
import torch, sys
sys.path.insert(0, ".")
from antenna_orchestration.pipelines.torch_device import _nvjpeg
from antenna_orchestration.pipelines import images
from antenna_orchestration.pipelines.device_errors import fault_of
x = torch.zeros(4, device="cuda")
try: x[torch.tensor([99], device="cuda")].sum().item()
except Exception as e: print("first:", type(e).__name__, fault_of(e).value, str(e)[:70])
blank = torch.zeros(1, 3, 9, 9)
for name, f in {
    "decode": lambda: _nvjpeg([images.grey_photograph().data], torch.device("cuda:0")),
    "pin": lambda: torch.zeros(9).pin_memory(),
    "conv": lambda: torch.nn.Conv2d(3, 3, 3).cuda()(blank.cuda()),
    "empty_cache": torch.cuda.empty_cache,
}.items():
    try: f(); print(name, "works?!")
    except Exception as e: print(name, type(e).__name__, "fault:", fault_of(e).value, " ".join(str(e).split())[:120])
"""


def sticky() -> None:
    """What each call says once the context is dead, and whether that is understood."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", STICKY], capture_output=True, text=True, check=False)
    print(done.stdout[-2500:], done.stderr[-300:] if not done.stdout else "")


def process() -> None:
    """Parent and device process, as in a worker: photographs a second from compressed bytes to encoded detections."""
    _world()
    files = photos()
    least = _least_score(files)
    spec = registry.get(SLUG, ())

    async def drain(device: Device, group: BatchGroup, size: int, total: int) -> float:
        number, waits = 0, []

        async def feed() -> None:
            nonlocal number
            while number < total:
                some = [files[(number + n) % len(files)] for n in range(size)]
                shipments = [
                    Shipment(item=protocol.Item(number + n, len(data), n, "file:///x", None, None), data=data)
                    for n, data in enumerate(some)
                ]
                number += size
                report = await device.run(group, shipments, lambda: None)
                waits.append(report.starved)
                assert all(isinstance(outcome, protocol.Done) for outcome in report.outcomes), report.outcomes[0]

        began = time.perf_counter()
        await asyncio.gather(feed(), feed(), feed())
        seconds = time.perf_counter() - began
        print(f"batch {size:2}: {total / seconds:6.1f} photographs/s, starved {sum(waits) / seconds:.0%}", flush=True)

    async def main() -> None:
        for precision, decoding in (("float32", True), ("float16", True), ("float32", False)):
            config = settings.load(precision=precision, gpu_decode=decoding)
            async with Device(settings=config, device="cuda", load_timeout=600.0) as device:
                group = BatchGroup(0, spec, spec.merged_config({"min_score": least}))
                seconds = await device.load(group)
                print(f"{precision}, gpu_decode={decoding}: loaded in {seconds:.1f} s on {device.name}")
                for size in (4, 8, 16):
                    await drain(device, group, size, 20 * size)

    asyncio.run(main())
