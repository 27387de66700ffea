"""Everything that torch does differently on a GPU than on a CPU, in one place.

On CUDA, nvJPEG decodes JPEGs in batches, on a thread and a stream of its own while the previous batch is inferred.
Where that is slow, and for photographs that it cannot read, the CPU decodes, and pixels are copied from pinned memory
on a separate stream. Models use the channels-last memory format, and their expensive parts run in the precision of the
setting `ANTENNA_PRECISION`. On the CPU everything is plain float32.
"""

from __future__ import annotations

import io
import logging
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from antenna_orchestration import settings
from antenna_orchestration.domain.messages import GivenBox
from antenna_orchestration.pipelines import device_errors, images
from antenna_orchestration.pipelines.device_errors import Fault

logger = logging.getLogger(__name__)

MOST_REFUSALS: Final = 20
"""If nvJPEG refuses this many sound photographs in a row, it is not used any more."""

DECODED_AT_ONCE: Final = 8
"""Photographs that nvJPEG gets at most per call."""

SHARE_AHEAD: Final = 1 / 8
"""Of the device's memory, for photographs of one pipeline that wait decoded."""

SLOW_DECODING: Final = 0.015
"""Seconds for a photograph of 4096 x 2160, above which the threads of a CPU decode faster: a card without a JPEG engine
decodes on one thread, and waits after each photograph."""

_DTYPES: Final = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One photograph on its way to the device: either a JPEG for nvJPEG, or pixels that are being copied."""

    # Full size in pixels, as stored.
    width: int
    height: int
    jpeg: bytes | None = None
    # Of the JPEG: its pixels, decoded ahead.
    ahead: Ahead | None = None
    # RGB, uint8, 3 x height x width, on the device.
    pixels: torch.Tensor | None = None
    # Recorded after they were copied or decoded to the GPU; None on the CPU.
    there: torch.cuda.Event | None = None
    # Boxes to classify instead of those that a detector finds.
    given: Sequence[GivenBox] | None = None


class Ahead:
    """What the decoding thread makes of a photograph; it is kept until it is taken, once."""

    def __init__(self) -> None:
        self.is_through = threading.Event()
        self.decoded: Photograph | None = None

    def take(self) -> Photograph | None:
        """Wait for the thread; None if it made nothing of it, or it was taken before."""
        self.is_through.wait()
        decoded, self.decoded = self.decoded, None
        return decoded


class TorchDevice:
    """The device `name`: `cpu`, `cuda` or `cuda:N`.

    On CUDA, precision and decoding follow the settings `ANTENNA_PRECISION` and `ANTENNA_GPU_DECODE`; on the CPU they
    are float32 and Pillow. The arguments `precision` and `gpu_decode` override both.
    """

    def __init__(self, name: str, *, precision: str | None = None, gpu_decode: bool | None = None) -> None:
        defaults = settings.get()
        self.name = name
        self.device = torch.device(name)
        self.is_cuda = self.device.type == "cuda"
        # None for float32.
        self.precision = precision or (defaults.precision if self.is_cuda else "float32")
        self._dtype = _DTYPES.get(self.precision)
        if gpu_decode is None:
            gpu_decode = self.is_cuda and defaults.gpu_decode and decodes_quickly(self.device)
        self._decodes = gpu_decode
        # How many photographs nvJPEG refused in a row.
        self._refusals = 0
        self._to_decode: deque[Photograph] = deque()
        # Decoded, and not taken yet; what a batch that was dropped leaves is forgotten.
        self._decoded_ahead: WeakSet[Ahead] = WeakSet()
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._copies = torch.cuda.Stream(self.device) if self.is_cuda else None  # type: ignore[no-untyped-call]
        self._decoding = torch.cuda.Stream(self.device) if self.is_cuda else None  # type: ignore[no-untyped-call]

    # Models.

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to this device; on CUDA, to the channels-last memory format as well."""
        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.is_cuda else model

    def lowered(self, module: nn.Module) -> nn.Module:
        """Let a module compute in the device's precision, in place; what is returned takes and gives float32.

        For networks whose batch norms are folded: their statistics do not fit into float16. Unchanged for float32.
        """
        return module if self._dtype is None else _Lowered(module, self._dtype)

    def under_autocast(self, module: nn.Module) -> nn.Module:
        """The same for any network, slower: torch chooses the type of each operation."""
        return module if self._dtype is None else _UnderAutocast(module, self.device.type, self._dtype)

    # Photographs.

    def begin(self, data: bytes) -> Photograph:
        """Check a photograph, and decode it or let nvJPEG begin with it. Thread-safe.

        Raises `ImageUnusable` as `images.decode` does.
        """
        if self._decodes and (size := images.size_of_plain_jpeg(data)) is not None:
            photograph = Photograph(width=size[0], height=size[1], jpeg=data, ahead=Ahead())
            self._to_decode.append(photograph)
            self._decoder.submit(self._decode_ahead)
            return photograph
        return self._copy(images.decode(data).pixels)

    def pixels(self, photographs: Sequence[Photograph]) -> list[torch.Tensor]:
        """The photographs' pixels on the device: RGB, uint8, 3 x height x width each. Called in `infer` only.

        Raises `ImageUnusable` if nvJPEG refuses a photograph and the CPU cannot decode it either.
        """
        ahead = [one.ahead.take() if one.ahead else None for one in photographs]
        # What was not decoded ahead is decoded here, where an error has the right to be one.
        wanted = [one for one, decoded in zip(photographs, ahead, strict=True) if one.jpeg and decoded is None]
        now = iter(self._decode(wanted))
        return [
            self._arrived(one if one.jpeg is None else decoded or next(now))
            for one, decoded in zip(photographs, ahead, strict=True)
        ]

    def _decode_ahead(self) -> None:
        """On the decoding thread: decode what waits, several at once, as long as little waits decoded."""
        some: list[Photograph] = []
        while self._to_decode and len(some) < DECODED_AT_ONCE:
            some.append(self._to_decode.popleft())
        try:
            if some and self._has_room(some):
                for one, decoded in zip(some, self._decoded(some), strict=True):
                    assert one.ahead is not None
                    one.ahead.decoded = decoded
                    self._decoded_ahead.add(one.ahead)
        except Exception as error:
            logger.debug("nothing is decoded ahead: %s", error)
        finally:
            for one in some:
                assert one.ahead is not None
                one.ahead.is_through.set()

    def _has_room(self, some: Sequence[Photograph]) -> bool:
        """Whether these and what waits decoded leave room on the device for the work itself."""
        if not self.is_cuda:
            return True
        waiting = [ahead.decoded for ahead in list(self._decoded_ahead)]
        pixels = sum(one.width * one.height for one in (*waiting, *some) if one is not None)
        return 3 * pixels < torch.cuda.get_device_properties(self.device).total_memory * SHARE_AHEAD

    def _copy(self, pixels: NDArray[np.uint8]) -> Photograph:
        """Start to copy pixels (height x width x 3) to the device."""
        height, width = pixels.shape[:2]
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if self._copies is None:
            return Photograph(width=width, height=height, pixels=planes)
        with torch.cuda.stream(self._copies):
            # The allocator does not reuse pinned memory before copies from it have finished.
            there = planes.pin_memory().to(self.device, non_blocking=True)
            return Photograph(width=width, height=height, pixels=there, there=self._copies.record_event())

    def _arrived(self, photograph: Photograph) -> torch.Tensor:
        assert photograph.pixels is not None
        if photograph.there is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(photograph.there)
            # Its memory is not reused before the kernels that read it are through.
            photograph.pixels.record_stream(stream)
        return photograph.pixels

    def _decode(self, jpegs: Sequence[Photograph]) -> list[Photograph]:
        """Decode all at once with nvJPEG; if it fails, one by one, and on the CPU those that fail again."""
        if not jpegs:
            return []
        try:
            return self._decoded(jpegs)
        except RuntimeError as error:
            if device_errors.fault_of(error) is not Fault.PIPELINE:
                raise
            if len(jpegs) > 1:
                return [one for jpeg in jpegs for one in self._decode([jpeg])]
            return [self._decode_on_cpu(jpegs[0], str(error))]

    def _decode_on_cpu(self, jpeg: Photograph, reason: str) -> Photograph:
        logger.debug("nvJPEG refused a photograph: %s", reason)
        # A damaged one says nothing of nvJPEG: it is refused here as well.
        decoded = self._copy(images.decode(jpeg.jpeg or b"").pixels)
        self._refusals += 1
        if self._refusals == MOST_REFUSALS:
            logger.warning(
                "nvJPEG refused %d sound photographs in a row, the last one for %s: they are decoded on the CPU from "
                "now on",
                MOST_REFUSALS,
                reason,
            )
            self._decodes = False
        return decoded

    def _decoded(self, jpegs: Sequence[Photograph]) -> list[Photograph]:
        """What nvJPEG decodes, on a stream that nothing else uses; on the CPU what is not of the size of its header.

        torchvision takes its memory from the caller's stream and writes to it from a stream of its own that does not
        wait for the caller's (pytorch/vision#9606): kernels that still read that memory would see another photograph.
        """
        files = [one.jpeg or b"" for one in jpegs]
        if self._decoding is None:
            there, decoded = None, _nvjpeg(files, self.device)
        else:
            with torch.cuda.stream(self._decoding):
                decoded = _nvjpeg(files, self.device)
            there = self._decoding.record_event()
        return [self._checked(one, pixels, there) for one, pixels in zip(jpegs, decoded, strict=True)]

    def _checked(self, jpeg: Photograph, pixels: torch.Tensor, there: torch.cuda.Event | None) -> Photograph:
        if tuple(pixels.shape) != (3, jpeg.height, jpeg.width):
            return self._decode_on_cpu(
                jpeg, f"it returned shape {tuple(pixels.shape)} for {jpeg.width}x{jpeg.height} pixels"
            )
        self._refusals = 0
        return Photograph(width=jpeg.width, height=jpeg.height, pixels=pixels, there=there)


@cache
def decodes_quickly(device: torch.device, *, limit: float = SLOW_DECODING) -> bool:
    """Whether torchvision decodes a photograph on the device within `limit` seconds, at the best of some times.

    Not where it cannot at all. On a stream of its own: else it would wait for what others have the device do.
    """
    pixels = np.random.default_rng(0).integers(96, 160, (2160, 4096, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    taken = []
    try:
        with torch.cuda.stream(torch.cuda.Stream(device) if device.type == "cuda" else None):  # type: ignore[no-untyped-call]
            for _ in range(5):
                began = time.perf_counter()
                [decoded] = _nvjpeg([stream.getvalue()], device)
                # Waits for it.
                decoded[0, 0, 0].item()
                taken.append(time.perf_counter() - began)
    except RuntimeError as error:
        if device_errors.fault_of(error) is not Fault.PIPELINE:
            raise
        logger.info("nvJPEG does not work here, the CPU decodes: %s", error)
        return False
    if min(taken) > limit:
        logger.info("nvJPEG takes %.0f ms for a photograph here: the CPU decodes", 1000 * min(taken))
    return min(taken) <= limit


class _Lowered(nn.Module):
    """A part of a network whose weights and activations are in half precision, and which takes and gives float32.

    Only parts of a detector run in half precision: its three decimal digits are too few for box coordinates.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module.to(dtype)
        self._dtype = dtype

    def forward(self, *inputs: Any) -> Any:
        return _as(torch.float32, self.module(*(_as(self._dtype, one) for one in inputs)))


class _UnderAutocast(nn.Module):
    """The same for a network that is not known: its weights stay as they are."""

    def __init__(self, module: nn.Module, device_type: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self._device_type = device_type
        self._dtype = dtype

    def forward(self, *inputs: Any) -> Any:
        with torch.autocast(self._device_type, dtype=self._dtype):
            outputs = self.module(*inputs)
        return _as(torch.float32, outputs)


def _as(dtype: torch.dtype, value: Any) -> Any:
    """A tensor, or a structure of them, in another type."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype)
    if isinstance(value, dict):
        return type(value)((key, _as(dtype, item)) for key, item in value.items())
    return type(value)(_as(dtype, item) for item in value)


def _nvjpeg(files: Sequence[bytes], device: torch.device) -> list[torch.Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    with warnings.catch_warnings():
        # Since 0.29 torchvision warns at every call that this function will move to another package.
        warnings.simplefilter("ignore", DeprecationWarning)
        decoded: list[torch.Tensor] = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    return decoded
