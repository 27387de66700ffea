"""Runs an exported program that takes whole photographs. Only device processes import this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import images, labels, scoring, weights
from antenna_orchestration.pipelines.exported import programs
from antenna_orchestration.pipelines.exported.description import Program
from antenna_orchestration.pipelines.exported.programs import Takes
from antenna_orchestration.pipelines.interface import ImageResult, Pipeline, PipelineSpec, RawImage
from antenna_orchestration.pipelines.torch_device import Photograph, TorchDevice


@dataclass(frozen=True, slots=True)
class Found:
    """The k detections of one photograph that are above the minimum score; float32 on the CPU."""

    # k x 4: x1, y1, x2, y2 in pixels of the photograph.
    boxes: torch.Tensor
    # k, in [0, 1].
    scores: torch.Tensor
    # k x classes; None for a program that does not classify.
    probabilities: torch.Tensor | None


class ExportedPipeline(Pipeline[Photograph, Found]):
    """Runs the `Program` that is the spec's recipe."""

    def __init__(self, spec: PipelineSpec, config: Mapping[str, Any], *, top_k: int = 10) -> None:
        super().__init__(spec, config, top_k=top_k)
        if not isinstance(spec.recipe, Program):
            raise errors.InternalError(f"pipeline {spec.slug} names no program")
        self._program = spec.recipe
        self._detector, *rest = spec.algorithms
        self._classifier = rest[0] if rest else None

    def load(self, device: str) -> None:
        """Fetch and load program and labels.

        Raises `Unavailable` if one of them cannot be fetched, and `InternalError` if one is broken.
        """
        self._device = TorchDevice(device)
        program = self._program
        path = weights.fetch(program.uri)
        opened = programs.load(path, self._device.device)
        self._check(path.name, opened.takes)
        self._model = opened.module
        self._least = opened.takes.least
        self._labels = labels.fetch_labels(self._classifier) if self._classifier else ()
        self._mean = torch.tensor(program.mean, device=self._device.device)[:, None, None]
        self._std = torch.tensor(program.std, device=self._device.device)[:, None, None]

    def prepare(self, image: RawImage) -> Photograph:
        """Decode, or leave that to nvJPEG. Raises `ImageUnusable` as `images.decode` does."""
        return self._device.begin(image.data)

    def infer(self, batch: Sequence[Photograph]) -> Sequence[Found]:
        """Run the program on as many photographs per call as it takes.

        Raises `InternalError` if its outputs do not have the promised shapes.
        """
        found: list[Found] = []
        with torch.inference_mode():
            inputs = [self._shaped(pixels) for pixels in self._device.pixels(batch)]
            for start in range(0, len(inputs), self._program.at_once):
                some = batch[start : start + self._program.at_once]
                outputs = self._run(torch.stack(inputs[start : start + self._program.at_once]))
                found += [self._kept(one, *values) for one, *values in zip(some, *outputs, strict=True)]
        return found

    def finish(self, prepared: Photograph, raw: Found) -> ImageResult:
        """Detections, best score first."""
        detections = []
        for index in raw.scores.argsort(descending=True, stable=True).tolist():
            x1, y1, x2, y2 = raw.boxes[index].tolist()
            said = []
            if self._classifier is not None and raw.probabilities is not None:
                said = [
                    scoring.classification(
                        self._classifier.ref,
                        raw.probabilities[index],
                        self._labels,
                        top_k=self.top_k,
                        whole=score_vectors.is_kept(self.config[score_vectors.SETTING], len(self._labels)),
                    )
                ]
            detections.append(
                Detection(
                    box=(x1, y1, x2, y2),
                    score=raw.scores[index].item(),
                    algorithm=self._detector.ref,
                    classifications=said,
                )
            )
        return ImageResult(width=prepared.width, height=prepared.height, detections=detections)

    def example(self) -> RawImage:
        """A grey photograph, which also shows whether the program's outputs have the promised shapes."""
        return images.grey_photograph(height=160)

    def _shaped(self, pixels: torch.Tensor) -> torch.Tensor:
        size = (self._program.height, self._program.width)
        return (scoring.stretched(pixels.float().div_(255), size) - self._mean) / self._std

    def _check(self, file: str, takes: Takes) -> None:
        """Raise `InternalError` if the program takes pictures of another size or number than the YAML says."""
        program = self._program
        if (why := takes.misfit(program.width, program.height)) is not None:
            raise errors.InternalError(f"{self.spec.slug}: {file} does not fit: {why}")
        if takes.most is not None and program.at_once > takes.most:
            exactly = "exactly" if takes.least == takes.most else "at most"
            raise errors.InternalError(
                f"{self.spec.slug}: {file} takes {exactly} {takes.most} photographs at once, and the YAML says "
                f"batch_size: {program.at_once}"
            )

    def _run(self, inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        """The program's outputs. Their shapes are checked, because a wrong shape could silently give wrong boxes."""
        # A program of a fixed number gets the last photograph several times where there are fewer.
        more = max(0, self._least - len(inputs))
        padded = torch.cat([inputs, inputs[-1:].expand(more, *inputs.shape[1:])]) if more else inputs
        outputs = [output[: len(inputs)] if more else output for output in _run_program(self._model, padded)]
        wanted = ("boxes", "scores", "probabilities") if self._labels else ("boxes", "scores")
        shapes = [tuple(output.shape) for output in outputs]
        count, each = len(inputs), shapes[1][1] if len(shapes) > 1 and len(shapes[1]) == 2 else 0
        right = [(count, each, 4), (count, each), (count, each, len(self._labels))][: len(wanted)]
        if shapes != right:
            raise errors.InternalError(
                f"{self.spec.slug}: the program gives {shapes} for {count} photographs and {len(self._labels)} labels; "
                f"it should give {' and '.join(wanted)}, as {right}"
            )
        return outputs

    def _kept(self, photograph: Photograph, boxes: torch.Tensor, scores: torch.Tensor, *rest: torch.Tensor) -> Found:
        # NaN is not above any score: it would read as a photograph without insects.
        if not bool(torch.isfinite(scores).all()):
            raise errors.InternalError(f"{self.spec.slug}: the program gives scores that are not numbers")
        keep = scores > self.config["min_score"]
        across, down = photograph.width / self._program.width, photograph.height / self._program.height
        boxes = boxes[keep].float().cpu() * torch.tensor([across, down, across, down])
        boxes[:, 0::2].clamp_(0, photograph.width)
        boxes[:, 1::2].clamp_(0, photograph.height)
        return Found(boxes, scores[keep].float().cpu(), rest[0][keep].float().cpu() if rest else None)


def _run_program(model: nn.Module, inputs: torch.Tensor) -> Sequence[torch.Tensor]:
    outputs = model(inputs)
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
