"""NATS users for sites: each site's workers have a user of their own, so that one site can be locked out.

They are kept in the home, beside the configuration of the bundled server, which is made from them. A server of one's
own has its users in its own configuration.
"""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain import access
from antenna_orchestration.embedded.home import Home, read_json, write_private


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """One site's user. Its password is kept until it is revoked."""

    fingerprint: str
    label: str
    password: str
    created_at: datetime
    revoked_at: datetime | None = None
    # Who made and who revoked it; empty where that is not known.
    created_by: str = ""
    revoked_by: str = ""

    @property
    def user(self) -> str:
        """The user's name, also the ending of its inbox prefix."""
        return f"site-{self.fingerprint}"


def list_all(home: Home) -> Sequence[Site]:
    """All sites, including revoked ones; none where the home has no bundled NATS.

    Raises `InternalError` for a damaged file: written anew, it would forget who is locked out.
    """
    return _read(home)


def add(home: Home, label: str) -> Site:
    """Make a user for a site. Raises `InvalidInput` for a label that cannot be shown."""
    access.check_label(label)
    password = secrets.token_urlsafe(24)
    site = Site(
        fingerprint=access.fingerprint(password),
        label=label,
        password=password,
        created_at=datetime.now(UTC),
        created_by=kernel.user_of_this_process(),
    )
    with _changing(home) as sites:
        sites.append(site)
    return site


def revoke(home: Home, fingerprint: str) -> bool:
    """Take a site's password away; idempotent. False when there is no such site."""
    with _changing(home) as sites:
        for number, site in enumerate(sites):
            if site.fingerprint == fingerprint:
                if site.revoked_at is None:
                    by = kernel.user_of_this_process()
                    sites[number] = replace(site, password="", revoked_at=datetime.now(UTC), revoked_by=by)
                return True
    return False


def forget(home: Home) -> None:
    """Delete all sites: they are another home's."""
    _file(home).unlink(missing_ok=True)


@contextmanager
def _changing(home: Home) -> Iterator[list[Site]]:
    """The sites, to be changed by one process at a time; written at the end of the block."""
    with (home.nats / "sites.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sites = _read(home)
        yield sites
        written = [{name: _text(value) for name, value in asdict(site).items()} for site in sites]
        write_private(_file(home), json.dumps({"sites": written}, indent=1) + "\n")


def _file(home: Home) -> Path:
    return home.nats / "sites.json"


def _text(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def _read(home: Home) -> list[Site]:
    file = _file(home)
    if not file.exists():
        return []
    try:
        return [
            Site(
                fingerprint=str(one["fingerprint"]),
                label=str(one["label"]),
                password=str(one["password"]),
                created_at=datetime.fromisoformat(one["created_at"]),
                revoked_at=datetime.fromisoformat(one["revoked_at"]) if one["revoked_at"] else None,
                # Files of earlier versions have neither.
                created_by=str(one.get("created_by", "")),
                revoked_by=str(one.get("revoked_by", "")),
            )
            for one in read_json(file)["sites"]  # type: ignore[attr-defined]
        ]
    except (KeyError, TypeError, ValueError):
        raise errors.InternalError(f"{file} is damaged: delete it, and make a token for each site again") from None
