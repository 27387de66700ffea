"""Redis, and the translation of its errors into ours."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis.asyncio
import redis.exceptions

from antenna_orchestration import errors, server_urls

logger = logging.getLogger(__name__)

_ERRORS: Final = (redis.exceptions.RedisError, OSError)


def connect(redis_url: str) -> Any:
    """A pool of connections; each is made at its first use.

    `Any`, because the library's own types also allow for answers in bytes.
    """
    client = redis.asyncio.Redis.from_url(
        redis_url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, health_check_interval=15
    )
    pool = client.connection_pool
    pool.connection_class = _breaking_cleanly(pool.connection_class)
    return client


def _breaking_cleanly(connection_class: type[Any]) -> type[Any]:
    """A kind of connection on which writing raises nothing but `OSError` once it is lost: redis-py then makes another.

    asyncio's `writelines`, which redis-py calls, breaks on a lost connection (Python 3.12 and 3.13).
    """

    class Connection(connection_class):  # type: ignore[misc]
        async def _send_packed_command(self, command: Iterable[bytes]) -> None:
            try:
                self._writer.write(b"".join(command))
                await self._writer.drain()
            except (RuntimeError, AttributeError) as error:
                # uvloop's word for a connection that was lost; and there is no writer after another task's disconnect.
                raise ConnectionResetError(f"the connection was lost ({error})") from error

    return Connection


async def close(client: Any) -> None:
    """Close all connections. Never raises: what was done over them is done, however slowly they close."""
    try:
        await client.aclose()
    except _ERRORS as error:
        logger.debug("a connection to Redis was not closed in time: %s", error)


async def check(client: Any, redis_url: str) -> None:
    """Raise `Unavailable` when the server does not answer now."""
    try:
        await client.ping()
    except _ERRORS as error:
        shown = server_urls.without_password(redis_url)
        raise errors.Unavailable(f"Redis at {shown} cannot be reached: {error}") from error


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what redis-py raises into `Unavailable`, with what was being done in front."""
    try:
        yield
    except _ERRORS as error:
        raise errors.Unavailable(f"{what}: Redis: {str(error) or type(error).__name__}") from error
