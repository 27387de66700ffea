"""The messages between the worker (parent) and its device process (child), over a socket pair.

A frame is four bytes of length (little-endian, unsigned) and one msgpack message. The images of a `Run` follow its
frame unframed, one after another in the order of its items: compressed bytes are the bulk of the traffic and are copied
as seldom as possible.

Parent and child are always of one version, so nothing here needs to stay compatible.
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any, Final

import msgspec

from antenna_orchestration.domain.messages import Attribute, Classification, GivenBox
from antenna_orchestration.pipelines.sources import Source

LENGTH: Final = struct.Struct("<I")

LOGGER: Final = "antenna_orchestration.worker.device.process"
"""The child's own logger; its errors say why it ends."""

LOST_DEVICE: Final = 70
"""The child's exit status after an error that leaves the device's context unusable; the parent starts a new child."""

SHORT_OF_MEMORY: Final = 71
"""The child's exit status where memory ran out outside of a pipeline, with no image in particular."""


class Start(msgspec.Struct, tag=True, frozen=True):
    """The parent's first message."""

    settings: bytes
    """Pickled `Settings`: the child is the parent's own, and the parent's overrides apply to it as well."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""


class Load(msgspec.Struct, tag=True, frozen=True):
    """Build and load the pipeline of a batch group, unless it is loaded. Answered with `Loaded` or `LoadFailed`."""

    batch_group: int
    slug: str
    config: dict[str, Any]
    """The job's configuration, merged with the pipeline's defaults."""
    digest: str = ""
    """What the pipeline has to be; empty if that does not matter."""
    source: Source | None = None
    """Where it was fetched to; None for one that the registry knows."""


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One image of a `Run`."""

    number: int
    """The parent's number of the task in hand, unique in its life."""
    size: int
    """Bytes of the compressed image that follow the frame."""
    image: int
    """Id of the capture in the catalog."""
    uri: str
    captured_at: datetime | None
    deployment: str | None
    detections: list[GivenBox] | None = None
    """As in `Task.detections`."""


class Run(msgspec.Struct, tag=True, frozen=True):
    """Process these images in one batch. Their bytes follow the frame. Answered with one `Report`."""

    batch: int
    batch_group: int
    items: list[Item]


class Forget(msgspec.Struct, tag=True, frozen=True):
    """Do not begin with these images; each not yet begun is reported as `Dropped`."""

    numbers: list[int]
    """As in `Item.number`."""


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The child's first message."""

    device: str
    """The device that `auto` or `cuda` was resolved to, such as `cuda:0`."""
    description: str
    """For people: the name of the GPU, or the number of CPU threads."""


class Loaded(msgspec.Struct, tag=True, frozen=True):
    """The batch group's pipeline is loaded."""

    batch_group: int
    seconds: float
    evicted: list[int]
    """Batch groups whose pipelines had to leave the device for it."""
    engine: str = ""
    """`Pipeline.engine`."""


class LoadFailed(msgspec.Struct, tag=True, frozen=True):
    """The batch group's pipeline cannot be loaded here. No image is the cause."""

    batch_group: int
    reason: str
    """The line of the error that helps."""
    trace: str = ""
    """The whole error, with where in the code it was raised."""
    out_of_memory: bool = False


class Waiting(msgspec.Struct, tag=True, frozen=True):
    """Loading waits for what is not the pipeline's: weights are downloaded, or a library such as PyTorch is imported.

    Sent again and again meanwhile, so that the limit of loading is for the pipeline's own.
    """


class Moved(msgspec.Struct, tag=True, frozen=True):
    """A batch made progress; `inferring` when the device began with it."""

    batch: int
    inferring: bool = False


class Done(msgspec.Struct, tag=True, frozen=True):
    """What was found in an image."""

    number: int
    width: int | None
    height: int | None
    """Size of the decoded image in pixels; None when the pipeline does not decode it."""
    detections: msgspec.Raw
    """Encoded `list[Detection]`, boxes as (x1, y1, x2, y2) in pixels of that size. Checked in the child and copied into
    the result's message as it is."""
    timings: dict[str, float]
    """Seconds: `decode`, `infer` (the image's share of its batch), `finish`."""
    labels: list[Classification] | msgspec.UnsetType = msgspec.UNSET
    attributes: dict[str, Attribute] | msgspec.UnsetType = msgspec.UNSET
    """Of the image as a whole, as in `Result`; unset where the pipeline says nothing."""


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The image failed by itself, not for its batch or the process."""

    number: int
    reason: str
    retryable: bool
    """Whether another worker may succeed: true unless the image itself is unusable."""
    out_of_memory: bool = False
    """Whether memory ran out with it, twice alone: no fault of the image as long as a larger device may do."""
    shared: bool = False
    """Whether others held memory of the device then."""


class Dropped(msgspec.Struct, tag=True, frozen=True):
    """Not begun: the image was to be forgotten, or its pipeline could not be loaded."""

    number: int


class Report(msgspec.Struct, tag=True, frozen=True):
    """The batch is over."""

    batch: int
    outcomes: list[Done | Failed | Dropped]
    """One per image."""
    limit: int | None = None
    """Images to infer at once, since the device's memory first ran out."""
    starved: float = 0.0
    """Seconds that the device spent idle, waiting for this batch to be prepared."""


class Said(msgspec.Struct, tag=True, frozen=True):
    """A log record of the child, to be logged by the parent."""

    level: int
    """As in `logging`: 20 is INFO."""
    logger: str
    message: str


ToChild = Start | Load | Run | Forget
FromChild = Ready | Loaded | LoadFailed | Waiting | Moved | Report | Said

encoder: Final = msgspec.msgpack.Encoder()
to_child: Final = msgspec.msgpack.Decoder(ToChild)
from_child: Final = msgspec.msgpack.Decoder(FromChild)


def frame(message: ToChild | FromChild) -> bytes:
    """The encoded message with its length in front."""
    body = encoder.encode(message)
    return LENGTH.pack(len(body)) + body
