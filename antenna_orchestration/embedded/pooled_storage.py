"""Dagster's PostgreSQL storage, without what costs an idle stack most; named in `dagster.yaml`.

Every process of ours loads it. dagster-postgres connects anew for each statement: 5 ms for a line of `context.log`, and
while nothing happens at all, the polling of daemon and sensors keeps PostgreSQL busy with log-ins. And it asks again
and again whether tables and columns are there that newer versions of Dagster brought: 39 % of the time of an idle
stack's statements (Dagster 1.13.27).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, Final

from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import QueuePool

from antenna_orchestration import settings

KEPT = 2
"""Connections that a process keeps; fifty runs then stay well below PostgreSQL's limit of 200."""
AT_MOST = 20
"""Connections of one process in a burst: the daemon's threads."""

COLUMNS_ASKED_AGAIN: Final = (
    "has_asset_key_col",
    "has_backfill_id_column",
    "has_bulk_action_job_name_column",
    "has_bulk_actions_selector_cols",
    "has_run_stats_index_cols",
)
"""Methods of Dagster's storages that ask whether a column is there. They came before the versions that we run on."""

ASKED_AGAIN: Final = (
    *COLUMNS_ASKED_AGAIN,
    "has_backfill_tags_table",
    "has_built_index",
    "has_instigators_table",
    "has_secondary_index_table",
    "has_table",
)
"""Likewise, whether a table, a column or an index is there."""

SEEN_FOR: Final = 60.0
"""Seconds for which tables are not looked for again: Dagster makes them anew if its database was wiped."""

TRUSTED_FOR: Final = 0.1
"""Seconds after its use for which a connection is taken to be whole: PostgreSQL takes longer to start again."""

_tables_seen: dict[str, float] = {}
"""When this process last saw the tables of each database, by the monotonic clock."""

_whole: set[str] = set()
"""The databases whose tables have all columns, as far as this process knows."""

_there: set[tuple[str, str, str, tuple[str, ...]]] = set()
"""What was found there by this process: database, class, method, arguments. It is not taken away again."""


class PooledPostgresStorage(DagsterPostgresStorage):
    """Dagster's three storages over one pool, which all instances of a process share: each tick makes one.

    They have no setting for it, so their engine is replaced: a private name, which a test watches and the range of
    versions in pyproject.toml keeps.
    """

    def __init__(self, postgres_url: str, inst_data: Any = None) -> None:
        unchanged = settings.get().dagster_unchanged
        looks = unchanged or time.monotonic() - _tables_seen.get(postgres_url, -SEEN_FOR) >= SEEN_FOR
        super().__init__(postgres_url, should_autocreate_tables=looks, inst_data=inst_data)
        if looks:
            _tables_seen[postgres_url] = time.monotonic()
        for storage in (self._run_storage, self._event_log_storage, self._schedule_storage):
            storage._engine = _engine(os.getpid(), postgres_url)
            if not unchanged:
                _ask_once(storage, postgres_url)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> PooledPostgresStorage:
        """Called by Dagster with the configuration in `dagster.yaml`."""
        return cls(pg_url_from_config(config_value), inst_data)


@functools.cache
def _engine(pid: int, url: str) -> Engine:
    """The pool of a process; one that was forked may not use its parent's connections."""
    unchanged = settings.get().dagster_unchanged
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=QueuePool,
        pool_size=KEPT,
        max_overflow=AT_MOST - KEPT,
        pool_recycle=1800,
        pool_pre_ping=unchanged,
    )
    if not unchanged:
        event.listen(engine, "checkin", _note_use)
        event.listen(engine, "checkout", functools.partial(_ask_after_rest, engine.dialect))
    return engine


def _note_use(_: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _ask_after_rest(dialect: Any, connection: Any, record: Any, _: Any) -> None:
    """PostgreSQL may have been started again since; SQLAlchemy's own ping asks before each statement."""
    now = time.monotonic()
    if now - record.info.get("used", now) < TRUSTED_FOR:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        # The pool then drops all that it has, and connects anew.
        raise InvalidatePoolError from error


def take_tables_to_be_there(postgres_url: str) -> None:
    """For a run, with all their columns: whoever started it has read it there, and its host has migrated them."""
    _tables_seen[postgres_url] = time.monotonic()
    _whole.add(postgres_url)


def _ask_once(storage: Any, url: str) -> None:
    """Let a storage remember what is there. What is missing may come, with an upgrade, and is asked for again."""
    for name in ASKED_AGAIN:
        if asks := getattr(storage, name, None):
            is_known = url in _whole and name in COLUMNS_ASKED_AGAIN
            setattr(storage, name, _yes if is_known else _remembering(asks, (url, type(storage).__name__, name)))


def _yes(*_: str) -> bool:
    return True


def _remembering(asks: Callable[..., bool], about: tuple[str, str, str]) -> Callable[..., bool]:
    @functools.wraps(asks)
    def ask(*names: str) -> bool:
        if (*about, names) not in _there:
            if not asks(*names):
                return False
            _there.add((*about, names))
        return True

    return ask
