"""Runs a recipe of a published pipeline: detect insects, keep the moths, classify them.

Only device processes import this module. It computes what the published definition says, in this order: the photograph
as floats in [0, 1]; boxes above `min_score`, truncated to whole pixels; crops cut out at full resolution, and only then
resized to the classifier's square.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import batch_norms, images, scoring, weights
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.published import architectures, judges, specs
from antenna_orchestration.pipelines.published.judges import Answer, Crop
from antenna_orchestration.pipelines.published.shared_networks import shared
from antenna_orchestration.pipelines.torch_device import Photograph, TorchDevice


@dataclass(slots=True)
class Found:
    """The n detections of one photograph and the answers of the classifiers, on the CPU."""

    # n x 4: x1, y1, x2, y2 in pixels of the photograph, best score first.
    boxes: NDArray[np.float32]
    # n, in [0, 1].
    scores: NDArray[np.float32]
    # Per detection what each classifier said that saw it, in the order in which they run.
    answers: list[list[Answer]] = field(default_factory=list)


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
        self._detector = shared(
            "detector",
            checkpoint,
            self._device,
            lambda: placed_detector(architectures.detector(checkpoint), self._device),
        )
        steps = (recipe.moth_filter, recipe.classifier) if recipe.moth_filter else (recipe.classifier,)
        self._judges = [
            judges.load(step, self._device, top_k=self.top_k, scores=self.config[score_vectors.SETTING])
            for step in steps
        ]
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
                answers = judge.answers(photographs, crops)
                for crop, answer in zip(crops, answers, strict=True):
                    found[crop.photograph].answers[crop.detection].append(answer)
                if judge is not self._judges[-1]:
                    # The moth filter: only moths go on to the next classifier.
                    moth = judge.labels.index(specs.MOTH)
                    crops = [crop for crop, answer in zip(crops, answers, strict=True) if judges.best(answer) == moth]
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
                        answer.softmax(dim=0) if isinstance(answer, torch.Tensor) else answer,
                        judge.labels,
                        top_k=self.top_k,
                        whole=judge.keeps_whole,
                        terminal=judge is self._judges[-1],
                    )
                    for judge, answer in zip(self._judges, answers, strict=False)
                ],
            )
            for (x1, y1, x2, y2), score, answers in zip(raw.boxes, raw.scores, raw.answers, strict=True)
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


def _crops(photographs: Sequence[torch.Tensor], found: Sequence[Found]) -> list[Crop]:
    """Each box, truncated to whole pixels and to the photograph. Boxes of less than a pixel in it are left out."""
    crops = []
    for index, (photograph, one) in enumerate(zip(photographs, found, strict=True)):
        height, width = photograph.shape[1:]
        for number, (x1, y1, x2, y2) in enumerate(one.boxes.astype(int).tolist()):
            # Given boxes may lie beyond the edge.
            box = left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
            if right > left and bottom > top:
                crops.append(Crop(index, number, box))
    return crops
