"""Who a push worker is to the gateway's verbs: a token of its own, that nobody else can have.

One for each project and service, so that a worker that is started again is the one that it was, and gives back what its
earlier life held.
"""

from __future__ import annotations

import contextlib
import hmac
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import access
from antenna_orchestration.domain.access import Role, Token
from antenna_orchestration.processing.tokens import MAX_LABEL

_PURPOSE: Final = b"antenna push "


async def of(http: HttpServices, *, project: str, service: str) -> Token:
    """The token of the worker that pushes this project's jobs to this service; made when there is none.

    Its secret comes from the deployment's key and is stored nowhere. Raises `Forbidden` when somebody revoked it.
    """
    key = hmac.digest(http.settings.secret_key.encode(), _PURPOSE, "sha256")
    secret = hmac.digest(key, f"{project} {service}".encode(), "sha256").hex()
    found = await http.services.catalog.tokens.find(access.digest(secret))
    if found is None:
        fingerprint = access.fingerprint(secret)
        # It is there when two were started at once, or when it was revoked.
        with contextlib.suppress(errors.Conflict):
            await http.services.catalog.tokens.add(
                sha256=access.digest(secret),
                fingerprint=fingerprint,
                role=Role.WORKER,
                label=f"push-{service.partition('://')[2]}"[:MAX_LABEL],
                projects=[project],
                expires_at=None,
            )
        found = await http.services.catalog.tokens.find(access.digest(secret))
    if found is None:
        raise errors.Forbidden(f"token {access.fingerprint(secret)}, by which this worker is known, was revoked")
    return found
