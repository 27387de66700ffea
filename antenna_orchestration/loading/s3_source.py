"""Reads images from S3 and compatible stores. Credentials come from the environment, where boto looks for them."""

from __future__ import annotations

from typing import Any, Final

import botocore.exceptions
import s3fs

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.loading.sources import Reservation, ReservationTooSmall, check_size

CHUNK: Final = 256 * 1024
"""Bytes read at a time."""

_OVERLOADED: Final = frozenset({429, 503})
_NO_CREDENTIALS: Final = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.NoRegionError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSLError,
)


class S3Source:
    """Reads objects over one pooled client, with boto's time-outs and retries per request.

    `limit` is the largest image in bytes, `connections` the largest number of connections at the same time. With
    `requester_pays`, what is read is paid for, in buckets whose owners ask for that.
    """

    def __init__(
        self, *, endpoint_url: str, anonymous: bool, limit: int, connections: int, requester_pays: bool = False
    ) -> None:
        self._limit = limit
        self._connected = False
        self._fs = s3fs.S3FileSystem(
            anon=anonymous,
            endpoint_url=endpoint_url or None,
            requester_pays=requester_pays,
            asynchronous=True,
            skip_instance_cache=True,
            config_kwargs={
                "signature_version": "s3v4",
                "max_pool_connections": connections,
                "connect_timeout": 10,
                "read_timeout": 30,
                "retries": {"max_attempts": 2},
            },
        )
        # The queue redelivers a task whose image could not be loaded. Retrying here as well would take minutes.
        self._fs.retries = 1

    async def fetch(self, uri: str, reservation: Reservation) -> bytes:
        """Read the object that an `s3://bucket/key` URI names.

        Raises `ImageUnusable` when the object is missing or too large, `ImageForbidden` when the bucket is missing or
        the credentials are missing or refused, `ImageUnreachable` for passing faults, and `SourceOverloaded` for
        `SlowDown`.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not key:
            raise errors.ImageUnusable("the s3 URI has no key")
        try:
            return await self._read_named(bucket, key, reservation)
        except FileNotFoundError as error:
            if "bucket" in str(error).lower():
                raise errors.ImageForbidden(f"bucket {bucket}: {_told(error)}") from error
            raise errors.ImageUnusable(f"bucket {bucket}: no such object") from error
        except PermissionError as error:
            raise errors.ImageForbidden(f"bucket {bucket}: {_told(error)}") from error
        except _NO_CREDENTIALS as error:
            raise errors.ImageForbidden(f"bucket {bucket}: {error}") from error
        except (OSError, TimeoutError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
            kind = errors.SourceOverloaded if _status(error) in _OVERLOADED else errors.ImageUnreachable
            raise kind(f"bucket {bucket}: {_first_line(error)}") from error
        except Exception as error:
            # While a body is read, some versions raise errors of aiohttp that are not subclasses of those above.
            if type(error).__module__.partition(".")[0] in ("aiohttp", "aiobotocore", "urllib3"):
                raise errors.ImageUnreachable(f"bucket {bucket}: {_first_line(error)}") from error
            raise

    def host(self, uri: str) -> str:
        """The bucket."""
        return f"s3:{uri.removeprefix('s3://').partition('/')[0]}"

    async def close(self) -> None:
        """Close the connections."""
        if self._connected:
            session, self._connected = await self._fs.set_session(), False
            await session.close()

    async def _read_named(self, bucket: str, key: str, reservation: Reservation) -> bytes:
        """The object of this name; if there is none, and the name ends like a version, that version."""
        name, mark, version = key.rpartition("?versionId=")
        try:
            return await self._read(bucket, key, None, reservation)
        except (FileNotFoundError, PermissionError):
            # Without the right to list, a store answers 403 for what is missing.
            if not mark:
                raise
        return await self._read(bucket, name, version, reservation)

    async def _read(self, bucket: str, key: str, version: str | None, reservation: Reservation) -> bytes:
        await self._fs.set_session()
        self._connected = True
        which: dict[str, Any] = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
        # One request: the answer's headers give the size. The public methods of s3fs make a second request for it.
        answer = await self._fs._call_s3("get_object", **which)
        async with answer["Body"] as body:
            size = answer["ContentLength"]
            reservation.found(versions.of_object({"ETag": answer.get("ETag"), "size": size}).version)
            check_size(answer["ContentLength"], self._limit)
            if answer["ContentLength"] > reservation.size:
                reservation.grow(answer["ContentLength"])
            chunks: list[bytes] = []
            size = 0
            while chunk := await body.read(CHUNK):
                size += len(chunk)
                if size > reservation.size:
                    raise ReservationTooSmall(self._limit)
                chunks.append(chunk)
        return b"".join(chunks)


def _told(error: Exception) -> str:
    """What the store answered, with the code that s3fs leaves out: `HTTP 403 AccessDenied: Access Denied`."""
    answer, status = _answer(error), _status(error)
    code = answer.get("Error", {}).get("Code")
    named = " ".join(filter(None, [f"HTTP {status}" if status else "", code]))
    return ": ".join(filter(None, [named, _first_line(error).rstrip(". ")]))


def _answer(error: Exception) -> dict[str, Any]:
    """What the store answered that s3fs made this error of."""
    cause = error if isinstance(error, botocore.exceptions.ClientError) else error.__cause__
    return dict(cause.response) if isinstance(cause, botocore.exceptions.ClientError) else {}


def _status(error: Exception) -> int | None:
    status: int | None = _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
