"""Whether a library that runs models is being imported just now. None is imported here."""

from __future__ import annotations

import sys
from typing import Final

LIBRARIES: Final = ("torch", "torchvision", "ultralytics", "transformers", "timm", "onnxruntime", "tensorflow")
"""Their import takes seconds, and minutes from a slow disk, whatever the pipeline is."""

IMPORT_LIMIT: Final = 900.0
"""Seconds for which such an import counts as work in progress; one that takes longer hangs."""


def is_importing() -> bool:
    """Whether one of them is being imported, by any thread."""
    return any(_is_initializing(name) for name in LIBRARIES)


def _is_initializing(name: str) -> bool:
    # The flag by which Python itself tells a module that is half-way imported.
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))
