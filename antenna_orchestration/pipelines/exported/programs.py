"""Opens programs of `torch.export`, and tells in the YAML's words what they take."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from antenna_orchestration import errors
from antenna_orchestration.pipelines.published import checkpoint_files

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True, slots=True)
class Takes:
    """What a program takes; None for what is free, or not known."""

    # Pictures at once, at least and at most.
    least: int = 1
    most: int | None = None
    height: int | None = None
    width: int | None = None
    # Whether the channels come last.
    channels_last: bool | None = None

    @classmethod
    def of(cls, sides: Sequence[int | None], least: int | None = None, most: int | None = None) -> Takes:
        """Of an input's four dimensions, the first of which is the number of pictures."""
        if len(sides) != 4:
            return cls()
        batch, *rest = sides
        is_last = rest[0] != 3 and rest[2] == 3
        down, across = (rest[0], rest[1]) if is_last else (rest[1], rest[2])
        return cls(
            least=batch or least or 1,
            most=batch or most,
            height=down,
            width=across,
            channels_last=is_last if 3 in (rest[0], rest[2]) else None,
        )

    def misfit(self, width: int | None, height: int | None) -> str | None:
        """Why pictures of this size cannot be given to it, in the words of the YAML; None if they can."""
        if width is None or height is None or (self.width in (None, width) and self.height in (None, height)):
            return None
        takes = f"[{self.width or 'any'}, {self.height or 'any'}]"
        swapped = self.width in (None, height) and self.height in (None, width)
        why = "; width comes first" if swapped else ""
        return f"it takes pictures of size {takes} (width, height), and the YAML says size: [{width}, {height}]{why}"


@dataclass(frozen=True, slots=True)
class Program:
    """An opened program."""

    module: nn.Module
    takes: Takes


def load(path: Path, device: torch.device) -> Program:
    """Load a program that `torch.export.save` wrote, onto the device. Raises `InternalError` if it cannot be read."""
    what = checkpoint_files.what_it_is(path)
    if what is None and not zipfile.is_zipfile(path):
        what = "it is damaged, or no program; write it with torch.export.save"
    if what is not None:
        raise errors.InternalError(f"{path} cannot be read as a program of torch.export: {what}")
    try:
        with warnings.catch_warnings(), _quiet("torch.export"):
            # Older versions of torch read constants from a read-only buffer and warn about it.
            warnings.filterwarnings("ignore", message="The given buffer is not writable")
            program = torch.export.load(str(path))
        if device.type != "cpu":
            # A program names the device of the tensors it creates; `Module.to` would not change that.
            program = move_to_device_pass(program, device)
        return Program(program.module(), _takes(program))
    except Exception as error:
        raise errors.InternalError(f"{path} cannot be read as a program of torch.export: {_line(error)}") from error


def _takes(program: Any) -> Takes:
    """What the program's only input may be; all free if it has several."""
    names = program.graph_signature.user_inputs
    nodes = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    value = nodes[0].meta.get("val") if len(nodes) == 1 else None
    if not isinstance(value, torch.Tensor):
        return Takes()
    fixed = [side if isinstance(side, int) else None for side in value.shape]
    least, most = None, None
    if value.ndim and not isinstance(value.shape[0], int):
        bounds = program.range_constraints.get(value.shape[0].node.expr)
        # Infinite bounds have a class of their own.
        least, most = (_whole(getattr(bounds, name, None)) for name in ("lower", "upper"))
    return Takes.of(fixed, least, most)


def _whole(bound: Any) -> int | None:
    try:
        value = int(bound)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    return value if value < 1 << 40 else None


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's logger from warning of what is reported in our own words, in this process, for a moment."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _line(error: Exception) -> str:
    """The first two lines of an exception as one line; torch's first line says only that something is wrong."""
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
