"""The classifiers of a published pipeline: crops of photographs in, what each of them is out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

import torch
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.domain import score_vectors
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.pipelines import batch_norms, device_errors, labels, scoring, weights
from antenna_orchestration.pipelines.at_once import AtOnce
from antenna_orchestration.pipelines.device_errors import Fault
from antenna_orchestration.pipelines.exported import programs
from antenna_orchestration.pipelines.published import architectures, resampling, specs
from antenna_orchestration.pipelines.published.shared_networks import shared
from antenna_orchestration.pipelines.torch_device import TorchDevice

CROPS_ON_CPU: Final = 64
CROPS_ON_CUDA: Final = 256
"""Crops that a classifier gets per call. More would take more memory and not be faster."""

Answer = torch.Tensor | scoring.Best
"""What a classifier says of a crop: logits on the CPU, one per class; or, from a GPU, the best classes only."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A detection whose pixels are to be classified."""

    # Index of the photograph in the batch, and of the detection in the photograph.
    photograph: int
    detection: int
    # Within the photograph.
    box: resampling.Box

    def of(self, photographs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Its pixels (3 x height x width), a view."""
        left, top, right, bottom = self.box
        return photographs[self.photograph][:, top:bottom, left:right]


@dataclass(kw_only=True)
class Judge:
    """A loaded classifier with its labels and its input transform."""

    algorithm: AlgorithmRef
    labels: Sequence[str]
    transform: specs.Transform
    # Takes crops x 3 x side x side, gives logits.
    model: Callable[[torch.Tensor], torch.Tensor]
    # On which the photographs are.
    device: torch.device
    # Crops that the model takes at most, and at least: then the last one is given several times.
    most: int = CROPS_ON_CPU
    least: int = 1
    # Whether the scores of all classes are kept.
    keeps_whole: bool = True
    # How many classes are told; None for the logits of all.
    told: int | None = None
    # Whether crops are resized together: the same numbers but for rounding.
    resizes_together: bool = False
    memory_format: torch.memory_format = torch.contiguous_format
    _at_once: AtOnce = field(default_factory=AtOnce, init=False)

    def __post_init__(self) -> None:
        self._mean = torch.tensor(self.transform.mean, device=self.device)[:, None, None]
        self._std = torch.tensor(self.transform.std, device=self.device)[:, None, None]

    def answers(self, photographs: Sequence[torch.Tensor], crops: Sequence[Crop]) -> list[Answer]:
        """What it says of each crop of the photographs (float32 in [0, 1], 3 x height x width)."""
        answers: list[Answer] = []
        while len(answers) < len(crops):
            some = crops[len(answers) :][: min(self.most, self._at_once.limit or self.most)]
            try:
                logits = self.logits(photographs, some)
                answers += logits.cpu() if self.told is None else scoring.best_of(logits, self.told)
            except Exception as error:
                # Photographs are halved by the worker; one photograph may have more crops than there is memory for.
                if len(some) <= self.least or not device_errors.is_out_of_memory(error):
                    raise
                device_errors.free_after(error)
                self._at_once.ran_out(len(some))
            else:
                self._at_once.fitted(len(some))
        return answers

    def logits(self, photographs: Sequence[torch.Tensor], crops: Sequence[Crop]) -> torch.Tensor:
        """Logits (crops x classes), float32 on the device, of at most `most` crops."""
        inputs = self.inputs(photographs, crops)
        if len(crops) < self.least:
            inputs = torch.cat([inputs, inputs[-1:].expand(self.least - len(crops), -1, -1, -1)])
        return self.model(inputs.contiguous(memory_format=self.memory_format))[: len(crops)].float()

    def inputs(self, photographs: Sequence[torch.Tensor], crops: Sequence[Crop]) -> torch.Tensor:
        """The crops as the model gets them (crops x 3 x side x side)."""
        side = self.transform.side
        if self.resizes_together:
            squares = torch.cat(
                [
                    resampling.squares(photographs[index], [crop.box for crop in some], side)
                    for index, some in groupby(crops, key=lambda crop: crop.photograph)
                ]
            )
        else:
            squares = torch.stack([scoring.stretched(crop.of(photographs), (side, side)) for crop in crops])
        return (squares - self._mean) / self._std

    def try_out(self) -> None:
        """Classify two blank crops: the first call is slow on a GPU, and it shows whether a program fits its labels.

        Raises `InternalError`.
        """
        side = self.transform.side
        blank = torch.zeros(3, side, side, device=self.device)
        crops = [Crop(0, 0, (0, 0, side, side))] * 2
        with torch.inference_mode():
            try:
                each = [self.logits([blank], crops[n : n + self.most]) for n in range(0, len(crops), self.most)]
                shape = tuple(torch.cat(each).shape)
            except (RuntimeError, AssertionError) as error:
                if device_errors.fault_of(error) is not Fault.PIPELINE:
                    raise
                reason = str(error).partition("\n")[0]
                raise errors.InternalError(f"{self.algorithm.key} does not take two crops at once: {reason}") from error
        if shape != (2, len(self.labels)):
            raise errors.InternalError(
                f"{self.algorithm.key} gives {shape} for two crops and {len(self.labels)} labels"
            )


def load(step: specs.Classifier, device: TorchDevice, *, top_k: int, scores: str) -> Judge:
    """Fetch a classifier and place it on the device. `scores` is the setting that says which scores are kept.

    Raises `Unavailable` if a file cannot be fetched, and `InternalError` if it is broken or does not fit.
    """
    names = labels.fetch_labels(step.algorithm)
    path = weights.fetch_named(step.algorithm.uri, step.algorithm.key)
    side, architecture = step.transform.side, step.architecture
    most, least, memory_format = CROPS_ON_CUDA if device.is_cuda else CROPS_ON_CPU, 1, torch.contiguous_format
    if architecture == "exported":
        # It runs in the precision with which its author exported it, and may rely on contiguous inputs.
        program = programs.load(path, device.device)
        if (why := program.takes.misfit(side, side)) is not None:
            raise errors.InternalError(f"{step.algorithm.key}: {path.name} does not fit: {why}")
        model, least = program.module, program.takes.least
        most = min(most, program.takes.most or most)
    else:
        model = shared(
            f"{architecture} of {len(names)}",
            path,
            device,
            lambda: placed(architectures.classifier(architecture, path, len(names)), device),
        )
        if device.is_cuda:
            memory_format = torch.channels_last
    keeps_whole = score_vectors.is_kept(scores, len(names))
    judge = Judge(
        algorithm=step.algorithm.ref,
        labels=names,
        transform=step.transform,
        model=model,
        device=device.device,
        most=most,
        least=least,
        keeps_whole=keeps_whole,
        # On the CPU everything stays as it was published, bit by bit.
        told=top_k if device.is_cuda and not keeps_whole else None,
        resizes_together=device.is_cuda,
        memory_format=memory_format,
    )
    if device.is_cuda or architecture == "exported":
        judge.try_out()
    return judge


def placed(network: nn.Module, device: TorchDevice) -> nn.Module:
    """Move a classifier to the device, where it runs in the device's precision."""
    # Without statistics of batch norms, which do not fit into half precision.
    return device.lowered(device.place(batch_norms.folded(network) if device.is_cuda else network))


def best(answer: Answer) -> int:
    """The index of the label with the best score."""
    return answer.labels[0] if isinstance(answer, scoring.Best) else int(answer.argmax())
