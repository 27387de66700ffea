"""A home that lies elsewhere than its env file says: moved, its data follow; copied, it leaves the original alone.

Nothing in a home names the home's own place but the env file, which is written anew at each start, and the note that
`postgres_server` leaves in a cluster that lies elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from antenna_orchestration import errors, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import credentials, nats_sites, ports
from antenna_orchestration.embedded.events import Report
from antenna_orchestration.embedded.home import Home, read_json

_DATA = ("lake", "nats", "postgres", "dagster", "postgres/data/global/pg_control")
"""Folders of a home that a person may have put elsewhere, with a link in their place; and a file, for hard links."""
_STORES = ("lake_uri", "nats_url", "redis_url", "database_url")


def follow(home: Home, settings: settings_module.Settings, *, report: Report) -> None:
    """Let a moved home go on, and give a copied one an identity of its own; the caller holds the home's lock.

    Raises `InternalError` for a copy that would write where its original does.
    """
    try:
        before = settings_module.place_of_env_file(home.path)
    except errors.InvalidSetting as error:
        report(f"{error}: it is written again; a lake that only an earlier `antenna up` was told has to be told again")
        return
    if before is None:
        return
    known = credentials.load(home, report=report)
    if not _holds(before, known.identity):
        report(f"this home was moved here from {before}: its data are used where they are now")
        return
    _refuse_what_is_shared(home, before, settings)
    ports.forget(home)
    credentials.renew(home, known)
    nats_sites.forget(home)
    report(f"this home is a copy of {before}: it has passwords and ports of its own from now on")


def _holds(place: Path, identity: str) -> bool:
    try:
        return read_json(Home(place).credentials_file).get("identity") == identity
    except OSError:
        # Another user's: who cannot look must not assume that it is gone.
        return True


def _refuse_what_is_shared(home: Home, before: Path, settings: settings_module.Settings) -> None:
    for name in _DATA:
        ours = home.path / name
        if settings_module.is_same_place(ours, before / name):
            raise errors.InternalError(
                f"{home.path} is a copy of {before}, and {name} is the same in both ({ours.resolve()}): "
                "stop the original's stack, copy that, too, and let a link lead to the copy"
            )
    theirs_set = settings_module.read_env_file(home.path)
    for name in _STORES:
        variable = f"ANTENNA_{name.upper()}"
        if (value := getattr(settings, name)) and value == theirs_set.get(variable):
            raise errors.InternalError(
                f"{home.path} is a copy of {before}, whose {variable} it would use, too "
                f"({server_urls.without_password(value)}): set {variable} to a place of the copy's own"
            )
