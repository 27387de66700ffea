"""Whether PyTorch, which only workers need, is installed, and who wants it. It is never imported here."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines.interface import PipelineSpec

_NAMED: Final = re.compile(rb"\b(torch|torchvision|ultralytics|transformers|timm)\b")
"""PyTorch, and libraries that import it."""


def without() -> str | None:
    """What to do where PyTorch is not installed, in a line; None where it is."""
    if importlib.util.find_spec("torch") is not None:
        return None
    return (
        "PyTorch is not installed here, and the built-in pipelines need it: pip install '.[worker]' in the checkout, "
        "or run workers on another machine"
    )


def check() -> None:
    """Raises `InternalError` where PyTorch is not installed."""
    if reason := without():
        raise errors.InternalError(f"{reason} (pipelines that do without it can be served by name)")


def is_wanted(spec: PipelineSpec) -> bool:
    """Whether a pipeline runs in our classes for models, or its code names PyTorch or a library that imports it."""
    return spec.recipe is not None or any(_names_it(Path(file)) for file in spec.origin.files)


def _names_it(file: Path) -> bool:
    with contextlib.suppress(OSError):
        return _NAMED.search(file.read_bytes()) is not None
    return False
