"""A worker as in `http_worker` that reads the images, and reports errors as the existing one does."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import HttpWorker, Task, success

COLOURS = {"plain": (120, 130, 140), "odd": (1, 2, 3)}


def photograph(folder: Path, name: str, kind: str = "plain") -> Path:
    """A JPEG; one that is `odd` can be read, and breaks the batch that it is in."""
    file = folder / name
    Image.new("RGB", (64, 48), COLOURS[kind]).save(file)
    return file


def broken(folder: Path, name: str) -> Path:
    """A file that is not a photograph, whatever its name says."""
    file = folder / name
    file.write_bytes(bytes(range(1, 256)) * 20)
    return file


@dataclass
class ReportingWorker(HttpWorker):
    """What cannot be read is reported alone; when inference fails, so is every image of the batch."""

    # Said of every image in place of a result.
    always: str = ""
    # A file that cannot be read breaks its whole batch, too.
    breaks_on_files: bool = False
    # Sizes of the answers that had tasks, and the images reported as failing, in order.
    answers: list[int] = field(default_factory=list)
    reported: list[str] = field(default_factory=list)

    def infer_batch(self, http: requests.Session, tasks: list[Task]) -> list[dict[str, Any]]:
        self.answers.append(len(tasks))
        self.images += [task.image_id for task in tasks]
        pictures = {} if self.always else {task.image_id: _read(task.image_url) for task in tasks}
        is_odd = any(picture[0] < 10 if picture is not None else self.breaks_on_files for picture in pictures.values())
        results: list[dict[str, Any]] = []
        for task in tasks:
            why = self.always
            if not why and pictures[task.image_id] is None and not self.breaks_on_files:
                why = "failed to load image"
            elif not why and is_odd:
                why = "Batch processing error: integer division or modulo by zero"
            if why:
                self.reported.append(task.image_id)
            result = {"error": why, "image_id": task.image_id} if why else success(task.image_id)
            results.append({"reply_subject": task.reply_subject, "result": result})
        return results


def _read(url: str) -> tuple[int, ...] | None:
    """The colour in an image's corner; None when it cannot be read."""
    with requests.get(url, timeout=60) as answer:
        try:
            with Image.open(io.BytesIO(answer.content)) as image:
                return tuple(image.convert("RGB").getpixel((0, 0)))  # type: ignore[arg-type]
        except OSError:
            return None


async def reporting_worker(
    services: Services, gateway: RunningGateway, project: str, label: str = "", **options: object
) -> ReportingWorker:
    secret = await token(services, project, label=label)
    return ReportingWorker(base=gateway.base, token=secret, **options)  # type: ignore[arg-type]
