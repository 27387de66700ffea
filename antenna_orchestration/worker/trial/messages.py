"""What the trial's process and its parent say to each other: frames of four bytes of length and one msgpack message.

Both are always of one version, so nothing here needs to stay compatible.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Final

import msgspec

from antenna_orchestration.domain.messages import Attribute, Classification, Detection

LENGTH: Final = struct.Struct("<I")


class Order(msgspec.Struct, tag=True, frozen=True):
    """The parent's first message: what is to be tried."""

    settings: bytes
    """Pickled `Settings`, with the paths in which the pipeline is found."""
    slug: str
    config: dict[str, Any]
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    time_limit: float
    """Seconds that loading may take, and so may each step of a photograph."""


class Photograph(msgspec.Struct, frozen=True):
    """One of a batch."""

    number: int
    uri: str
    data: bytes
    """The file's bytes."""
    captured_at: datetime | None = None
    deployment: str | None = None


class Batch(msgspec.Struct, tag=True, frozen=True):
    """Photographs to be processed together. Answered with one `Tried` each, in their order."""

    photographs: list[Photograph]


class Began(msgspec.Struct, tag=True, frozen=True):
    """A step begins, which the time limit is for; the last one is to blame if the process ends."""

    step: str
    numbers: list[int] = []
    """The photographs that are in it."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The pipeline is loaded."""

    device: str
    """What `auto` or `cuda` was resolved to."""
    device_name: str
    batch_size: int
    seconds: dict[str, float]
    """`import`, `load` and, if the pipeline has an example, `warm-up`."""
    memory: int
    """Bytes that it took, on the GPU or else of the process."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The pipeline cannot be loaded; the process ends."""

    step: str
    reason: str
    """The line that helps."""
    where: str
    """The last line of the pipeline's own code that the error passed; empty if it passed none."""
    trace: str
    """The whole of it; empty for an error that says all in its line."""


class Tried(msgspec.Struct, tag=True, frozen=True):
    """What came of a photograph: what the worker would report."""

    number: int
    seconds: dict[str, float]
    """By step: `prepare`, `infer` (its share of the batch), `finish`; as far as it came."""
    width: int | None = None
    height: int | None = None
    detections: list[Detection] = []
    labels: list[Classification] = []
    attributes: dict[str, Attribute] = {}
    failed: str = ""
    """In which step; empty if it did not fail."""
    reason: str = ""
    where: str = ""
    trace: str = ""
    """As in `Refused`."""


class Note(msgspec.Struct, tag=True, frozen=True):
    """What people should know, and no failure of a photograph."""

    text: str


class Ended(msgspec.Struct, tag=True, frozen=True):
    """The last message."""

    peak: int
    """Most bytes of memory that the process had."""
    device_peak: int | None
    """Most bytes that were allocated on the GPU; None without one."""
    unnamed: list[str]
    """Files that the code read and that no algorithm names, so that their change is not noticed."""


ToTrial = Order | Batch
FromTrial = Began | Loaded | Refused | Tried | Note | Ended

encoder: Final = msgspec.msgpack.Encoder()
to_trial: Final = msgspec.msgpack.Decoder(ToTrial)
from_trial: Final = msgspec.msgpack.Decoder(FromTrial)


def frame(message: ToTrial | FromTrial) -> bytes:
    """The encoded message with its length in front."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body
