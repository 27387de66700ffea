"""Who calls: the token in the request's header, looked up in the catalog, and how often it may call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NoReturn, cast
from weakref import WeakValueDictionary

from fastapi import Request

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Token

logger = logging.getLogger(__name__)

REMEMBERED: Final = 5.0
"""Seconds that a looked-up token is trusted; a revoked one works for so long at most."""

MOST: Final = 10_000
"""Callers remembered at once."""

BURST: Final = 10
"""Seconds of a caller's rate that it may use at once."""

POSTS_AT_ONCE: Final = 8
"""Posts of one token that are read at the same time, which bounds what they take of memory and disk; existing workers
post two at a time."""

SCHEMES: Final = ("token", "api-key", "bearer")

WRONG: Final = "Invalid token."
MISSING: Final = "Authentication credentials were not provided."


@dataclass(slots=True)
class _Known:
    token: Token
    since: float


@dataclass(slots=True)
class _Bucket:
    """What is left of a caller's requests."""

    left: float
    at: float


class Callers:
    """Knows callers. Looks a token up again after a few seconds, so that a revoked one ends soon."""

    def __init__(self, http: HttpServices) -> None:
        self._http = http
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._posting: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    async def authenticate(self, request: Request) -> Token:
        """The token that the request came with, looked up once. Raises `Unauthorized`, `TooMany`, `Unavailable`."""
        if (caller := getattr(request.state, "caller", None)) is None:
            caller = request.state.caller = await self._authenticate(request)
        return cast(Token, caller)

    async def _authenticate(self, request: Request) -> Token:
        address = request.client.host if request.client else "unknown"
        secret = _secret(request.headers.get("authorization", ""))
        if not secret:
            # Who has nothing to say is slowed down by its address, so that nobody floods the counts below.
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
        # A post of results is work already done: it is bounded by its size and by what was leased.
        if not request.url.path.rstrip("/").endswith("/result"):
            self._spend(f"token {known.token.token_id}", self._http.settings.gateway_rate)
        return known.token

    def posting(self, caller: Token) -> asyncio.Semaphore:
        """To be held while a post of results is read; a caller that sends many slowly keeps only itself waiting."""
        held = self._posting.get(caller.token_id)
        if held is None:
            held = self._posting[caller.token_id] = asyncio.Semaphore(POSTS_AT_ONCE)
        return held

    def _spend(self, caller: str, rate: float) -> None:
        """Take one request from the caller's bucket. Raises `TooMany` when it is empty."""
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
    """The token in an Authorization header; empty when there is none in a form that we know."""
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    return secret if scheme.lower() in SCHEMES and len(secret) <= access.LARGEST else ""
