"""Who calls the gateway, and what a role may do. The table `MAY` is the only place that decides it."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import ProjectId

FINGERPRINT: Final = 8
"""Number of characters that stand for a token in lists and logs."""

LARGEST: Final = 256
"""The longest possible token, in characters; longer texts are rejected."""


class Role(StrEnum):
    """What a token is for."""

    WORKER = "worker"
    SUBMITTER = "submitter"
    ADMIN = "admin"
    MONITOR = "monitor"


class Act(StrEnum):
    """What a caller wants to do."""

    LEASE = "lease tasks and post results"
    REGISTER = "register pipelines"
    LOOK = "look at jobs"
    SUBMIT = "submit and steer jobs"
    LIST = "list projects, pipelines and jobs"
    COUNT = "read how much waits"


MAY: Final[Mapping[Role, frozenset[Act]]] = {
    Role.WORKER: frozenset({Act.LIST, Act.LEASE, Act.REGISTER}),
    Role.SUBMITTER: frozenset({Act.LIST, Act.LOOK, Act.SUBMIT, Act.COUNT}),
    Role.ADMIN: frozenset(Act),
    Role.MONITOR: frozenset({Act.COUNT}),
}


OF_ALL: Final = frozenset({Role.ADMIN, Role.MONITOR})
"""Roles of which a token without projects is valid for all."""

MOST_PRIORITY: Final[Mapping[Role, int]] = {Role.SUBMITTER: 10, Role.ADMIN: 100}
"""The highest priority that a job may be submitted with, by role: workers give their time in proportion to it."""

MOST_INTERACTIVE: Final[Mapping[Role, int | None]] = {Role.SUBMITTER: 2, Role.ADMIN: None}
"""How many interactive jobs of a project may be under way when the role submits one more: they go before all others."""


TOKENS: Final = 10**7
"""More than there are tokens. Holders are numbers below 2**53 in all, as Redis' scripts compute with doubles."""

CLIENTS: Final = 10**4
"""Clients of one token that are told apart, which bounds what a caller can make up; two of the same number are one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token as the catalog stores it; only its owner has the secret itself."""

    token_id: int
    fingerprint: str
    role: Role
    label: str
    # Slugs of its projects by id; without any it is valid for all, if its role is one of `OF_ALL`.
    projects: Mapping[ProjectId, str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    # Who made and who revoked it; empty where that is not known.
    created_by: str = ""
    revoked_by: str = ""
    # Which of the processes or hosts that share the token: a name or address; empty where there is only one.
    client: str = ""

    @property
    def name(self) -> str:
        """Name of the worker that authenticates with this token, unlike any other's."""
        return "-".join(filter(None, (self.label or self.role, self.client, self.fingerprint)))

    @property
    def owner(self) -> str:
        """What people call whoever has the token: its label; without one, its role and fingerprint."""
        return self.label or f"{self.role} {self.fingerprint}"

    @property
    def holder(self) -> int:
        """The number that leases and records of this worker carry: of the token, and of its client, if any."""
        slot = 1 + zlib.crc32(self.client.encode()) % CLIENTS if self.client else 0
        return slot * TOKENS + self.token_id

    @property
    def scope(self) -> frozenset[ProjectId] | None:
        """The projects that the token is valid for; None for all."""
        return None if self.role in OF_ALL and not self.projects else frozenset(self.projects)

    def reaches(self, project: ProjectId) -> bool:
        """Whether the project is in its scope."""
        return self.scope is None or project in self.scope

    def may(self, act: Act) -> bool:
        """Whether the role allows this."""
        return act in MAY[self.role]

    def check_priority(self, priority: int) -> None:
        """Raise `Forbidden` for a priority that the role may not ask for."""
        if priority > MOST_PRIORITY[self.role]:
            raise errors.Forbidden(
                f"a token of the role {self.role} may ask for a priority of at most {MOST_PRIORITY[self.role]}"
            )

    def check(self, act: Act) -> None:
        """Raise `Forbidden` when the role does not allow this."""
        if not self.may(act):
            raise errors.Forbidden(f"a token of the role {self.role} may not {act}")


def check_interactive(under_way: int, most: int | None) -> None:
    """Raise `Conflict` when there can be no further interactive job beside those that are under way."""
    if most is not None and under_way >= most:
        raise errors.Conflict(
            f"{under_way} interactive jobs of this project are under way, and there may be {most}: submit without "
            "interactive, or wait until one is over"
        )


MAX_LABEL: Final = 60


def check_label(label: str) -> None:
    """Raise `InvalidInput` for a label that a list could not show."""
    if len(label) > MAX_LABEL or not label.isprintable():
        raise errors.InvalidInput(f"a label is printable text of at most {MAX_LABEL} characters")


def token_of(holder: int) -> int:
    """The id of the token whose worker a number names."""
    return holder % TOKENS


def new_secret() -> str:
    """A new secret, to be shown to its owner once."""
    return f"ant_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """The digest that is stored of a token. A fast one is safe, because the token is long and random."""
    return hashlib.sha256(secret.encode()).hexdigest()


def fingerprint(secret: str) -> str:
    """The start of the digest, which lists and logs show for a token."""
    return digest(secret)[:FINGERPRINT]
