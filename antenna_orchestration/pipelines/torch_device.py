"""Where torch computes: all that a GPU needs otherwise than a CPU, in one place.

On CUDA JPEGs are decoded in batches by nvJPEG; what it cannot read is decoded on CPU and copied from pinned memory on
a stream of its own, while the batch before is inferred. Models lie in memory channels last, and their convolutions run
in the precision of the setting. On CPU everything is plain float32.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from antenna_orchestration import settings
from antenna_orchestration.pipelines import images

logger = logging.getLogger(__name__)

MOST_REFUSALS: Final = 20
"""When nvJPEG has taken none of so many, it does not work here at all."""

_DTYPES: Final = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Photograph:
    """One photograph on its way to the device: either still a JPEG for nvJPEG, or pixels that are being copied."""

    width: int
    height: int
    jpeg: bytes | None = None
    # RGB, uint8, 3 x height x width, on the device.
    pixels: torch.Tensor | None = None
    # Set when the copy is over.
    copied: torch.cuda.Event | None = None


class TorchDevice:
    """`cpu`, `cuda` or `cuda:N`. On CUDA precision and decoding are those of the settings, on CPU float32 and Pillow's.

    A caller may ask for others on either.
    """

    def __init__(self, name: str, *, precision: str | None = None, gpu_decode: bool | None = None) -> None:
        config = settings.get()
        self.device = torch.device(name)
        self.is_cuda = self.device.type == "cuda"
        wanted = precision or config.precision
        # `None` for float32.
        self._dtype = _DTYPES.get(wanted) if self.is_cuda or precision else None
        self._decodes = self.is_cuda and config.gpu_decode if gpu_decode is None else gpu_decode
        # Photographs that nvJPEG refused before it took one; None once it did.
        self._refusals: int | None = 0
        self._copies = torch.cuda.Stream(self.device) if self.is_cuda else None  # type: ignore[no-untyped-call]

    # Models.

    def place(self, model: nn.Module) -> nn.Module:
        """The model on this device."""
        model = model.to(self.device)
        return model.to(memory_format=torch.channels_last) if self.is_cuda else model

    def lowered(self, module: nn.Module) -> nn.Module:
        """The module in the setting's precision, giving float32; itself when that is float32."""
        return module if self._dtype is None else _Lowered(module, self.device.type, self._dtype)

    # Photographs.

    def begin(self, data: bytes) -> Photograph:
        """Check a photograph, and decode it unless nvJPEG will; called on CPU threads. Raises `ImageUnusable`."""
        if self._decodes and (size := images.size_of_plain_jpeg(data)) is not None:
            return Photograph(width=size[0], height=size[1], jpeg=data)
        return self._copy(images.decode(data).pixels)

    def pixels(self, photographs: Sequence[Photograph]) -> list[torch.Tensor]:
        """RGB, uint8, 3 x height x width, on the device; called by the thread that infers. Raises `ImageUnusable`."""
        decoded = iter(self._decode([one for one in photographs if one.jpeg is not None]))
        return [self._arrived(one if one.jpeg is None else next(decoded)) for one in photographs]

    def _copy(self, pixels: NDArray[np.uint8]) -> Photograph:
        """Begin to copy height x width x 3 to the device."""
        height, width = pixels.shape[:2]
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if self._copies is None:
            return Photograph(width=width, height=height, pixels=planes)
        with torch.cuda.stream(self._copies):
            # The allocator keeps pinned memory from reuse until copies out of it are over.
            there = planes.pin_memory().to(self.device, non_blocking=True)
            return Photograph(width=width, height=height, pixels=there, copied=self._copies.record_event())

    def _arrived(self, photograph: Photograph) -> torch.Tensor:
        assert photograph.pixels is not None
        if photograph.copied is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(photograph.copied)
            photograph.pixels.record_stream(stream)
        return photograph.pixels

    def _decode(self, jpegs: Sequence[Photograph]) -> list[Photograph]:
        """All of them at once by nvJPEG; when it refuses, one by one, and those that it cannot read on CPU."""
        if not jpegs:
            return []
        try:
            decoded = _nvjpeg([one.jpeg or b"" for one in jpegs], self.device)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "CUDA error" in str(error):
                raise
            if len(jpegs) > 1:
                return [one for jpeg in jpegs for one in self._decode([jpeg])]
            return [self._decode_on_cpu(jpegs[0], str(error))]
        return [self._checked(one, pixels) for one, pixels in zip(jpegs, decoded, strict=True)]

    def _checked(self, jpeg: Photograph, pixels: torch.Tensor) -> Photograph:
        """What nvJPEG made of a photograph, if it is of the size that its header says."""
        if tuple(pixels.shape) != (3, jpeg.height, jpeg.width):
            return self._decode_on_cpu(jpeg, f"it made {tuple(pixels.shape)} of {jpeg.width}x{jpeg.height} pixels")
        self._refusals = None
        return Photograph(width=jpeg.width, height=jpeg.height, pixels=pixels)

    def _decode_on_cpu(self, jpeg: Photograph, reason: str) -> Photograph:
        logger.debug("nvJPEG refused a photograph: %s", reason)
        if self._refusals is not None:
            self._refusals += 1
            if self._refusals == MOST_REFUSALS:
                logger.warning("nvJPEG refuses every photograph (%s): they are decoded on CPU", reason)
                self._decodes = False
        return self._copy(images.decode(jpeg.jpeg or b"").pixels)


class _Lowered(nn.Module):
    """A part of a network under autocast, with float32 around it: boxes need more than the three digits of a half."""

    def __init__(self, module: nn.Module, device_type: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self._device_type = device_type
        self._dtype = dtype

    def forward(self, *inputs: Any) -> Any:
        with torch.autocast(self._device_type, dtype=self._dtype):
            outputs = self.module(*inputs)
        return _as_float32(outputs)


def _as_float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return type(value)((key, _as_float32(item)) for key, item in value.items())
    return type(value)(_as_float32(item) for item in value)


def _nvjpeg(files: Sequence[bytes], device: torch.device) -> list[torch.Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = [torch.frombuffer(bytearray(data), dtype=torch.uint8) for data in files]
    with warnings.catch_warnings():
        # Since 0.29 torchvision says at each call that this will leave for another package one day.
        warnings.simplefilter("ignore", DeprecationWarning)
        decoded: list[torch.Tensor] = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    return decoded
