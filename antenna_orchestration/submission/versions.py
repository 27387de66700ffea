"""Looks up which bytes the images of a submission are: their versions, from disks, bucket listings and web servers.

No image is read. A store that does not say leaves the version unknown, which is a warning and no error.
"""

# There may be hundreds of thousands of paths, and a Path object costs ten times as much as a string.
# ruff: noqa: PTH116
from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import addresses, versions
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets

_PLAIN_PATH: Final = re.compile(r"file://(/[^%?#]*)", re.DOTALL)


def fill(
    images: Sequence[SubmittedImage], listed: Mapping[str, Version], settings: Settings
) -> tuple[list[SubmittedImage], list[str]]:
    """The images with the versions that could be found, and warnings. `listed` are versions known from listings.

    Call it on a thread: it blocks for as long as the stores need, web servers for a minute at most.
    """
    found = dict(listed)
    web = [image.uri for image in images if image.uri.startswith("http")]
    objects = [image.uri for image in images if image.uri.startswith("s3:") and image.uri not in found]
    if objects:
        found.update(buckets.versions_of(objects, settings))
    if web:
        # Not imported for folders: aiohttp takes a fifth of a second.
        from antenna_orchestration.loading import http_versions

        found.update(asyncio.run(http_versions.ask(web, allow_private=settings.allow_private_hosts)))
    filled = []
    unknown: Counter[str] = Counter()
    for image in images:
        uri = image.uri
        known = _of_file(uri) if uri.startswith("file:") else found.get(uri, Version())
        if not known.version and not uri.startswith("file:"):
            unknown[_store_of(uri)] += 1
        filled.append(SubmittedImage(uri, image.captured_at, image.deployment, known.version, known.modified_at))
    return filled, [_warning(store, count) for store, count in sorted(unknown.items())]


def _warning(store: str, count: int) -> str:
    whose = "1 image" if count == 1 else f"{count} images"
    return f"{store} does not say which version {whose} {'is' if count == 1 else 'are'}: known by URL only"


def _store_of(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _of_file(uri: str) -> Version:
    match = _PLAIN_PATH.fullmatch(uri)
    try:
        status = os.stat(match.group(1) if match else addresses.path_of(uri))
    except (OSError, ValueError):
        # A worker will say what is wrong with it.
        return Version()
    return versions.of_file(size=status.st_size, mtime_ns=status.st_mtime_ns)
