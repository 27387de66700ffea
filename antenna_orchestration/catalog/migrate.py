"""Bring the catalog's tables up to date with Alembic."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

import alembic.command
import alembic.config
import sqlalchemy
import sqlalchemy.exc

from antenna_orchestration import errors, server_urls
from antenna_orchestration.catalog.database import first_line

MIGRATIONS = Path(__file__).parent / "migrations"

_ONE_AT_A_TIME = 4_201_893_377
"""Key of the advisory lock that keeps two processes from migrating at the same time."""

_READ_ONLY: Final = "25006"
_NOT_ALLOWED: Final = "42501"
_NOT_AS_EXPECTED: Final = "42"
"""What PostgreSQL says by SQLSTATE: of a standby, of a role's rights, and as a class of names that are there or not."""

ASK_AGAIN: Final = 0.2
"""Seconds until a process that is to migrate asks again whether another one does."""


def migrate(database_url: str) -> None:
    """Apply the missing migrations; idempotent, so that every start may call it.

    Raises `Unavailable`, and `Conflict` if the tables are not as earlier versions left them or may not be changed.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.connect() as connection:
            # Asking, and not waiting in PostgreSQL: an index that is built concurrently waits for every open statement.
            while not connection.scalar(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": _ONE_AT_A_TIME}):
                connection.commit()
                time.sleep(ASK_AGAIN)
            connection.commit()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()
    except sqlalchemy.exc.OperationalError as error:
        where, why = server_urls.without_password(database_url), first_line(error.orig or error)
        raise errors.Unavailable(f"PostgreSQL at {where} cannot be reached: {why}") from error
    except sqlalchemy.exc.DBAPIError as error:
        where, why = server_urls.without_password(database_url), first_line(error.orig or error)
        state = getattr(error.orig, "sqlstate", None) or ""
        if state == _READ_ONLY:
            raise errors.Unavailable(f"PostgreSQL at {where} takes no changes: {why}") from error
        told = f"the catalog at {where} cannot be brought up to date: {why}"
        if state.startswith(_NOT_AS_EXPECTED) and state != _NOT_ALLOWED:
            told += "; it is not as an earlier version left it: restore a backup into an empty home (`antenna restore`)"
        raise errors.Conflict(told) from error
    finally:
        engine.dispose()
