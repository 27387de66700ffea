"""The process that makes pictures for `drawing`: it decodes and draws one after another, and may die of it.

It reads requests from a socket and writes answers to it: a line of JSON each, and bytes after it. A request with a
`margin` is for crops, of which there are as many as boxes; else it is for one picture.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import resource
import signal
import socket
import sys
from typing import Any, BinaryIO, Final

import msgspec

from antenna_orchestration import errors, kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines import pictures
from antenna_orchestration.settings import Settings

MEMORY: Final = 2 * 2**30
"""Bytes of data that the process may allocate besides what it begins with: a photograph of 200 million pixels takes
0.6 GB, and its picture in full size another 0.6 GB while it is made."""

READY: Final = b"ready\n"

LONGEST: Final = 60
"""Seconds after which a picture ends its process by itself: whoever asked for it has ended it before, or is gone."""

_detections: Final = msgspec.msgpack.Decoder(list[Detection])


def _made(request: dict[str, Any], photograph: bytes, boxes: bytes) -> tuple[list[bytes], str]:
    """Pictures, or why there are none."""
    try:
        found = _detections.decode(boxes)
        if "margin" in request:
            margin, longest = request["margin"], request["longest"]
            return pictures.crop_boxes(photograph, [one.box for one in found], margin=margin, longest=longest), ""
        width = request["width"] or pictures.FULL_WIDTH
        return [pictures.draw_boxes(photograph, found, width, max_bytes=request["most"])], ""
    except errors.AntennaError as error:
        return [], str(error)
    except MemoryError:
        return [], "drawing it takes too much memory"
    except Exception as error:
        return [], f"drawing it failed: {type(error).__name__}"


def serve(asked: socket.socket, settings: Settings) -> None:
    """Answer until the other end of the socket is closed. Never returns."""
    kernel.be_the_first_to_die()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit = kernel.data_bytes() + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settings_module.give(settings)
    try:
        _answer(asked.makefile("rb"), asked.makefile("wb"))
    except BrokenPipeError:
        pass
    finally:
        # Whatever a decoder's threads are at, and without the clean-up of a process that this one was forked from.
        os._exit(0)


def _answer(requests: BinaryIO, answers: BinaryIO) -> None:
    answers.write(READY)
    answers.flush()
    while line := requests.readline():
        request = json.loads(line)
        photograph, boxes = requests.read(request["photograph"]), requests.read(request["boxes"])
        signal.alarm(LONGEST)
        made, why = _made(request, photograph, boxes)
        signal.alarm(0)
        answers.write(json.dumps([[len(one) for one in made], why]).encode() + b"\n" + b"".join(made))
        answers.flush()


def main() -> None:
    """Serve the process that started this one, and never outlive it; the settings come first."""
    kernel.die_with_parent(int(sys.argv[1]))
    settings: Settings = pickle.loads(base64.b64decode(sys.stdin.buffer.readline()))  # noqa: S301  our own parent's
    serve(socket.socket(fileno=int(sys.argv[2])), settings)


if __name__ == "__main__":
    main()
