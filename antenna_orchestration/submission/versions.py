"""Looks up which bytes the images of a submission are: their versions, from disks, bucket listings and web servers.

No image is read. A store that does not say leaves the version unknown, which is a warning and no error.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import buckets


def fill(
    images: Sequence[SubmittedImage], listed: Mapping[str, Version], settings: Settings
) -> tuple[list[SubmittedImage], list[str]]:
    """The images with the versions that could be found, and warnings.

    `listed` are versions known from listings; of an unknown one among them no store is asked again.

    Those of local files are known from when they were found. Call it on a thread: it blocks for as long as the stores
    need, web servers for a minute at most.
    """
    found = dict(listed)
    web = [link for image in images if image.uri.startswith("http") and (link := image.link or image.uri) not in found]
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
        if image.uri.startswith("file:"):
            filled.append(image)
            continue
        known = found.get(image.link or image.uri, Version())
        if not known.version:
            unknown[_store_of(image.uri)] += 1
        filled.append(image._replace(version=known.version, modified_at=known.modified_at))
    return filled, [_warning(store, count) for store, count in sorted(unknown.items())]


def _warning(store: str, count: int) -> str:
    whose = counted(count, "image")
    return f"{store} does not say which version {whose} {'is' if count == 1 else 'are'}: known by URL only"


def _store_of(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
