"""Bring the catalog's tables up to date with Alembic."""

from __future__ import annotations

import logging
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy
import sqlalchemy.exc

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.database import first_line

MIGRATIONS = Path(__file__).parent / "migrations"

_ONE_AT_A_TIME = 4_201_893_377
"""Key of the advisory lock that keeps two processes from migrating at the same time."""


def migrate(database_url: str) -> None:
    """Apply the missing migrations; idempotent, so that every start may call it. Raises `Unavailable`."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:key)"), {"key": _ONE_AT_A_TIME})
            connection.commit()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()
    except sqlalchemy.exc.OperationalError as error:
        where, why = settings.without_password(database_url), first_line(error.orig or error)
        raise errors.Unavailable(f"PostgreSQL at {where} cannot be reached: {why}") from error
    finally:
        engine.dispose()
