"""What runs the insect network: torch, or onnxruntime where it is installed and finds what torch finds.

On a CPU onnxruntime needs about 0.65 of torch's time in float32, and 0.37 in int8. Each is taken only if it finds, in a
drawn scene, the insects that torch finds, and is not slower there. Each engine works on the thread that calls it, so
that whole photographs are processed side by side. `training/export_network.py` writes the files that onnxruntime reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final, Protocol

import torch
from torch import Tensor

from antenna_orchestration.pipelines import batch_norms, images
from antenna_orchestration.pipelines.light_trap import insect_network
from antenna_orchestration.synthetic import captures

logger = logging.getLogger(__name__)

PROGRAM: Final = "insect_network.onnx"
INT8_PROGRAM: Final = "insect_network_int8.onnx"

SCENE: Final = (7, 640, 352, 12)
"""The drawn scene on which engines are compared: seed, width, height, insects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Likeness:
    """How like torch's an engine's insects must be."""

    # Peaks from this probability on are compared.
    least: float
    # How far apart their scores, and boxes in pixels of the input, may be.
    scores: float
    boxes: float


FLOAT32: Final = Likeness(least=0.05, scores=1e-3, boxes=0.05)
"""Different machines are apart by less."""

INT8: Final = Likeness(least=0.15, scores=0.03, boxes=1.0)
"""In the drawn scene, scores are apart by 0.017 at most, and boxes by 0.3 pixels."""

WEIGHTS: Final = "weights"
"""Under which a program notes the digest of the weights that it was made from."""

CLOSE: Final = 1.1
"""An engine is not passed over for one that is faster by less: a race that is close must not decide what is found."""

ROUNDS: Final = 3
"""Runs of each engine that are timed; the fastest counts, and one more before them does not."""


class Engine(Protocol):
    """Runs the network on batch x 3 x height x width uint8 pixels. Any thread may call it, several at once."""

    # For people, such as `onnxruntime 1.32.0`.
    name: str
    likeness: Likeness

    def __call__(self, pictures: Tensor) -> insect_network.Maps:
        """The maps of a batch."""
        ...


class Torch:
    """The network itself, with its batch normalizations folded into its convolutions. Changes `network`."""

    likeness = FLOAT32

    def __init__(self, network: insect_network.InsectNetwork, device: torch.device) -> None:
        self.name = f"torch {torch.__version__}"
        self._device = device
        self._network = batch_norms.folded(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, pictures: Tensor) -> insect_network.Maps:
        """The maps, on the device."""
        inputs = (pictures.to(self._device).float() / 255).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            maps: insect_network.Maps = self._network(inputs)
        return maps


class OnnxRuntime:
    """The exported network, with or without int8.

    Raises `ModuleNotFoundError` where onnxruntime is not installed, and `ValueError` if the program was made from other
    weights than those with this digest: from weights that are nearly the same, int8 could not be told by what it finds.
    """

    def __init__(self, program: bytes, weights: str, *, int8: bool) -> None:
        import onnxruntime

        self.name = f"onnxruntime {onnxruntime.__version__}{' int8' if int8 else ''}"
        self.likeness = INT8 if int8 else FLOAT32
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # It would keep the memory of the largest photograph for each thread.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
        if self._session.get_modelmeta().custom_metadata_map.get(WEIGHTS) != weights:
            raise ValueError(f"the program for {self.name} was made from other weights: see training/README.md")

    def __call__(self, pictures: Tensor) -> insect_network.Maps:
        """The maps, on the CPU."""
        outputs = self._session.run(["middle", "reach", "moth"], {"pictures": centred(pictures).numpy()})
        middle, reach, moth = (torch.from_numpy(output) for output in outputs)
        return insect_network.Maps(middle=middle, reach=reach, moth=moth)


def centred(pictures: Tensor) -> Tensor:
    """What the exported network takes: the pixels, less their mean, as float32."""
    # In place, in a copy: another 10 MB for each photograph would only be passed through.
    return pictures.to(torch.float32, copy=True).sub_(255 * insect_network.MEAN)


def in_float32(weights: str) -> Engine:
    """The network with onnxruntime, if its program is of the weights with this digest. Raises as `OnnxRuntime` does."""
    return OnnxRuntime(_program(PROGRAM), weights, int8=False)


def in_int8(weights: str) -> Engine:
    """The same, in int8."""
    return OnnxRuntime(_program(INT8_PROGRAM), weights, int8=True)


def _program(name: str) -> bytes:
    return resources.files(__package__).joinpath(name).read_bytes()


def chosen(network: insect_network.InsectNetwork, others: Sequence[Callable[[], Engine]]) -> Engine:
    """The engine for the CPU: the first of `others` that finds in a drawn scene what torch finds, and is not slow.

    Without one it is torch. An engine that is not installed is passed over; one that fails or finds something else is
    refused with a warning. Logs which is taken. Changes `network`.
    """
    threads = torch.get_num_threads()
    # What one thread takes is compared, and the other threads of this process have work of their own.
    torch.set_num_threads(1)
    try:
        return _chosen(Torch(network, torch.device("cpu")), others)
    finally:
        torch.set_num_threads(threads)


def _chosen(torch_engine: Engine, others: Sequence[Callable[[], Engine]]) -> Engine:
    seed, width, height, count = SCENE
    pixels = images.decode(captures.draw_capture(seed, width, height, insects=count)[0]).pixels
    scene = insect_network.as_input(pixels)[None]
    expected = torch_engine(scene)
    took: list[tuple[Engine, float]] = []
    for make in others:
        try:
            engine = make()
            why = differs(expected, engine(scene), engine.likeness)
        except ModuleNotFoundError:
            continue
        except Exception as error:
            # Its own exceptions are of many types, and torch does as well.
            logger.warning("an engine for the insect network cannot be used, and is left out: %s", error)
            continue
        if why:
            logger.warning("%s is not used for the insect network, it differs from torch: %s", engine.name, why)
            continue
        took.append((engine, _seconds(engine, scene)))
    took.append((torch_engine, _seconds(torch_engine, scene)))
    best = preferred(took)
    told = ", ".join(f"{engine.name} {seconds * 1000:.0f} ms" for engine, seconds in took)
    logger.info("the insect network runs with %s (a drawn scene: %s)", best.name, told)
    return best


def preferred(took: Sequence[tuple[Engine, float]]) -> Engine:
    """The first of these engines, each with its seconds, that is about as fast as the fastest."""
    enough = CLOSE * min(seconds for _, seconds in took)
    return next(engine for engine, seconds in took if seconds <= enough)


def differs(expected: insect_network.Maps, found: insect_network.Maps, likeness: Likeness) -> str:
    """In what the insects in the first image of two batches differ, for people; empty if they are alike enough."""
    return _missing(expected, found, likeness) or _missing(found, expected, likeness)


def _missing(one: insect_network.Maps, other: insect_network.Maps, likeness: Likeness) -> str:
    """What insects of `one` are not like the nearest of `other`."""
    insects = insect_network.peaks(one, 0, likeness.least)
    # One that is at the limit may be on either side of it.
    there = insect_network.peaks(other, 0, likeness.least - likeness.scores)
    if not len(there.scores):
        return f"one finds {len(insects.scores)} insects, the other none" if len(insects.scores) else ""
    nearest = (insects.boxes[:, None] - there.boxes).abs().amax(2).argmin(1)
    for what, mine, others, most in (
        ("boxes", insects.boxes, there.boxes, likeness.boxes),
        ("scores", insects.scores, there.scores, likeness.scores),
        ("probabilities of a moth", insects.moths, there.moths, likeness.scores),
    ):
        apart = float((mine - others[nearest]).abs().max()) if len(mine) else 0.0
        # Not `apart > most`, which lets NaN pass.
        if not apart <= most:
            return f"{what} by {apart:.3g}, and {most:g} is allowed"
    return ""


def _seconds(engine: Engine, scene: Tensor) -> float:
    """CPU seconds of this thread, so that neighbours do not matter."""
    engine(scene)
    took = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        engine(scene)
        took.append(time.thread_time() - began)
    return min(took)
