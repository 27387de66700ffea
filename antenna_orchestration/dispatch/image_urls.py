"""Image URLs for workers behind the gateway: presigned for buckets, signed by us for local files, else unchanged."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.lease import Leased
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import addresses
from antenna_orchestration.domain.http_lease import ImageClaim
from antenna_orchestration.submission import buckets, kinds

SHORTEST: Final = 3600
"""Seconds for which a URL is valid at least, counted from when its task is leased."""


async def urls_of(http: HttpServices, leased: Sequence[Leased], *, base: str) -> list[str]:
    """A URL per leased task, in order; `base` is the gateway's address as the worker knows it. Raises `Unavailable`."""
    valid_for = int(max(SHORTEST, 2 * http.settings.http_lease))
    in_buckets = [one.uri for one in leased if one.uri.startswith("s3://")]
    signed = (
        await asyncio.to_thread(buckets.presign, in_buckets, http.settings, valid_for=valid_for) if in_buckets else []
    )
    presigned = dict(zip(in_buckets, signed, strict=True))
    expires = int(time.time()) + valid_for
    return [
        f"{base}/api/v2/images/{http.signer.sign(ImageClaim(image=one.image, expires=expires))}"
        if one.uri.startswith("file://")
        else presigned.get(one.uri, one.uri)
        for one in leased
    ]


async def local_file(http: HttpServices, signed: str) -> Path:
    """The file that a signed URL is for. Raises `NotFound` for any other text, without the reason."""
    try:
        claim = http.signer.read(ImageClaim, signed, now=time.time())
    except errors.InvalidInput:
        raise errors.NotFound("no such image, or the link has expired") from None
    uri = await http.services.catalog.images.get_url(claim.image)
    path = await asyncio.to_thread(path_of, http, uri)
    if path is None:
        raise errors.NotFound("no such image, or the link has expired")
    return path


def path_of(http: HttpServices, uri: str) -> Path | None:
    """The file that a local image's URI names, if this gateway may read it; None for another URI, too. Blocks."""
    return _checked(addresses.path_of(uri), http.settings.image_roots) if uri.startswith("file:///") else None


def _checked(path: str, roots: Sequence[Path]) -> Path | None:
    """The real path of what was submitted; None outside the roots, and for a link to anything but an image.

    A link may have taken the file's place since, and whoever could put it there is not to read other files through us.
    """
    try:
        real = Path(os.path.realpath(path))
        if not stat.S_ISREG(real.stat().st_mode):
            return None
        if roots and not any(real.is_relative_to(root.resolve()) for root in roots):
            return None
        if str(real) == path:
            return real
        with real.open("rb") as file:
            return real if kinds.begins_like_an_image(file.read(16)) else None
    except OSError:
        return None
