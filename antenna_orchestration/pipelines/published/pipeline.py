"""Runs a recipe of a published pipeline: detect insects, keep the moths, classify them.

Only device processes import this module. It computes what the published definition says, in this order: the photograph
as floats in [0, 1]; boxes above `min_score`, truncated to whole pixels; crops cut out at full resolution, and only then
resized to the classifier's square.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import batch_norms, device_errors, images, labels, scoring, weights
from antenna_orchestration.pipelines.at_once import AtOnce
from antenna_orchestration.pipelines.device_errors import Fault
from antenna_orchestration.pipelines.exported import programs
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.published import architectures, specs
from antenna_orchestration.pipelines.torch_device import Photograph, TorchDevice

CROPS_ON_CPU: Final = 64
CROPS_ON_CUDA: Final = 256
"""Crops that a classifier gets per call. More would take more memory and not be faster."""


@dataclass(slots=True)
class Found:
    """The n detections of one photograph and the outputs of the classifiers, on the CPU."""

    # n x 4: x1, y1, x2, y2 in pixels of the photograph, best score first.
    boxes: NDArray[np.float32]
    # n, in [0, 1].
    scores: NDArray[np.float32]
    # Per detection the logits of each classifier that saw it, in the order in which they run.
    logits: list[list[torch.Tensor]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Crop:
    # Index of the photograph in the batch, and of the detection in the photograph.
    photograph: int
    detection: int
    # RGB, float32 in [0, 1], 3 x height x width.
    pixels: torch.Tensor


class PublishedPipeline(Pipeline[Photograph, Found]):
    """Runs the `Recipe` that is the spec's recipe."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        if not isinstance(spec.recipe, specs.Recipe):
            raise errors.InternalError(f"pipeline {spec.slug} has no recipe")
        self._recipe = spec.recipe

    def load(self, device: str) -> None:
        """Fetch and load all weights.

        Raises `Unavailable` if a file cannot be fetched, and `InternalError` if it is broken or does not fit.
        """
        self._device = TorchDevice(device)
        recipe = self._recipe
        checkpoint = weights.fetch_named(recipe.detector.uri, recipe.detector.key)
        self._detector = placed_detector(architectures.detector(checkpoint), self._device)
        steps = (recipe.moth_filter, recipe.classifier) if recipe.moth_filter else (recipe.classifier,)
        self._judges = [_Judge(step, self._device) for step in steps]
        if recipe.moth_filter and specs.MOTH not in self._judges[0].labels:
            raise errors.InternalError(f"{recipe.moth_filter.algorithm.key} has no label {specs.MOTH!r}")

    def prepare(self, image: RawImage) -> Photograph:
        """Decode, or leave that to nvJPEG. Raises `ImageUnusable` as `images.decode` does."""
        return replace(self._device.begin(image.data), given=image.detections)

    def infer(self, batch: Sequence[Photograph]) -> Sequence[Found]:
        """Detect insects in each photograph, then classify the crops of all photographs together."""
        with torch.inference_mode():
            photographs = [pixels.float().div_(255) for pixels in self._device.pixels(batch)]
            found = [_given(one) for one in batch]
            wanted = [index for index, one in enumerate(batch) if one.given is None]
            for index, one in zip(wanted, self._detect([photographs[index] for index in wanted]), strict=True):
                found[index] = one
            crops = _crops(photographs, found)
            for judge in self._judges:
                logits = judge.logits([crop.pixels for crop in crops])
                for crop, row in zip(crops, logits, strict=True):
                    found[crop.photograph].logits[crop.detection].append(row)
                if judge is not self._judges[-1]:
                    # The moth filter: only moths go on to the next classifier.
                    moth = judge.labels.index(specs.MOTH)
                    best = logits.argmax(dim=1).tolist()
                    crops = [crop for crop, label in zip(crops, best, strict=True) if label == moth]
        return found

    def finish(self, prepared: Photograph, raw: Found) -> ImageResult:
        """Detections, best score first, each with the classifications of the classifiers that saw it."""
        detections = [
            Detection(
                box=(float(x1), float(y1), float(x2), float(y2)),
                score=float(score),
                algorithm=self._recipe.detector.ref,
                classifications=[
                    scoring.classification(
                        judge.algorithm,
                        row.softmax(dim=0),
                        judge.labels,
                        top_k=self.top_k,
                        whole=score_vectors.is_kept(self.config[score_vectors.SETTING], len(judge.labels)),
                        terminal=judge is self._judges[-1],
                    )
                    for judge, row in zip(self._judges, rows, strict=False)
                ],
            )
            for (x1, y1, x2, y2), score, rows in zip(raw.boxes, raw.scores, raw.logits, strict=True)
        ]
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)

    def example(self) -> RawImage:
        """A grey photograph for the detector; `load` has already run the classifiers once."""
        return images.grey_photograph(height=160)

    def _detect(self, photographs: Sequence[torch.Tensor]) -> list[Found]:
        # One image size at a time: torchvision pads a batch to its largest image, which would change the results.
        by_size: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, photograph in enumerate(photographs):
            by_size[tuple(photograph.shape)].append(index)
        found: dict[int, Found] = {}
        for indices in by_size.values():
            outputs = self._detector([photographs[index] for index in indices])
            for index, output in zip(indices, outputs, strict=True):
                keep = output["scores"] > self.config["min_score"]
                boxes, scores = output["boxes"][keep].cpu().numpy(), output["scores"][keep].cpu().numpy()
                found[index] = Found(boxes, scores, [[] for _ in scores])
        return [found[index] for index in range(len(photographs))]


def _given(photograph: Photograph) -> Found:
    """The boxes that came with a photograph. Scores and detector are those of the job that found them."""
    boxes = [one.box for one in photograph.given or ()]
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.zeros(len(boxes), np.float32), [[] for _ in boxes])


def placed_detector(network: nn.Module, device: TorchDevice) -> nn.Module:
    """Move the detector to the device. Its expensive parts run in the device's precision, boxes stay float32."""
    # On the CPU it stays as it was published, bit by bit.
    placed: Any = device.place(batch_norms.folded(network) if device.is_cuda else network)
    for part, name in (
        (placed, "backbone"),
        (placed.rpn, "head"),
        (placed.roi_heads, "box_head"),
        (placed.roi_heads, "box_predictor"),
    ):
        setattr(part, name, device.lowered(getattr(part, name)))
    model: nn.Module = placed
    return model


class _Judge:
    """A loaded classifier with its labels and its input transform."""

    def __init__(self, step: specs.Classifier, device: TorchDevice) -> None:
        self.algorithm = step.algorithm.ref
        self.labels = labels.fetch_labels(step.algorithm)
        path = weights.fetch_named(step.algorithm.uri, step.algorithm.key)
        self._side = step.transform.side
        self._mean = torch.tensor(step.transform.mean, device=device.device)[:, None, None]
        self._std = torch.tensor(step.transform.std, device=device.device)[:, None, None]
        self._most = CROPS_ON_CUDA if device.is_cuda else CROPS_ON_CPU
        self._at_once = AtOnce()
        self._least = 1
        # A user's exported program may rely on contiguous inputs, as it had when it was exported.
        self._is_channels_last = device.is_cuda and step.architecture != "exported"
        if step.architecture == "exported":
            # It runs in the precision with which its author exported it.
            program = programs.load(path, device.device)
            if (why := program.takes.misfit(self._side, self._side)) is not None:
                raise errors.InternalError(f"{self.algorithm.key}: {path.name} does not fit: {why}")
            self._model: nn.Module = program.module
            # A program of a fixed number gets the last crop several times where there are fewer.
            self._least = program.takes.least
            self._most = min(self._most, program.takes.most or self._most)
        else:
            model = architectures.classifier(step.architecture, path, len(self.labels))
            self._model = device.lowered(device.place(model))
        if device.is_cuda or step.architecture == "exported":
            self._try_out(device)

    def logits(self, crops: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits (crops x classes), float32 on the CPU."""
        rows: list[torch.Tensor] = []
        done = 0
        while done < len(crops):
            some = crops[done : done + min(self._most, self._at_once.limit or self._most)]
            try:
                rows.append(self._logits_at_once(some))
            except Exception as error:
                # Photographs are halved by the worker; one photograph may have more crops than there is memory for.
                if len(some) <= self._least or not device_errors.is_out_of_memory(error):
                    raise
                device_errors.free_after(error)
                self._at_once.ran_out(len(some))
            else:
                self._at_once.fitted(len(some))
                done += len(some)
        return torch.cat(rows) if rows else torch.empty(0, len(self.labels))

    def _logits_at_once(self, crops: Sequence[torch.Tensor]) -> torch.Tensor:
        some = [self._shaped(crop) for crop in crops]
        inputs = torch.stack(some + some[-1:] * (self._least - len(some)))
        if self._is_channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self._model(inputs)[: len(some)].float().cpu()
        return logits

    def _shaped(self, crop: torch.Tensor) -> torch.Tensor:
        square = scoring.stretched(crop, (self._side, self._side))
        return (square - self._mean) / self._std

    def _try_out(self, device: TorchDevice) -> None:
        """Classify two blank crops: the first call is slow on a GPU, and it shows whether a program fits its labels."""
        blank = torch.zeros(3, self._side, self._side, device=device.device)
        with torch.inference_mode():
            try:
                shape = tuple(self.logits([blank, blank]).shape)
            except (RuntimeError, AssertionError) as error:
                if device_errors.fault_of(error) is not Fault.PIPELINE:
                    raise
                reason = str(error).partition("\n")[0]
                raise errors.InternalError(f"{self.algorithm.key} does not take two crops at once: {reason}") from error
        if shape != (2, len(self.labels)):
            raise errors.InternalError(
                f"{self.algorithm.key} gives {shape} for two crops and {len(self.labels)} labels"
            )


def _crops(photographs: Sequence[torch.Tensor], found: Sequence[Found]) -> list[_Crop]:
    """Cut out each box, truncated to whole pixels. Boxes of less than a pixel in the photograph are left out."""
    crops = []
    for index, (photograph, one) in enumerate(zip(photographs, found, strict=True)):
        for number, (x1, y1, x2, y2) in enumerate(one.boxes.astype(int).tolist()):
            # Given boxes may lie beyond the edge; a negative index would count from the other side.
            left, top = max(x1, 0), max(y1, 0)
            if x2 > left and y2 > top and left < photograph.shape[2] and top < photograph.shape[1]:
                crops.append(_Crop(index, number, photograph[:, top:y2, left:x2]))
    return crops
