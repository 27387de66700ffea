"""The process that draws pictures for `drawing`: it decodes and draws one after another, and may die of it.

It reads requests from its input and writes answers to its output: a line of JSON each, and bytes after it. The settings
come first.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import resource
import signal
import sys
from typing import BinaryIO, Final

import msgspec

from antenna_orchestration import errors, kernel, settings
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import pictures

MEMORY: Final = 2 * 2**30
"""Bytes of data that the process may allocate: a photograph of 200 million pixels takes 0.6 GB, and its picture in full
size another 0.6 GB while it is made."""

READY: Final = b"ready\n"

_detections: Final = msgspec.msgpack.Decoder(list[Detection])


def _drawn(request: dict[str, int | None], photograph: bytes, boxes: bytes) -> tuple[bytes, str]:
    """A picture, or why there is none."""
    try:
        width = request["width"] or pictures.FULL_WIDTH
        return pictures.draw_boxes(photograph, _detections.decode(boxes), width, max_bytes=request["most"]), ""
    except errors.AntennaError as error:
        return b"", str(error)
    except MemoryError:
        return b"", "drawing it takes too much memory"
    except Exception as error:
        return b"", f"drawing it failed: {type(error).__name__}"


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    given: settings.Settings = pickle.loads(base64.b64decode(requests.readline()))  # noqa: S301  our own parent's
    settings.give(given)
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        photograph, boxes = requests.read(request["photograph"]), requests.read(request["boxes"])
        picture, why = _drawn(request, photograph, boxes)
        answers.write(json.dumps([len(picture), why]).encode() + b"\n" + picture)
        answers.flush()


def main() -> None:
    """Serve until the parent closes the input, and never outlive it."""
    kernel.die_with_parent(int(sys.argv[1]))
    kernel.be_the_first_to_die()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
