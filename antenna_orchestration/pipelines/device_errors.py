"""Whose fault an error of a pipeline is: the image's, the memory's, the device's, or the pipeline's own.

The one place that reads the texts of torch, torchvision, cuDNN and cuBLAS. It imports none of them: they may be
missing, and their classes moved between versions. `tests/pipelines/test_device_errors.py` has a table of the texts.
"""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from enum import Enum
from typing import Final

from antenna_orchestration import errors


class Fault(Enum):
    """What an error says about what to do next."""

    IMAGE = "image"
    """The image is unusable, on every machine."""
    MEMORY = "memory"
    """Memory of the device or of this machine was short: less at once, or another machine, may do."""
    LOST = "lost"
    """The process can use its device no longer, whatever it is given: only a fresh process can."""
    PIPELINE = "pipeline"
    """Anything else: the pipeline failed on what it was given."""


_MEMORY: Final = re.compile(
    r"out of memory|can(?:.t|not) allocate memory|insufficient memory"
    # Of C++, and so of onnxruntime; and of a thread whose stack finds no room.
    r"|\bbad[_ ]alloc(?:ation)?\b|can.t start new thread"
    r"|_STATUS_(?:INTERNAL_ERROR_\w*)?ALLOC\w*_FAILED"
    # As numbers: CUDA's error 2, and status 5 of nvJPEG. Both are failed allocations.
    r"|Failed to synchronize CUDA stream: 2\b"
    r"|^Failed to (?:decode batch|(?:create|initialize|retrieve|get)\b.*(?:nvjpeg|image info).*): 5$",
    re.IGNORECASE | re.MULTILINE,
)

_OURS: Final = re.compile(
    # The device refused one call, and goes on: what it was called with is the pipeline's doing.
    r"_STATUS_(?:NOT_SUPPORTED|BAD_PARAM|INVALID_VALUE)"
    r"|CUDA(?: driver)? error: (?:invalid (?:argument|configuration argument|device ordinal)|operation not supported)"
    # This torch has no code for the card: another process has none either.
    r"|no kernel image is available"
)

_LOST: Final = re.compile(
    r"CUDA error|CUDA driver error|CUDNN_STATUS_|CUBLAS_STATUS_|Failed to synchronize CUDA stream"
    r"|failed to synchronize: cuda"
)


def fault_of(error: BaseException) -> Fault:
    """Whose fault the error is; what it was raised from counts where it says nothing itself."""
    for one in _chain(error):
        if isinstance(one, errors.ImageUnusable):
            return Fault.IMAGE
        text, kind = str(one), type(one).__name__
        if isinstance(one, MemoryError) or kind == "OutOfMemoryError" or _MEMORY.search(text):
            return Fault.MEMORY
        if _OURS.search(text):
            return Fault.PIPELINE
        if kind == "AcceleratorError" or _LOST.search(text):
            return Fault.LOST
    return Fault.PIPELINE


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the host or the device ran out of memory."""
    return fault_of(error) is Fault.MEMORY


def free_after(error: BaseException) -> None:
    """Give back the memory that a call took which ran out of it."""
    # The tracebacks keep the tensors of the failed call alive.
    for one in _chain(error):
        traceback.clear_frames(one.__traceback__)
    free_cached_memory()


def free_cached_memory() -> None:
    """Return the memory that torch caches to the device."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or while handling."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ if one.__cause__ is not None or one.__suppress_context__ else one.__context__
