"""Authentication and rate limits: a request's token is looked up in the catalog and remembered for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final, NoReturn, cast
from weakref import WeakValueDictionary

from fastapi import Request

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Token
from antenna_orchestration.gateway.clients import client_of

logger = logging.getLogger(__name__)

REMEMBERED: Final = 5.0
"""Seconds for which a looked-up token is trusted; a revoked token works for at most so long."""

MOST: Final = 10_000
"""Largest number of tokens, and of rate limits, that are remembered."""

BURST: Final = 10
"""Size of a caller's token bucket, in seconds of its rate."""

POSTS_AT_ONCE: Final = 8
"""Posts per token that are received at the same time, which bounds the memory and disk they use; existing workers post
two at a time."""

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


class Callers:
    """Authenticates callers. A token is looked up again after a few seconds, so that revoking it takes effect soon."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._posting: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def authenticate(self, request: Request) -> Token:
        """The request's token, looked up once per request. Raises `Unauthorized`, `TooMany`, `Unavailable`."""
        if (caller := getattr(request.state, "caller", None)) is None:
            token = await self._authenticate(request)
            caller = request.state.caller = replace(token, client=client_of(request))
        return cast(Token, caller)

    async def _authenticate(self, request: Request) -> Token:
        address = request.client.host if request.client else "unknown"
        secret = _secret(request.headers.get("authorization", ""))
        if not secret:
            # Strangers are limited by their address, so that they cannot flood the counters and the log.
            self._spend(f"address {address}", 1)
            await self._refuse(address, MISSING, "none")
        request.state.fingerprint = access.fingerprint(secret)
        digest = access.digest(secret)
        known = self._known.get(digest)
        if known is None or time.monotonic() - known.since > REMEMBERED:
            found = await self._http.services.catalog.tokens.find(digest)
            if found is None:
                self._known.pop(digest, None)
                self._spend(f"address {address}", 1)
                await self._refuse(address, WRONG, request.state.fingerprint)
            await self._http.services.catalog.tokens.note_use(found.token_id)
            known = self._known[digest] = _Known(found, time.monotonic())
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        # Not for posts of results, which are work already done: their size and the number of leases bound them.
        if not request.url.path.rstrip("/").endswith("/result"):
            self._spend(f"token {known.token.token_id}", self._http.settings.gateway_rate)
        return known.token

    def posting(self, caller: Token) -> asyncio.Semaphore:
        """Held while a post of results is received; a caller that sends many slow posts delays only its own."""
        held = self._posting.get(caller.token_id)
        if held is None:
            held = self._posting[caller.token_id] = asyncio.Semaphore(POSTS_AT_ONCE)
        return held

    def _spend(self, caller: str, rate: float) -> None:
        """Take one token from the caller's bucket. Raises `TooMany` when it is empty."""
        rate = max(rate, 10.0) if caller.startswith("address") else rate
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
