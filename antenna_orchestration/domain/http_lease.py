"""Leases of workers behind the gateway: how long, how many, and the signed texts that stand for them. Pure.

Every text is `<payload>.<signature>` in URL-safe characters; the signature (HMAC-SHA256 with a key of its own for each
purpose) is checked before the payload is looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId

ACCEPTED_FOR: Final = 7 * 24 * 3600
"""Seconds after leasing within which a result is still accepted, even if the lease expired long before."""

COLD: Final = 32
"""Tasks that a worker may hold until its first results show how fast it is."""

MOST: Final = 10_000
"""Tasks that one worker may hold, however fast it is."""

SILENT_FOR: Final = 60.0
"""Seconds of silence that every worker is allowed; slow batches allow more, see `silence`."""

LONGEST: Final = 6 * 3600.0
"""The longest time in seconds that a lease is kept alive, however slow the worker is."""

QUICKEST: Final = 1e-4
"""Seconds per image; shorter measurements only show the clock's resolution."""

_DECAY: Final = 0.8
"""Weight that earlier measurements keep when a new one arrives."""


class LeaseClaim(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The content of a lease token: this worker holds this delivery of this task."""

    job: JobId
    generation: Generation
    image: ImageId
    delivery: int
    epoch: Epoch
    sequence: int
    """The number of the task's message in the stream TASKS."""
    place: int
    """The delivery's number among all of the consumer's deliveries."""
    worker: int
    """The token that the worker authenticates with."""
    expires: int
    """Unix seconds."""


class ImageClaim(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """The content of an image URL: whoever has the URL may read this capture."""

    image: ImageId
    expires: int


C = TypeVar("C", LeaseClaim, ImageClaim)
_PURPOSES: Final[dict[type, bytes]] = {LeaseClaim: b"antenna lease", ImageClaim: b"antenna image"}


class Signer:
    """Signs and checks claims with the deployment's secret key, which all gateways share."""

    def __init__(self, secret_key: str) -> None:
        if not secret_key:
            raise errors.InvalidSetting("ANTENNA_SECRET_KEY is not set: `antenna up` makes one, all gateways share it")
        self._keys = {kind: hmac.digest(secret_key.encode(), purpose, "sha256") for kind, purpose in _PURPOSES.items()}

    def sign(self, claim: LeaseClaim | ImageClaim) -> str:
        """The claim as a signed text, which nobody without this key can produce."""
        payload = msgspec.msgpack.encode(claim)
        return f"{_text(payload)}.{_text(self._signature(type(claim), payload))}"

    def read(self, kind: type[C], text: str, *, now: float) -> C:
        """The claim in a signed text. Raises `InvalidInput` when the signature is wrong or the claim has expired."""
        try:
            payload, signature = (_bytes(part) for part in text.split(".", 1))
        except (ValueError, binascii.Error):
            raise errors.InvalidInput("not signed by this deployment") from None
        if not hmac.compare_digest(signature, self._signature(kind, payload)):
            raise errors.InvalidInput("not signed by this deployment")
        claim = msgspec.msgpack.decode(payload, type=kind)
        if claim.expires < now:
            raise errors.InvalidInput("expired")
        return claim

    def _signature(self, kind: type, payload: bytes) -> bytes:
        return hmac.digest(self._keys[kind], payload, hashlib.sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpWorkerSpeed:
    """How fast a worker is, measured from its results."""

    # Seconds and images of late, each measurement weighing 0.8 of the next.
    seconds: float = 0.0
    images: float = 0.0
    # Seconds from lease to result, of late; 0 before the first result.
    batch: float = 0.0

    @property
    def per_image(self) -> float | None:
        """Seconds per image; None before the first result."""
        return max(self.seconds / self.images, QUICKEST) if self.images else None

    def after(self, images: int, *, seconds: float, batch: float) -> HttpWorkerSpeed:
        """The speed with `images` more images, done in `seconds`, each `batch` seconds after its lease."""
        return HttpWorkerSpeed(
            seconds=self.seconds * _DECAY + max(seconds, 0.0),
            images=self.images * _DECAY + images,
            batch=batch if not self.batch else self.batch * _DECAY + batch * (1 - _DECAY),
        )

    def lease(self, http_lease: float) -> float:
        """Seconds that a lease is kept alive: the setting, or three batches of a slow worker."""
        return max(http_lease, min(3 * self.batch, LONGEST))

    def silence(self, http_lease: float) -> float:
        """Silence, in seconds, after which a worker is considered dead; longest while it still loads its models."""
        if not self.batch:
            return http_lease
        return min(max(SILENT_FOR, 3 * self.batch), self.lease(http_lease))

    def may_hold(self, http_lease: float) -> int:
        """Tasks that the worker may hold at once: what it finishes within half a lease."""
        if self.per_image is None:
            return COLD
        return max(1, min(int(http_lease / 2 / self.per_image), MOST))
