"""What parent and device process say to each other over their socket.

A frame is four bytes of length and a msgpack message. The images of a `Run` follow it as they are, one after another in
the order of its items: compressed bytes are the bulk of the traffic and are copied as seldom as possible.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Final

import msgspec

LENGTH: Final = struct.Struct("<I")

LOGGER: Final = "antenna_orchestration.worker.device.process"
"""The child's own logger; its errors say why it ends."""

LOST_DEVICE: Final = 70
"""The child's exit status after an error that leaves the device's context unusable; the parent starts it afresh."""


class Start(msgspec.Struct, tag=True, frozen=True):
    """First word of the parent."""

    settings: bytes
    """Pickled `Settings`: the child is ours, and the parent's overrides hold there too."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""


class Load(msgspec.Struct, tag=True, frozen=True):
    """Build and load the pipeline of a lane, unless it is there."""

    lane: int
    slug: str
    config: dict[str, Any]


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One image of a `Run`."""

    number: int
    """The parent's own number for the task in hand."""
    size: int
    image: int
    uri: str
    captured_at: datetime | None
    deployment: str | None


class Run(msgspec.Struct, tag=True, frozen=True):
    """Process these images in one batch. Their bytes follow the frame."""

    batch: int
    lane: int
    items: list[Item]


class Forget(msgspec.Struct, tag=True, frozen=True):
    """Do not begin with these any more; each is answered with `Dropped` unless it was begun."""

    numbers: list[int]


class Ready(msgspec.Struct, tag=True, frozen=True):
    """First word of the child."""

    device: str
    """What `auto` and `cuda` came to, such as `cuda:0`."""
    description: str
    """For people: the name of the card, or the number of CPU threads."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The lane is ready; these others had to make room for it."""

    lane: int
    seconds: float
    evicted: list[int]


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """The lane's pipeline cannot be loaded here. No image's fault."""

    lane: int
    reason: str


class Moved(msgspec.Struct, tag=True, frozen=True):
    """Something happened to a batch; `inferring` when the device began with it."""

    batch: int
    inferring: bool = False


class Done(msgspec.Struct, tag=True, frozen=True):
    """What was found in an image."""

    number: int
    width: int | None
    height: int | None
    detections: msgspec.Raw
    """Encoded `list[Detection]`, checked in the child and copied into the result's message as it is."""
    timings: dict[str, float]


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The image failed alone, and is itself the reason."""

    number: int
    reason: str
    retryable: bool
    """Whether another worker may do better: true for anything but the image's own fault."""


class Dropped(msgspec.Struct, tag=True, frozen=True):
    """Not begun: forgotten, or its pipeline could not be loaded."""

    number: int


class Report(msgspec.Struct, tag=True, frozen=True):
    """The batch is over: one outcome an image."""

    batch: int
    outcomes: list[Done | Failed | Dropped]
    limit: int | None = None
    """Images that fit into the device's memory at once, once it ran out."""
    starved: float = 0.0
    """Seconds that the device had nothing to do but wait for this batch to be prepared."""


class Said(msgspec.Struct, tag=True, frozen=True):
    """A log record of the child, to be logged by the parent."""

    level: int
    logger: str
    message: str


ToChild = Start | Load | Run | Forget
FromChild = Ready | Loaded | LoadFailed | Moved | Report | Said

encoder: Final = msgspec.msgpack.Encoder()
to_child: Final = msgspec.msgpack.Decoder(ToChild)
from_child: Final = msgspec.msgpack.Decoder(FromChild)


def frame(message: ToChild | FromChild) -> bytes:
    """A message with its length in front."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body
