"""Redis, and the translation of its errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis.asyncio
import redis.exceptions

from antenna_orchestration import errors


def connect(redis_url: str) -> Any:
    """A pool of connections; each is made at its first use. The library's own types allow for answers in bytes, too."""
    return redis.asyncio.Redis.from_url(
        redis_url, decode_responses=True, socket_timeout=2, socket_connect_timeout=2, health_check_interval=15
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what redis-py raises into `Unavailable`, with what was being done in front."""
    try:
        yield
    except (redis.exceptions.RedisError, OSError) as error:
        raise errors.Unavailable(f"{what}: Redis: {str(error) or type(error).__name__}") from error
