"""What lies in an S3 bucket, for a submission to choose from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.settings import Settings


def list_objects(uri: str, settings: Settings) -> list[str]:
    """URIs of the objects under a prefix, of a single object, or matching a pattern with `*`, `?` or `[…]`.

    A prefix ends at a slash, written or not: `s3://traps/night-1` does not hold `s3://traps/night-10/a.jpg`.
    Raises `InvalidSource` when it may not be read or the bucket is missing, `Unavailable` when the store cannot be
    reached.
    """
    path = uri.removeprefix("s3://")
    bucket = path.partition("/")[0]
    if not bucket:
        raise errors.InvalidSource(f"{uri} names no bucket; s3://bucket/prefix does")
    try:
        store = _store(settings)
        found = store.glob(path) if any(character in path for character in "*?[") else store.find(path)
        return [f"s3://{key}" for key in found if not key.endswith("/")]
    except FileNotFoundError:
        raise errors.InvalidSource(f"there is no bucket {bucket!r}, or nothing of it may be seen") from None
    except PermissionError as error:
        raise errors.InvalidSource(f"{uri} may not be listed: {error}; are the AWS credentials set?") from None
    except Exception as error:
        # botocore has its own tree of errors for connections, credentials and regions, and we do not depend on it.
        if "credentials" in str(error).lower():
            raise errors.InvalidSource(
                f"{uri} cannot be listed: {error}; ANTENNA_S3_ANONYMOUS=true reads public buckets"
            ) from None
        raise errors.Unavailable(f"{uri} cannot be listed: {error}") from error


def presign(uris: Iterable[str], settings: Settings, *, valid_for: int) -> list[str]:
    """A URL for each object that reads it without credentials for so many seconds; computed here, nothing is asked.

    Raises `Unavailable` when there are no credentials to sign with.
    """
    store = _store(settings, lasting=True)
    try:
        return [str(store.url(uri.removeprefix("s3://"), expires=valid_for)) for uri in uris]
    except Exception as error:
        raise errors.Unavailable(f"URLs of images in a bucket cannot be signed: {error}") from error


def _store(settings: Settings, *, lasting: bool = False) -> Any:
    """The store as it is configured; a lasting one is made once a thread, which takes a fifth of a second."""
    import fsspec

    return fsspec.filesystem(
        "s3",
        anon=settings.s3_anonymous,
        endpoint_url=settings.s3_endpoint_url or None,
        # A listing of another submission may be old.
        use_listings_cache=False,
        skip_instance_cache=not lasting,
    )
