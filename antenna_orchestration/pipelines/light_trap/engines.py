"""What runs the insect network: torch, or onnxruntime where it is installed and its results are torch's.

On the CPU onnxruntime needs about two thirds of torch's time. It is taken only if, on a drawn scene, it finds the very
insects that torch finds, and is faster there. Each engine works on the thread that calls it, so that whole photographs
are processed side by side. `training/export_network.py` writes the file that onnxruntime reads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Final, Protocol

import torch
from torch import Tensor

from antenna_orchestration.pipelines import batch_norms, images
from antenna_orchestration.pipelines.light_trap import insect_network
from antenna_orchestration.synthetic import captures

logger = logging.getLogger(__name__)

PROGRAM: Final = "insect_network.onnx"

SCENE: Final = (7, 640, 352, 12)
"""The drawn scene on which engines are compared: seed, width, height, insects."""

LEAST: Final = 0.05
"""Peaks from this probability on must be the same."""

SCORES_APART: Final = 1e-3
BOXES_APART: Final = 0.05
"""How far apart scores, and boxes in pixels of the input, may be; those of different machines are by less."""

ROUNDS: Final = 3
"""Runs of each engine that are timed; the fastest counts, and one more before them does not."""


class Engine(Protocol):
    """Runs the network on batch x 3 x height x width uint8 pixels. Any thread may call it, several at once."""

    # For people, such as `onnxruntime 1.32.0`.
    name: str

    def __call__(self, pictures: Tensor) -> insect_network.Maps:
        """The maps of a batch."""
        ...


class Torch:
    """The network itself, with its batch normalizations folded into its convolutions. Changes `network`."""

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
    """The exported network. Raises `ModuleNotFoundError` where onnxruntime is not installed."""

    def __init__(self, program: bytes) -> None:
        import onnxruntime

        self.name = f"onnxruntime {onnxruntime.__version__}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # It would keep the memory of the largest photograph for each thread.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Tensor) -> insect_network.Maps:
        """The maps, on the CPU."""
        centred = pictures.float().sub_(255 * insect_network.MEAN)
        outputs = self._session.run(["middle", "reach", "moth"], {"pictures": centred.numpy()})
        middle, reach, moth = (torch.from_numpy(output) for output in outputs)
        return insect_network.Maps(middle=middle, reach=reach, moth=moth)


def shipped() -> Engine:
    """The released network with onnxruntime. Raises `ModuleNotFoundError` where that is not installed."""
    return OnnxRuntime(resources.files(__package__).joinpath(PROGRAM).read_bytes())


def chosen(network: insect_network.InsectNetwork, others: Sequence[Callable[[], Engine]] = (shipped,)) -> Engine:
    """The engine for the CPU: the fastest of those that find in a drawn scene what torch finds. Logs which it is.

    An engine that is not installed is passed over; one that fails or finds something else is refused with a warning.
    Changes `network`.
    """
    threads = torch.get_num_threads()
    # What one thread takes is compared, and the other threads of this process have work of their own.
    torch.set_num_threads(1)
    try:
        return _chosen(Torch(network, torch.device("cpu")), others)
    finally:
        torch.set_num_threads(threads)


def _chosen(best: Engine, others: Sequence[Callable[[], Engine]]) -> Engine:
    seed, width, height, count = SCENE
    pixels = images.decode(captures.draw_capture(seed, width, height, insects=count)[0]).pixels
    scene = insect_network.as_input(pixels)[None]
    expected = insect_network.peaks(best(scene), 0, LEAST)
    fastest, told = _seconds(best, scene), []
    told.append(f"{best.name} {fastest * 1000:.0f} ms")
    for make in others:
        try:
            engine = make()
            why = differs(expected, insect_network.peaks(engine(scene), 0, LEAST))
        except ModuleNotFoundError:
            continue
        except Exception as error:
            # Its own exceptions are of many types, and torch does as well.
            logger.warning("an engine for the insect network cannot be used, torch is: %s", error)
            continue
        if why:
            logger.warning("%s is not used for the insect network, it differs from torch: %s", engine.name, why)
            continue
        seconds = _seconds(engine, scene)
        told.append(f"{engine.name} {seconds * 1000:.0f} ms")
        if seconds < fastest:
            best, fastest = engine, seconds
    logger.info("the insect network runs with %s (a drawn scene: %s)", best.name, ", ".join(told))
    return best


def differs(expected: insect_network.Peaks, found: insect_network.Peaks) -> str:
    """In what the insects differ, for people; empty if they do not."""
    if len(found.scores) != len(expected.scores):
        return f"it finds {len(found.scores)} insects instead of {len(expected.scores)}"
    # In the order of their places: scores that are nearly equal may come in another order.
    expected, found = _by_place(expected), _by_place(found)
    for what, one, other, most in (
        ("boxes", expected.boxes, found.boxes, BOXES_APART),
        ("scores", expected.scores, found.scores, SCORES_APART),
        ("probabilities of a moth", expected.moths, found.moths, SCORES_APART),
    ):
        apart = float((one - other).abs().max()) if len(one) else 0.0
        # Not `apart > most`, which lets NaN pass.
        if not apart <= most:
            return f"{what} by {apart:.3g}, and {most:g} is allowed"
    return ""


def _by_place(found: insect_network.Peaks) -> insect_network.Peaks:
    # Centres of boxes; cells are 4 pixels wide, and the same insect's boxes are apart by far less.
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]).round()
    order = (middles[:, 1] * 1e5 + middles[:, 0]).argsort(stable=True)
    return insect_network.Peaks(boxes=found.boxes[order], scores=found.scores[order], moths=found.moths[order])


def _seconds(engine: Engine, scene: Tensor) -> float:
    """CPU seconds of this thread, so that neighbours do not matter."""
    engine(scene)
    took = []
    for _ in range(ROUNDS):
        began = time.thread_time()
        engine(scene)
        took.append(time.thread_time() - began)
    return min(took)
