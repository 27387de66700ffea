"""The pool of connections to PostgreSQL, and the ways to run the statements of `queries/`.

The catalog's subjects (`jobs`, `images`, …) share one `Database`. Here the driver's errors become ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import psycopg_pool
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from antenna_orchestration import errors, server_urls
from antenna_orchestration.catalog import queries

CONNECT_TIMEOUT: Final = 5
"""Seconds; without it, an unreachable host would block for minutes."""

LOCK_PATIENCE: Final = 120
"""Seconds that a statement waits for what another transaction or session has locked."""

IDLE_IN_TRANSACTION: Final = 120
"""Seconds without a statement after which PostgreSQL ends a transaction: its process may stand still for ever."""

BOUNDS: Final = {
    "lock_timeout": f"{LOCK_PATIENCE}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION}s",
    # PostgreSQL finds within 25 s that a client's machine is gone; by its defaults, that one's locks stand for hours. A
    # client that is there has as long to read what it is sent.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""Settings of each session: it does not wait for others without end, nor they for it when its client is lost."""

KEEPALIVES: Final[dict[str, Any]] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""How soon a client finds that PostgreSQL's machine is gone, in seconds and questions."""

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]


class Database:
    """A pool of connections to PostgreSQL. Use it as an async context manager; asyncio tasks may share it.

    Every method raises `Unavailable` when PostgreSQL cannot be reached, or another transaction holds what it needs. The
    transaction was then not applied or, if the connection broke while it ended, applied once, and so it is for an act
    that is cancelled; every act of the catalog may therefore be repeated.
    """

    def __init__(self, url: str, *, max_connections: int) -> None:
        self._url = url
        self._pool: psycopg_pool.AsyncConnectionPool[Connection] = psycopg_pool.AsyncConnectionPool(
            url,
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=CONNECT_TIMEOUT,
            reconnect_timeout=2 * CONNECT_TIMEOUT,
            check=psycopg_pool.AsyncConnectionPool.check_connection,
            configure=bound_waiting,
            reset=_in_a_worker,
            kwargs={
                "row_factory": dict_row,
                # A transaction begins where one is wanted: what changes a connection's mode and changes it back, as the
                # pool's check does, leaves the wrong one behind when it is cancelled, and no transaction is whole then.
                "autocommit": True,
                "connect_timeout": CONNECT_TIMEOUT,
                "application_name": "antenna",
                **KEEPALIVES,
                # Keepalives do not run while sent data waits for its acknowledgement.
                "tcp_user_timeout": 15_000,
            },
        )

    async def __aenter__(self) -> Database:
        # While it cannot connect, the pool would log one warning per second; our error says it once.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        try:
            await self._pool.open(wait=True, timeout=CONNECT_TIMEOUT)
        except psycopg_pool.PoolTimeout as error:
            await self._pool.close()
            raise errors.Unavailable(
                f"PostgreSQL at {server_urls.without_password(self._url)} cannot be reached"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection of the pool, and one transaction for the length of the block.

        Raises `Unavailable`, and `InvalidInput` when PostgreSQL cannot store a value.
        """
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            # The pool ends it: by a commit, or after an error by a rollback.
            yield connection

    async def rows(self, query: str, **parameters: Any) -> list[Row]:
        """Run one statement in a transaction of its own. Returns its rows, none for a statement without any."""
        async with self._connection() as connection:
            return await all_rows(connection, query, **parameters)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool, where each statement is a transaction. Raises as `transaction`."""
        try:
            async with self._pool.connection() as connection:
                yield connection
            # Let the worker put it back: whoever acts again at once would open another one.
            await asyncio.sleep(0)
        except psycopg.errors.LockNotAvailable as error:
            raise errors.Unavailable(
                f"PostgreSQL: another transaction has locked for {LOCK_PATIENCE} s what this one needs; try again when "
                "it is over"
            ) from error
        except (
            psycopg_pool.PoolTimeout,
            psycopg.OperationalError,
            psycopg.InterfaceError,
            psycopg.errors.IdleInTransactionSessionTimeout,
        ) as error:
            raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
        except (psycopg.DataError, UnicodeEncodeError) as error:
            # A zero byte, half a surrogate pair or a date before the calendar: it came from outside.
            raise errors.InvalidInput(f"a value cannot be stored: {first_line(error)}") from error

    async def row(self, query: str, **parameters: Any) -> Row | None:
        """Like `rows`, but returns the first row, or None."""
        rows = await self.rows(query, **parameters)
        return rows[0] if rows else None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection outside the pool, in autocommit, for locks that a session holds. Raises `Unavailable`."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
            )
            await bound_waiting(connection)
        except psycopg.OperationalError as error:
            raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
        try:
            yield connection
        finally:
            with contextlib.suppress(psycopg.Error):
                await connection.close()

    @asynccontextmanager
    async def only_one(self, what: str) -> AsyncIterator[bool]:
        """Be the only one that does `what`, for the length of the block; False when another process does now.

        Takes one of the pool's connections. Raises `Unavailable`. A lock whose connection breaks is lost: what must not
        be done twice needs a guard, too.
        """
        try:
            connection = await self._pool.getconn()
        except (psycopg_pool.PoolTimeout, psycopg.OperationalError) as error:
            raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
        try:
            try:
                taken = await connection.execute(
                    "SELECT pg_try_advisory_lock(hashtextextended(%s, 0)) AS is_ours", [what]
                )
                row = await taken.fetchone() or {"is_ours": False}
            except psycopg.OperationalError as error:
                raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
            yield bool(row["is_ours"])
        finally:
            try:
                await connection.execute("SELECT pg_advisory_unlock_all()")
            except BaseException as error:
                # It may hold the lock: nobody may have it again.
                await connection.close()
                if not isinstance(error, psycopg.Error):
                    raise
            finally:
                await self._pool.putconn(connection)

    @asynccontextmanager
    async def lock(self, key: str, waiting: str, refusal: str, *, shared: bool = False) -> AsyncIterator[None]:
        """Be the only one with the lock of a key, or one of those who share it; `waiting` is logged if it is taken.

        Waits two minutes at most. Raises `Conflict` with `refusal` then, and `Unavailable`.
        """
        suffix = "_shared" if shared else ""
        async with self.session() as connection:
            try:
                taken = await connection.execute(f"SELECT pg_try_advisory_lock{suffix}(hashtextextended(%s, 0))", [key])
                [is_ours] = await taken.fetchone() or [False]
                if not is_ours:
                    logger.warning("%s", waiting)
                    await connection.execute(f"SELECT pg_advisory_lock{suffix}(hashtextextended(%s, 0))", [key])
            except psycopg.errors.LockNotAvailable:
                raise errors.Conflict(refusal) from None
            except psycopg.OperationalError as error:
                raise errors.Unavailable(f"PostgreSQL: {first_line(error)}") from error
            try:
                yield
            finally:
                with contextlib.suppress(psycopg.Error):
                    await connection.execute("SELECT pg_advisory_unlock_all()")


async def bound_waiting(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set `BOUNDS` for a session, by a statement: a pooler may refuse settings in the connection's own options.

    If that fails the connection is closed, which the pool leaves to the garbage collector.
    """
    try:
        await connection.execute(
            "SELECT set_config(key, value, false) FROM jsonb_each_text(%s) AS bounds (key, value)", [Jsonb(BOUNDS)]
        )
    except BaseException:
        await connection.close()
        raise


async def _in_a_worker(_: Connection) -> None:
    """With a reset, the pool takes connections back in a task of its own, from which a cancelled act loses none."""


async def all_rows(connection: Connection, query: str, **parameters: Any) -> list[Row]:
    """Run a statement within a transaction. Returns its rows, none for a statement without any."""
    cursor = await connection.execute(queries.load(query), parameters)
    return await cursor.fetchall() if cursor.description else []


async def first_row(connection: Connection, query: str, **parameters: Any) -> Row | None:
    """Run a statement that returns one row at most, within a transaction."""
    return await (await connection.execute(queries.load(query), parameters)).fetchone()


async def one_row(connection: Connection, query: str, **parameters: Any) -> Row:
    """Run a statement that returns one row, always, within a transaction."""
    row = await first_row(connection, query, **parameters)
    if row is None:
        raise errors.InternalError(f"{query} returned no row")
    return row


async def value(connection: Connection, query: str, **parameters: Any) -> Any:
    """The first column of a statement that returns one row, always, within a transaction."""
    return next(iter((await one_row(connection, query, **parameters)).values()))


def first_line(error: Exception) -> str:
    """The first line of an error's message; PostgreSQL's messages have several."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
