"""Passwords and keys of one home: generated at its first start, kept in a 0600 file, never in a command line."""

from __future__ import annotations

import dataclasses
import json
import secrets
from dataclasses import dataclass, field

from antenna_orchestration.embedded.events import Report, untold
from antenna_orchestration.embedded.home import Home, read_json, write_private


def _password() -> str:
    # URL-safe and free of quotes, so that it fits every URL and configuration file as it is.
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Everything generated for one home. A field added later, or lost, is generated at the next start."""

    identity: str = field(default_factory=lambda: secrets.token_hex(8))
    """Names the home's servers, so that a stranger on our port is noticed."""
    orchestrator: str = field(default_factory=_password)
    """NATS: all rights."""
    worker: str = field(default_factory=_password)
    """NATS: the worker role."""
    supervisor: str = field(default_factory=_password)
    """NATS: the system account, to read the server's health."""
    redis: str = field(default_factory=_password)
    postgres: str = field(default_factory=_password)
    """The superuser, used for setting up only."""
    catalog: str = field(default_factory=_password)
    dagster: str = field(default_factory=_password)
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))


def load(home: Home, *, report: Report = untold) -> Credentials:
    """The home's credentials, generated and written where they are missing or torn.

    Data survive other passwords: NATS and Redis have them in their configuration only, and `PostgresServer` sets them.
    """
    known = read_json(home.credentials_file)
    if not known and home.credentials_file.exists():
        report(f"{home.credentials_file} was damaged: passwords and keys are made anew, data are kept")
    names = {each.name for each in dataclasses.fields(Credentials)}
    kept = {name: value for name, value in known.items() if name in names and isinstance(value, str) and value}
    found = Credentials(**kept)
    if dataclasses.asdict(found) != known:
        _write(home, found)
    return found


def renew(home: Home, known: Credentials) -> Credentials:
    """Give a home another identity and other passwords; the key stays, because data were signed with it."""
    fresh = Credentials(secret_key=known.secret_key)
    _write(home, fresh)
    return fresh


def copy(template: Home, home: Home) -> None:
    """Give a home the passwords of another, whose cluster it copies, under an identity of its own."""
    _write(home, dataclasses.replace(load(template), identity=secrets.token_hex(8)))


def _write(home: Home, credentials: Credentials) -> None:
    write_private(home.credentials_file, json.dumps(dataclasses.asdict(credentials), indent=1) + "\n")
