"""A push worker's identity for the verbs of `dispatch`: a token that nobody else can have.

There is one per project and service. So a worker that is restarted has the same identity, and hands back what its
earlier process held.
"""

from __future__ import annotations

import contextlib
import hmac
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Role, Token

_PURPOSE: Final = b"antenna push "


async def worker_token(http: HttpServices, *, project: str, service: str) -> Token:
    """The token of the worker that pushes this project's jobs to this service; created when there is none.

    Its secret is derived from the deployment's key and is not stored. Raises `Forbidden` when the token was revoked.
    """
    key = hmac.digest(http.settings.secret_key.encode(), _PURPOSE, "sha256")
    secret = hmac.digest(key, f"{project} {service}".encode(), "sha256").hex()
    found = await http.services.catalog.tokens.find(access.digest(secret))
    if found is None:
        fingerprint = access.fingerprint(secret)
        # There is one already when two workers start at once, or when it was revoked.
        with contextlib.suppress(errors.Conflict):
            await http.services.catalog.tokens.add(
                sha256=access.digest(secret),
                fingerprint=fingerprint,
                role=Role.WORKER,
                label=f"push-{service.partition('://')[2]}"[: access.MAX_LABEL],
                projects=[project],
                expires_at=None,
                by="antenna push",
            )
        found = await http.services.catalog.tokens.find(access.digest(secret))
    if found is None:
        raise errors.Forbidden(f"token {access.fingerprint(secret)}, by which this worker is known, was revoked")
    return found
