"""Opens files that hold a whole program: ONNX, TorchScript, and those of `torch.export`.

All take float32 pictures and return tensors. What the file says of its input is compared with the YAML, so that a size
that does not fit is told in the YAML's words, not in those of the library below.
"""

from __future__ import annotations

import ast
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from antenna_orchestration import errors
from antenna_orchestration.pipelines.declared import inputs, recipe
from antenna_orchestration.pipelines.exported import programs as exported
from antenna_orchestration.pipelines.exported.programs import Takes
from antenna_orchestration.pipelines.published import checkpoint_files

logger = logging.getLogger(__name__)

_ONNX_TYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


class Program(ABC):
    """An opened file."""

    # What it takes; all unknown for TorchScript, which does not tell.
    takes: Takes
    # Names of its outputs, where it has any.
    outputs: Sequence[str] = ()

    @abstractmethod
    def run(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """The outputs for n pictures, in the file's order."""


def opened(model: recipe.Model, path: Path, device: torch.device) -> Program:
    """Open a model's file on a device.

    Raises `InternalError` if the runtime is not installed, the file is none, or its input is not what the YAML says.
    """
    if model.runtime == "onnx":
        return OnnxProgram(path, device)
    return TorchScriptProgram(path, device) if model.runtime == "torchscript" else ExportedProgram(path, device)


class Runner:
    """A program with what shapes its pictures, for as many of them at once as it takes."""

    def __init__(self, model: recipe.Model, path: Path, device: torch.device, *, usual: int) -> None:
        """`usual` is how many pictures a program gets that takes any number.

        Raises `InternalError` as `opened`, and if the YAML's size, layout or number is not the program's.
        """
        self.program = opened(model, path, device)
        self._device = device
        self._file = path.name
        takes, given = self.program.takes, model.input
        misfit = f"{model.place}.input: {path.name} does not fit: "
        if (why := takes.misfit(given.width, given.height)) is not None:
            raise errors.InternalError(misfit + why)
        if takes.channels_last is not None and takes.channels_last != given.channels_last:
            layout = "nhwc" if takes.channels_last else "nchw"
            raise errors.InternalError(f"{misfit}its input is layout: {layout}")
        width, height = given.width or takes.width, given.height or takes.height
        if given.fit != "none" and (width is None or height is None):
            raise errors.InternalError(f"{model.place}.input.size is missing: {path.name} takes pictures of any size")
        size = None if given.fit == "none" or width is None or height is None else (width, height)
        self.shaper = inputs.Shaper(given, size=size)
        self._least = takes.least
        most = takes.most or given.at_once or usual
        if given.at_once and not takes.least <= given.at_once <= most:
            span = f"exactly {takes.least}" if takes.least == takes.most else f"{takes.least} to {most}"
            raise errors.InternalError(f"{misfit}it takes {span} at once, and the YAML says at_once: {given.at_once}")
        is_fixed = takes.most == takes.least
        # Pictures in one call.
        self.at_once = given.at_once or max(takes.least, most if is_fixed else min(most, usual))

    def run(self, some: Sequence[inputs.Shaped]) -> list[torch.Tensor]:
        """The program's outputs for at most `at_once` pictures.

        A program that takes more gets the last one several times. Raises `InternalError` with the program's own words
        if it fails; an error of memory passes as it is.
        """
        values = self.shaper.tensor(some, self._device)
        missing = self._least - len(some)
        if missing > 0:
            values = torch.cat([values, values[-1:].expand(missing, *values.shape[1:])])
        try:
            given = self.program.run(values)
        except Exception as error:
            if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "out of memory" in str(error).lower():
                raise
            shape = " x ".join(map(str, values.shape))
            reason = " ".join(str(error).split())[:400]
            raise errors.InternalError(f"{self._file} does not take an input of {shape}: {reason}") from error
        return [one[: len(some)] if missing > 0 and one.ndim and len(one) == len(values) else one for one in given]


class OnnxProgram(Program):
    """Run by onnxruntime, on the GPU if that build of it can."""

    def __init__(self, path: Path, device: torch.device) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise missing("onnx") from None
        kind = checkpoint_files.what_it_is(path)
        if kind is not None:
            raise errors.InternalError(f"{path} cannot be read as ONNX: {kind}")
        wanted = ["CPUExecutionProvider"]
        options: list[dict[str, Any]] = [{}]
        if device.type == "cuda":
            if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
                wanted.insert(0, "CUDAExecutionProvider")
                options.insert(0, {"device_id": device.index or 0})
            else:
                logger.warning("this onnxruntime has no CUDA: %s runs on the CPU; install onnxruntime-gpu", path.name)
        session = onnxruntime.SessionOptions()
        # Errors only: what it warns of while it optimises is nothing that a person can change.
        session.log_severity_level = 3
        session.intra_op_num_threads = torch.get_num_threads()
        try:
            self._session = onnxruntime.InferenceSession(str(path), session, wanted, options)
        except Exception as error:
            # Its errors have classes of their own, without a common one.
            raise errors.InternalError(
                f"{path} cannot be read as ONNX: {' '.join(str(error).split())[:300]}"
            ) from error
        first, *more = self._session.get_inputs()
        if more:
            names = ", ".join(one.name for one in (first, *more))
            raise errors.InternalError(f"{path.name} takes {len(more) + 1} inputs ({names}), and a picture is one")
        if first.type not in _ONNX_TYPES:
            raise errors.InternalError(f"{path.name} takes {first.type}, which no picture is")
        self._name = first.name
        self._dtype = _ONNX_TYPES[first.type]
        self.outputs = [one.name for one in self._session.get_outputs()]
        sides = [side if isinstance(side, int) and side > 0 else None for side in first.shape]
        # A program of one picture may have no dimension for the batch.
        self._is_single = len(sides) == 3
        self.takes = Takes.of([1, *sides] if self._is_single else sides)

    @property
    def names(self) -> tuple[str, ...]:
        """Labels that YOLO wrote into the file; empty if it did not."""
        told = self._session.get_modelmeta().custom_metadata_map.get("names", "")
        try:
            named = ast.literal_eval(told)
        except (ValueError, SyntaxError):
            return ()
        return tuple(str(one) for one in named.values()) if isinstance(named, dict) else ()

    def run(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """As `Program.run`."""
        values = inputs.cpu().numpy().astype(self._dtype, copy=False)
        outputs = self._session.run(None, {self._name: values[0] if self._is_single else values})
        return [torch.from_numpy(np.array(one)) for one in outputs if isinstance(one, np.ndarray)]


class TorchScriptProgram(Program):
    """A program that `torch.jit.save` wrote."""

    takes = Takes()

    def __init__(self, path: Path, device: torch.device) -> None:
        kind = checkpoint_files.what_it_is(path)
        if kind is not None and "TorchScript" not in kind:
            raise errors.InternalError(f"{path} cannot be read as TorchScript: {kind}")
        if kind is None:
            raise errors.InternalError(
                f"{path} cannot be read as TorchScript: it is no such program; write it with torch.jit.save, or is its "
                "runtime pt2, yolo or timm?"
            )
        try:
            with warnings.catch_warnings():
                # Newer versions of torch advise torch.export at every call.
                warnings.simplefilter("ignore")
                self._module = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
        except Exception as error:
            raise errors.InternalError(
                f"{path} cannot be read as TorchScript: {' '.join(str(error).split())[:300]}"
            ) from error

    def run(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """As `Program.run`."""
        return flat(self._module(inputs))


class ExportedProgram(Program):
    """A program that `torch.export.save` wrote."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._program = exported.load(path, device)
        self.takes = self._program.takes

    def run(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """As `Program.run`."""
        return flat(self._program.module(inputs))


def flat(outputs: Any) -> list[torch.Tensor]:
    """The tensors among outputs, in order; those of a dict or a list in its order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    return [tensor for one in outputs for tensor in flat(one)] if isinstance(outputs, (list, tuple)) else []


def missing(runtime: recipe.Runtime, library: str = "") -> errors.InternalError:
    """The error for a runtime that is not installed."""
    name = library or {"onnx": "onnxruntime", "yolo": "ultralytics"}.get(runtime, runtime)
    return errors.InternalError(
        f"runtime {runtime} needs {name}, which is not installed: "
        f"pip install 'antenna-orchestration[{recipe.EXTRAS[runtime]}]'"
    )
