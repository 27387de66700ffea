"""Authentication and rate limits: a request's token is looked up in the catalog and remembered for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, NoReturn, cast
from weakref import WeakValueDictionary

from fastapi import Request

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Token
from antenna_orchestration.gateway.clients import client_of, neighbourhood
from antenna_orchestration.processing import submit

logger = logging.getLogger(__name__)

REMEMBERED: Final = 5.0
"""Seconds for which a looked-up token is trusted; a revoked token works for at most so long."""

MOST: Final = 10_000
"""Largest number of tokens, and of rate limits, that are remembered."""

STRANGERS_RATE: Final = 10.0
"""Requests per second from one address without a token that is known to be right."""

BURST: Final = 10
"""Size of a caller's token bucket, in seconds of its rate."""

POSTS_AT_ONCE: Final = 8
"""Posts per token that are received at the same time, which bounds the memory and disk they use; existing workers post
two at a time."""

POSTS_THAT_WAIT: Final = 256
"""Further ones that wait, each with up to a quarter of a megabyte that the connection has read."""

READ_AT_ONCE: Final = 2
"""Large bodies other than posts of results that are in memory at the same time, one of each token."""

SCHEMES: Final = ("token", "api-key", "bearer")

WRONG: Final = "Invalid token."
MISSING: Final = "Authentication credentials were not provided."


@dataclass(slots=True)
class _Known:
    token: Token
    since: float


@dataclass(slots=True)
class _Bucket:
    """A caller's token bucket, for its rate limit."""

    left: float
    at: float


class _Turns:
    """The posts of one token that are received or wait for that."""

    def __init__(self, semaphore: asyncio.Semaphore) -> None:
        self.semaphore = semaphore
        self.asked = 0


class Callers:
    """Authenticates callers. A token is looked up again after a few seconds, so that revoking it takes effect soon."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._posting: WeakValueDictionary[int, _Turns] = WeakValueDictionary()
        self._reading_own: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        self._reading = asyncio.Semaphore(READ_AT_ONCE)
        self._submitting: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def authenticate(self, request: Request) -> Token:
        """The request's token, looked up once per request. Raises `Unauthorized`, `TooMany`, `Unavailable`."""
        if (caller := getattr(request.state, "caller", None)) is None:
            token = await self._authenticate(request)
            caller = request.state.caller = replace(token, client=client_of(request))
        return cast(Token, caller)

    async def _authenticate(self, request: Request) -> Token:
        address = request.client.host if request.client else "unknown"
        secret = _secret(request.headers.get("authorization", ""))
        # Strangers are limited by their address, so that they cannot flood the catalog, the counters and the log.
        stranger = f"address {neighbourhood(address)}"
        if not secret:
            self._spend(stranger, STRANGERS_RATE)
            await self._refuse(address, MISSING, "none")
        request.state.fingerprint = access.fingerprint(secret)
        digest = access.digest(secret)
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.since > REMEMBERED:
            if known is None:
                # Before the catalog is asked. A token that was right a while ago is not a stranger's.
                self._spend(stranger, STRANGERS_RATE)
            found = await self._http.services.catalog.tokens.find(digest)
            if found is None:
                self._known.pop(digest, None)
                await self._refuse(address, WRONG, request.state.fingerprint)
            if known is None:
                self._give_back(stranger)
            await self._http.services.catalog.tokens.note_use(found.token_id)
            known = self._known[digest] = _Known(found, time.monotonic())
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        # Not for posts of results, which are work already done: their size and the number of leases bound them.
        if not request.url.path.rstrip("/").endswith("/result"):
            self._spend(f"token {known.token.token_id}", self._http.settings.gateway_rate)
        connection = getattr(request.state, "connection", None)
        if connection is not None and not connection.is_owned_by(f"token {known.token.token_id}"):
            raise errors.TooMany("too many connections with this token")
        return known.token

    @asynccontextmanager
    async def posting(self, caller: Token) -> AsyncIterator[None]:
        """Held while a post of results is received; a caller that sends many slow posts delays only its own.

        Raises `TooMany` for a caller of which too many posts wait already.
        """
        turns = self._posting.get(caller.token_id)
        if turns is None:
            turns = self._posting[caller.token_id] = _Turns(asyncio.Semaphore(POSTS_AT_ONCE))
        if turns.asked >= POSTS_AT_ONCE + POSTS_THAT_WAIT:
            raise errors.TooMany(f"{POSTS_THAT_WAIT} posts of this token wait already")
        turns.asked += 1
        try:
            async with turns.semaphore:
                yield
        finally:
            turns.asked -= 1

    @asynccontextmanager
    async def reading(self, caller: Token) -> AsyncIterator[None]:
        """Held while a large body of another kind is in memory, with what is made of it."""
        own = self._reading_own.get(caller.token_id)
        if own is None:
            own = self._reading_own[caller.token_id] = asyncio.Semaphore(1)
        async with own, self._reading:
            yield

    @asynccontextmanager
    async def submitting(self, caller: Token) -> AsyncIterator[None]:
        """Held while a submission or retry is made: a token leaves others half of the threads that look for images."""
        own = self._submitting.get(caller.token_id)
        if own is None:
            own = self._submitting[caller.token_id] = asyncio.Semaphore(submit.THREADS // 2)
        async with own:
            yield

    def _spend(self, caller: str, rate: float) -> None:
        """Take one token from the caller's bucket. Raises `TooMany` when it is empty."""
        now = time.monotonic()
        bucket = self._buckets.pop(caller, None) or _Bucket(rate * BURST, now)
        bucket.left = min(rate * BURST, bucket.left + (now - bucket.at) * rate)
        bucket.at = now
        self._buckets[caller] = bucket
        while len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            raise errors.TooMany("too many requests; slow down")
        bucket.left -= 1

    def _give_back(self, caller: str) -> None:
        if (bucket := self._buckets.get(caller)) is not None:
            bucket.left += 1

    async def _refuse(self, address: str, why: str, fingerprint: str) -> NoReturn:
        logger.warning("rejected a caller at %s, token %s: %s", address, fingerprint, why)
        try:
            await self._http.live.workers.reject(address, now=await self._http.live.leases.now())
        except errors.Unavailable as error:
            logger.debug("the rejected caller is not counted: %s", error)
        raise errors.Unauthorized(why)


def _secret(header: str) -> str:
    """The token in an Authorization header; empty for none, an unknown scheme or one that is too long."""
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    return secret if scheme.lower() in SCHEMES and len(secret) <= access.LARGEST else ""
