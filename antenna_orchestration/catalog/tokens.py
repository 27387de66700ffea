"""Tokens of the gateway's callers. Only digests are stored; people name a token by its fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import psycopg

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Database, Row, value
from antenna_orchestration.domain.access import Role, Token
from antenna_orchestration.domain.ids import ProjectId


class Tokens:
    """The tokens, with the projects that each one is for."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        *,
        sha256: str,
        fingerprint: str,
        role: Role,
        label: str,
        projects: Sequence[str],
        expires_at: datetime | None,
        by: str,
    ) -> int:
        """Add a token by its digest, and create those of its projects that do not exist. Returns the token's id.

        Raises `Conflict` when the digest is known, also when that token was revoked or has expired.
        """
        async with self._database.transaction() as connection:
            for slug in projects:
                await connection.execute(queries.load("ensure_project"), {"slug": slug})
            try:
                token_id = await value(
                    connection,
                    "insert_token",
                    sha256=sha256,
                    fingerprint=fingerprint,
                    role=role,
                    label=label,
                    expires_at=expires_at,
                    projects=list(projects),
                    by=by,
                )
            except psycopg.errors.UniqueViolation:
                raise errors.Conflict(f"token {fingerprint} is there already, and may be revoked") from None
            return int(token_id)

    async def find(self, sha256: str) -> Token | None:
        """The token with this digest if it is valid now, else None."""
        row = await self._database.row("find_token", sha256=sha256)
        return _token(row) if row else None

    async def valid(self, token_ids: Iterable[int]) -> set[int]:
        """Those of the tokens that are neither revoked nor expired now."""
        rows = await self._database.rows("valid_tokens", tokens=[*token_ids])
        return {int(row["token_id"]) for row in rows}

    async def list(self) -> Sequence[Token]:
        """All tokens, including revoked and expired ones."""
        return [_token(row) for row in await self._database.rows("list_tokens")]

    async def revoke(self, fingerprint: str, *, by: str) -> None:
        """Make the token invalid; idempotent. Raises `NotFound`."""
        if await self._database.row("revoke_token", fingerprint=fingerprint, by=by) is None:
            raise errors.NotFound(f"there is no token {fingerprint}; `antenna token list` shows all")

    async def note_use(self, token_id: int) -> None:
        """Record that the token was used just now, at most once per minute."""
        await self._database.rows("use_token", token=token_id)


def _token(row: Row) -> Token:
    return Token(
        token_id=row["token_id"],
        fingerprint=row["fingerprint"],
        role=Role(row["role"]),
        label=row["label"],
        projects={ProjectId(int(project)): slug for project, slug in row["projects"].items()},
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        created_by=row["created_by"],
        revoked_by=row["revoked_by"],
    )
