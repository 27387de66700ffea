"""A pipeline that writes down what it is given, batch by batch: put this file on `pipeline_paths`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec, RawImage

RECORDING: Final = PipelineSpec(
    slug="recording",
    name="Recording",
    version="1",
    description="Writes down its batches.",
    algorithms=(AlgorithmSpec(key="recording", version="1", name="Recording", task="localization"),),
    factory=f"{__name__}:RecordingPipeline",
    default_config={
        # File that gets a line of JSON a batch: the URIs of its images.
        "record": "",
        "delay_ms": 0,
        # Memory to take while loaded.
        "megabytes": 0,
        # Makes otherwise equal configurations differ.
        "variant": 0,
    },
    batch_size=4,
)

PIPELINES = [RECORDING]


class RecordingPipeline(Pipeline[str, str]):
    """Passes URIs through its stages."""

    def load(self, device: str) -> None:
        # Written to, or the kernel would only promise the memory.
        self._memory = bytearray(b"x" * (int(self.config["megabytes"]) * 2**20))

    def prepare(self, image: RawImage) -> str:
        return image.uri

    def infer(self, batch: Sequence[str]) -> Sequence[str]:
        with Path(self.config["record"]).open("a") as file:
            file.write(json.dumps(list(batch)) + "\n")
        time.sleep(self.config["delay_ms"] * len(batch) / 1000)
        return batch

    def finish(self, prepared: str, raw: str) -> ImageResult:
        return ImageResult(width=None, height=None, detections=[])


def batches(record: Path) -> list[list[str]]:
    """What was written down so far."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
