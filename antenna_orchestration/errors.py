"""Every error this project raises on purpose.

    AntennaError
    ├── InvalidInput             what the user typed, named or sent cannot be used; nothing was written
    │   ├── InvalidSource        an image source: no such folder, no images, unreadable list, outside IMAGE_ROOTS
    │   ├── UnknownPipeline      no pipeline with that slug is registered
    │   ├── OtherVersion         a job was submitted for another version of a pipeline than the one here
    │   ├── InvalidTable         a file or a list that is read as a whole has faults, which it lists by row and column
    │   ├── InvalidSetting       an ANTENNA_* setting does not parse
    │   ├── TooLarge             a request body over the gateway's limits
    │   └── RangeNotSatisfiable  the bytes of a file that a request asks for lie beyond its end
    ├── Unauthorized             the gateway does not know the caller: no token, or a wrong, expired or revoked one
    ├── Forbidden                the caller's role does not allow this
    ├── TooMany                  the caller asks more often than the gateway allows
    ├── NotFound                 a job, worker or project that does not exist
    ├── Conflict                 the job is not in a state in which this can be done
    ├── Unavailable              a server cannot be reached or gives a wrong answer; a later retry may succeed
    │   ├── QueueFull            a JetStream stream is at its byte limit; publishers slow down
    │   └── LakeUnavailable      files of the lake cannot be read or written now
    │       └── LakeFull         there is no room left for them
    ├── ImageError               one image cannot be processed; the job goes on without it
    │   ├── ImageUnusable        the image's own fault: 404, not an image, truncated, too many pixels
    │   │   └── ImageChanged     the store holds other bytes than those that were submitted
    │   ├── ImageUnreachable     temporary: 5xx, a broken connection; the image is handed back with a delay
    │   │   └── SourceOverloaded the store cannot keep up: 429, 503, a time-out; less is asked of it at a time
    │   └── ImageForbidden       this worker's fault: no rights, no mount, no route; the job rests on this worker
    │       ├── FolderMissing    the image's folder does not exist on this worker
    │       └── NotMounted       the disk that images were read from is away; no image fails for that
    └── InternalError            a bug or a broken installation: a bundled server did not start
        └── DeviceGone           the worker's device was lost again and again; the worker has left in order

Each class knows its HTTP status and the exit status of the `antenna` command, so the edges need one handler.
The message is one line: what is wrong, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable


class AntennaError(Exception):
    """Base of all errors raised on purpose; never raised itself."""

    http_status = 500
    exit_code = 1


class InvalidInput(AntennaError):
    """What the user gave cannot be used; nothing was written."""

    http_status = 400
    exit_code = 2


class InvalidSource(InvalidInput):
    """An image source cannot be read, is not allowed, or holds no images."""


class UnknownPipeline(InvalidInput):
    """No pipeline with that slug is registered."""


class OtherVersion(InvalidInput):
    """A job was submitted for another version of its pipeline than the one here."""


class InvalidTable(InvalidInput):
    """A file, or a list in a request, has faults; nothing of it was imported."""

    MOST_LISTED = 20

    def __init__(self, file: str, faults: Iterable[str]) -> None:
        every = list(faults)
        more = len(every) - self.MOST_LISTED
        self.summary = f"{file}: nothing was imported, {len(every)} {'fault' if len(every) == 1 else 'faults'}"
        self.faults = [*every[: self.MOST_LISTED], *([f"… and {more} more"] if more > 0 else [])]
        super().__init__(f"{self.summary}: {'; '.join(self.faults)}")


class InvalidSetting(InvalidInput):
    """A setting does not parse."""


class TooLarge(InvalidInput):
    """A request body, unpacked, is over the gateway's limits."""

    http_status = 413


class RangeNotSatisfiable(InvalidInput):
    """The bytes of a file that a request asks for lie beyond its end."""

    http_status = 416

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the file has {size} bytes")


class Unauthorized(AntennaError):
    """No token, or one that is wrong, expired or revoked."""

    http_status = 401


class Forbidden(AntennaError):
    """The token's role does not allow this."""

    http_status = 403


class TooMany(AntennaError):
    """More requests than the gateway allows; the same one may be sent a little later."""

    http_status = 429


class NotFound(AntennaError):
    """The thing named does not exist."""

    http_status = 404
    exit_code = 3


class Conflict(AntennaError):
    """The job's state does not allow this."""

    http_status = 409
    exit_code = 4


class Unavailable(AntennaError):
    """A server cannot be reached, or gives a wrong answer; the same call may succeed later."""

    http_status = 503
    exit_code = 5
    to_clients = "Task queue temporarily unavailable"
    """What the gateway's clients read. The message is for the log: it may name servers and folders."""


class QueueFull(Unavailable):
    """A JetStream stream is at its byte limit."""


class LakeUnavailable(Unavailable):
    """Files of the lake, or of another folder or bucket of ours, cannot be read or written."""

    to_clients = "The files of results are temporarily unavailable"


class LakeFull(LakeUnavailable):
    """There is no room left for files of the lake."""

    to_clients = "There is no room left for files of results: whoever runs this system has to free some"


class ImageError(AntennaError):
    """One image cannot be processed. The message is the reason that users read; it never holds a secret."""


class ImageUnusable(ImageError):
    """The image itself is at fault: its failure is final at once."""


class ImageChanged(ImageUnusable):
    """The image changed since it was submitted (submit it again)."""


class ImageUnreachable(ImageError):
    """A temporary fault between worker and store: the task is handed back with a delay."""


class SourceOverloaded(ImageUnreachable):
    """The store cannot keep up (429, 503, a time-out): less is asked of it at a time."""


class ImageForbidden(ImageError):
    """The worker is at fault (rights, DNS, TLS, a missing mount): the task is handed back and the job rests here."""


class FolderMissing(ImageForbidden):
    """The image's folder does not exist here: not mounted, unless the image was submitted on this very host.

    Of a disk that is plainly not mounted here the loader says `ImageForbidden`.
    """


class NotMounted(ImageForbidden):
    """The disk that images were read from is away; whoever waits for it loses nothing."""


class InternalError(AntennaError):
    """A bundled server or a child process of ours failed."""


class DeviceGone(InternalError):
    """A worker's device was lost again and again without a finished batch; the worker has left in order."""

    exit_code = 6
