"""Lists the objects in S3 buckets for submissions, and signs URLs for workers without credentials."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.versions import Version
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import patterns
from antenna_orchestration.submission.patterns import MAGIC

logger = logging.getLogger(__name__)

VERSION: Final = "?versionId="
"""Begins the version of an object at the end of its location, unless the bucket has an object of the whole name."""

FEW: Final = 8
"""Objects of one folder that are asked for one by one; for more of them the folder is listed."""


_ASKED_AT_ONCE: Final = 16
"""Questions about single versions at the same time; they only wait."""


Entry = tuple[str, Mapping[str, Any]]
"""A key, with what the store says of its object: `ETag`, `Size`, `LastModified`."""


def list_objects(uri: str, settings: Settings, *, check: Callable[[], None] = lambda: None) -> dict[str, Version]:
    """The objects under a prefix, one object, or those that match a pattern with `*`, `?` or `[...]`, with versions.

    A name is a name first: what exists with this name, brackets included, is meant. A pattern that matches folders
    means everything in them, as it does for local folders. A prefix ends at a slash, whether or not it is written:
    `s3://traps/night-1` does not include `s3://traps/night-10/a.jpg`. `s3://traps/a.jpg?versionId=x` is one version.

    `check` is called for each page of a listing, and may raise `InvalidSource`.

    Raises `InvalidSource` if the bucket is missing or may not be listed, and `Unavailable` if the store cannot be
    reached.
    """
    bucket, key = _named_in(uri)
    with _told(uri, bucket):
        store = _store(settings)
        found = dict(_named(store, bucket, key, check))
        if not found and VERSION in key and (described := _described(store, bucket, key)):
            found = {key: described}
        if not found and MAGIC.search(key):
            found = dict(_matching(store, bucket, key, check))
        return {f"s3://{bucket}/{name}": versions.of_object(described) for name, described in found.items()}


def list_after(uri: str, after: str, settings: Settings, *, most: int = 1000) -> tuple[list[tuple[str, Version]], bool]:
    """One page of what is under a prefix, whose names come after `after` (a URI; empty: from the beginning).

    In the store's order, that of UTF-8; whether there are more. Raises as `list_objects`.
    """
    bucket, key = _named_in(uri)
    with _told(uri, bucket):
        # One for each thread: making one takes 0.2 s.
        store = _store(settings, lasting=True)
        start = {"StartAfter": after.removeprefix(f"s3://{bucket}/")} if after else {}
        prefix = f"{key.rstrip('/')}/" if key else ""
        page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **start)
        found = [(f"s3://{bucket}/{one['Key']}", versions.of_object(one)) for one in page.get("Contents", ())]
        return found, bool(page.get("IsTruncated"))


def _named_in(uri: str) -> tuple[str, str]:
    """The bucket of a URI, and the rest of it."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise errors.InvalidSource(f"{uri} names no bucket; s3://bucket/prefix does")
    if MAGIC.search(bucket):
        raise errors.InvalidSource(f"{uri}: the name of a bucket cannot be a pattern; name each bucket")
    return bucket, key


@contextmanager
def _told(uri: str, bucket: str) -> Iterator[None]:
    """Make ours of the errors of a listing."""
    try:
        yield
    except FileNotFoundError:
        raise errors.InvalidSource(f"there is no bucket {bucket!r}, or these credentials may not see it") from None
    except PermissionError as error:
        raise errors.InvalidSource(f"{uri} may not be listed: {error}; are the AWS credentials set?") from None
    except errors.InvalidSource:
        raise
    except Exception as error:
        # botocore has its own error classes for connections, credentials and regions; this module does not import it.
        if "credentials" in str(error).lower():
            raise errors.InvalidSource(
                f"{uri} cannot be listed: {error}; ANTENNA_S3_ANONYMOUS=true reads public buckets"
            ) from None
        raise errors.Unavailable(f"{uri} cannot be listed: {error}") from error


def versions_of(uris: Iterable[str], settings: Settings) -> dict[str, Version]:
    """The versions of objects that are named one by one, from listings of their folders.

    One version of an object, named by its end `?versionId=`, is asked for by itself. Those that cannot be found or
    listed are left out.
    """
    folders: dict[str, set[str]] = {}
    single: set[str] = set()
    for uri in uris:
        if VERSION in uri:
            # No listing shows it, and s3fs takes the end of a name off.
            single.add(uri)
        else:
            folders.setdefault(uri.rpartition("/")[0], set()).add(uri)
    store = _store(settings)
    with ThreadPoolExecutor(max_workers=_ASKED_AT_ONCE, thread_name_prefix="versions") as pool:
        told = pool.map(lambda uri: _version_of_one(store, uri), single)
        found = {uri: version for uri, version in zip(single, told, strict=True) if version}
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


def _version_of_one(store: Any, uri: str) -> Version | None:
    """The version of what a location with `?versionId=` names: an object of this whole name, else that version."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        exact = next((described for name, described in _keys(store, bucket, key, most=1) if name == key), None)
    except Exception as error:
        # Without the right to list, the version may be readable all the same.
        logger.debug("%s cannot be listed: %s", uri, error)
        exact = None
    try:
        described = exact or _described(store, bucket, key)
    except Exception as error:
        # Whatever the reason, the version is unknown, and the submission says so.
        logger.debug("no version of %s: %s", uri, error)
        return None
    return versions.of_object(described) if described else None


def presign(uris: Iterable[str], settings: Settings, *, valid_for: int) -> list[str]:
    """A signed URL per object, which reads it without credentials for `valid_for` seconds.

    It sends no request, but one for each new bucket, to learn its region, and one for each object with a version.
    Raises `Unavailable` if there are no credentials to sign with.
    """
    from fsspec import asyn

    store = _store(settings, lasting=True)

    async def sign() -> list[str]:
        await store.set_session()
        signed = []
        for uri in uris:
            bucket, _, key = uri.removeprefix("s3://").partition("/")
            which = {"Bucket": bucket, "Key": key}
            if VERSION in key and not await _exists(store, bucket, key):
                which = _version(bucket, key)
            client = await store.get_s3(bucket)
            if settings.s3_requester_pays:
                client.meta.events.register("before-sign.s3.GetObject", _pay_by_query, unique_id="antenna-pays")
            signed.append(await client.generate_presigned_url("get_object", Params=which, ExpiresIn=valid_for))
        return signed

    try:
        urls: list[str] = asyn.sync(store.loop, sign)
    except Exception as error:
        raise errors.Unavailable(f"URLs of images in a bucket cannot be signed: {error}") from error
    return urls


def _pay_by_query(request: Any, **_: Any) -> None:
    """Put the consent to pay into the URL. botocore would make it a header, which no browser sends."""
    request.url += ("&" if "?" in request.url else "?") + "x-amz-request-payer=requester"


def _named(store: Any, bucket: str, key: str, check: Callable[[], None]) -> Iterator[Entry]:
    """The object of this name, and those in the folder of this name."""
    if key and not key.endswith("/"):
        yield from (entry for entry in _keys(store, bucket, key, most=1) if entry[0] == key)
    yield from _keys(store, bucket, f"{key.rstrip('/')}/" if key else "", check=check)


def _matching(store: Any, bucket: str, key: str, check: Callable[[], None]) -> Iterator[Entry]:
    magic = MAGIC.search(key)
    pattern = patterns.Pattern(key)
    for entry in _keys(store, bucket, key[: magic.start()] if magic else key, check=check):
        if patterns.matches(pattern, entry[0].split("/")):
            yield entry


def _keys(
    store: Any, bucket: str, prefix: str, *, most: int = 1000, check: Callable[[], None] = lambda: None
) -> Iterator[Entry]:
    """The keys that begin with the prefix, with their entries, in the store's order; none that stands for a folder."""
    more: dict[str, str] = {}
    while True:
        check()
        page = store.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **more)
        yield from ((found["Key"], found) for found in page.get("Contents", ()) if not found["Key"].endswith("/"))
        if most == 1 or not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _version(bucket: str, key: str) -> dict[str, str]:
    name, _, version = key.rpartition(VERSION)
    return {"Bucket": bucket, "Key": name, "VersionId": version}


def _described(store: Any, bucket: str, key: str) -> Mapping[str, Any] | None:
    """What the store says of one version of an object; None without it: then it may be a pattern."""
    try:
        described: Mapping[str, Any] = store.call_s3("head_object", **_version(bucket, key))
    except (OSError, ValueError) as error:
        logger.debug("s3://%s/%s is not a version: %s", bucket, key, error)
        return None
    return {**described, "Size": described.get("ContentLength")}


async def _exists(store: Any, bucket: str, key: str) -> bool:
    try:
        await store._call_s3("head_object", Bucket=bucket, Key=key)
    except OSError:
        return False
    return True


def _store(settings: Settings, *, lasting: bool = False) -> Any:
    """The S3 store of the settings. With `lasting`, one instance per thread is reused; making one takes 0.2 s."""
    import fsspec

    return fsspec.filesystem(
        "s3",
        anon=settings.s3_anonymous,
        endpoint_url=settings.s3_endpoint_url or None,
        requester_pays=settings.s3_requester_pays,
        # botocore signs URLs in the old way, which many stores and regions refuse, unless told otherwise. The new way
        # needs the bucket's region.
        config_kwargs={"signature_version": "s3v4"},
        cache_regions=not settings.s3_endpoint_url,
        # A cached listing of an earlier submission may be out of date.
        use_listings_cache=False,
        skip_instance_cache=not lasting,
    )
