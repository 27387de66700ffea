"""Lists the objects in S3 buckets for submissions, and signs URLs for workers without credentials."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings

logger = logging.getLogger(__name__)

FEW: Final = 8
"""Objects of one folder that are asked for one by one; for more of them the folder is listed."""


def list_objects(uri: str, settings: Settings) -> dict[str, Version]:
    """The objects under a prefix, one object, or those that match a pattern with `*`, `?` or `[...]`, with versions.

    A prefix ends at a slash, whether or not it is written: `s3://traps/night-1` does not include
    `s3://traps/night-10/a.jpg`. Raises `InvalidSource` if the bucket is missing or may not be listed, and `Unavailable`
    if the store cannot be reached.
    """
    path = uri.removeprefix("s3://")
    bucket = path.partition("/")[0]
    if not bucket:
        raise errors.InvalidSource(f"{uri} names no bucket; s3://bucket/prefix does")
    try:
        store = _store(settings)
        found = (store.glob if any(character in path for character in "*?[") else store.find)(path, detail=True)
        return {f"s3://{key}": versions.of_object(found[key]) for key in found if not key.endswith("/")}
    except FileNotFoundError:
        raise errors.InvalidSource(f"there is no bucket {bucket!r}, or these credentials may not see it") from None
    except PermissionError as error:
        raise errors.InvalidSource(f"{uri} may not be listed: {error}; are the AWS credentials set?") from None
    except Exception as error:
        # botocore has its own error classes for connections, credentials and regions; this module does not import it.
        if "credentials" in str(error).lower():
            raise errors.InvalidSource(
                f"{uri} cannot be listed: {error}; ANTENNA_S3_ANONYMOUS=true reads public buckets"
            ) from None
        raise errors.Unavailable(f"{uri} cannot be listed: {error}") from error


def versions_of(uris: Iterable[str], settings: Settings) -> dict[str, Version]:
    """The versions of objects that are named one by one, from listings of their folders.

    Those that cannot be found or listed are left out.
    """
    folders: dict[str, set[str]] = {}
    for uri in uris:
        folders.setdefault(uri.rpartition("/")[0], set()).add(uri)
    store = _store(settings)
    found: dict[str, Version] = {}
    for folder, wanted in folders.items():
        few = len(wanted) <= FEW
        for path in [uri.removeprefix("s3://") for uri in wanted] if few else [folder.removeprefix("s3://")]:
            try:
                entries = [store.info(path)] if few else store.ls(path, detail=True)
            except Exception as error:
                # Whatever the reason, the version is unknown, and the submission says so.
                logger.debug("no version of %s: %s", path, error)
                continue
            found.update((uri, versions.of_object(one)) for one in entries if (uri := f"s3://{one['name']}") in wanted)
    return found


def presign(uris: Iterable[str], settings: Settings, *, valid_for: int) -> list[str]:
    """A signed URL per object, which reads it without credentials for `valid_for` seconds; sends no request.

    Raises `Unavailable` if there are no credentials to sign with.
    """
    store = _store(settings, lasting=True)
    try:
        return [str(store.url(uri.removeprefix("s3://"), expires=valid_for)) for uri in uris]
    except Exception as error:
        raise errors.Unavailable(f"URLs of images in a bucket cannot be signed: {error}") from error


def _store(settings: Settings, *, lasting: bool = False) -> Any:
    """The S3 store of the settings. With `lasting`, one instance per thread is reused; making one takes 0.2 s."""
    import fsspec

    return fsspec.filesystem(
        "s3",
        anon=settings.s3_anonymous,
        endpoint_url=settings.s3_endpoint_url or None,
        # A cached listing of an earlier submission may be out of date.
        use_listings_cache=False,
        skip_instance_cache=not lasting,
    )
