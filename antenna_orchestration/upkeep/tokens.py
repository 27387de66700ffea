"""Tokens: created, shown once, listed by their fingerprints, revoked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import access, ids
from antenna_orchestration.domain.access import Role, Token
from antenna_orchestration.domain.texts import storable
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class NewToken:
    """A new token with its secret, which is shown only once."""

    secret: str
    fingerprint: str
    name: str
    expires_at: datetime | None


async def create(
    services: Services,
    *,
    role: Role,
    projects: Sequence[str],
    label: str = "",
    valid_days: float | None = None,
    by: str = "",
) -> NewToken:
    """Make a token for projects; one that is not there yet is made. Only its digest is stored.

    `by` is who makes it: whoever runs this process if not said. An admin's or a monitor's token
    without projects is for all. Raises `InvalidInput`, `Unavailable`.
    """
    if not projects and role not in access.OF_ALL:
        raise errors.InvalidInput(f"a token of the role {role} is for projects: name one with --project")
    for project in projects:
        ids.slug(project, "project")
    access.check_label(label)
    expires_at = datetime.now(UTC) + timedelta(days=valid_days) if valid_days else None
    secret = access.new_secret()
    await services.catalog.tokens.add(
        sha256=access.digest(secret),
        fingerprint=access.fingerprint(secret),
        role=role,
        label=label,
        projects=projects,
        expires_at=expires_at,
        by=storable(by or kernel.user_of_this_process()),
    )
    fingerprint = access.fingerprint(secret)
    return NewToken(
        secret=secret, fingerprint=fingerprint, name=f"{label or role}-{fingerprint}", expires_at=expires_at
    )


async def list_all(services: Services) -> Sequence[Token]:
    """All tokens, including revoked ones. Raises `Unavailable`."""
    return await services.catalog.tokens.list()


async def revoke(services: Services, fingerprint: str, *, by: str = "") -> None:
    """Revoke a token; idempotent. Gateways notice within seconds. Raises `NotFound`, `Unavailable`."""
    await services.catalog.tokens.revoke(fingerprint, by=storable(by or kernel.user_of_this_process()))
