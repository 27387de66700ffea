"""Alerts: what is wrong and since when, the messages about it, and the targets that they go to.

Every statement by which something is told has a guard of its own, so that it is told once although two daemons look.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Connection, Database, Row, all_rows
from antenna_orchestration.domain.alerts import Alert, Decided, Event, OpenAlert, Telling
from antenna_orchestration.domain.texts import storable


class Addressed(NamedTuple):
    """A message that is to be made."""

    alert_id: int
    target: str
    telling: Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMessage(Alert):
    """A message that is to be sent, with its alert."""

    message_id: int
    telling: Telling
    made_at: datetime
    began_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """How a target does."""

    target: str
    # Failures in a row, and what the last one said.
    failures: int
    error: str
    failing_since: datetime | None
    next_try_at: datetime | None
    sent_at: datetime | None
    # Messages that are to be sent to it.
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAlert(OpenAlert):
    """An alert as people see it, with what was told of it."""

    ended_at: datetime | None
    messages: Sequence[Mapping[str, Any]]


class Alerts:
    """The alerts of a deployment. Times are by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def looking_lock(self) -> AbstractAsyncContextManager[bool]:
        """Be the only one that looks for what is wrong; False when another process does now."""
        return self._database.only_one("alerts: looking")

    def sending_lock(self) -> AbstractAsyncContextManager[bool]:
        """Be the only one that sends; False when another process does now."""
        return self._database.only_one("alerts: sending")

    async def begin_round(self) -> datetime:
        """Note that somebody looks; returns since when that is so."""
        row = await self._database.row("begin_alert_round")
        assert row is not None
        began_at: datetime = row["began_at"]
        return began_at

    async def last_round(self) -> float | None:
        """Seconds since somebody looked; None if nobody ever did."""
        row = await self._database.row("last_alert_round")
        return float(row["ago"]) if row else None

    async def see(self, alerts: Collection[Alert]) -> None:
        """Note what is wrong now. Of several with the same key the first counts."""
        first: dict[str, Alert] = {}
        for alert in alerts:
            first.setdefault(alert.key, alert.made())
        seen = list(first.values())
        if seen:
            await self._database.rows(
                "see_alerts",
                keys=[one.key for one in seen],
                events=[str(one.event) for one in seen],
                projects=[one.project for one in seen],
                subjects=[one.subject for one in seen],
                texts=[one.text for one in seen],
                paths=[one.path for one in seen],
            )

    async def open(self) -> Sequence[OpenAlert]:
        """Alerts that have not ended."""
        return [OpenAlert(**{**row, "event": Event(row["event"])}) for row in await self._database.rows("open_alerts")]

    async def note(
        self, decided: Decided, targets: Mapping[int, Collection[str]], *, remind_after: float
    ) -> Sequence[Addressed]:
        """Note what was decided and make its messages, in one transaction; `targets` are those of each alert.

        Returns the messages that were made: none of what another process has told.
        """
        async with self._database.transaction() as connection:
            told = await _numbers(connection, "tell_alerts", decided.begins)
            lasting = await _numbers(connection, "remind_of_alerts", decided.lasts, after=remind_after)
            ended = await _numbers(connection, "end_alerts", decided.ends)
            await _numbers(connection, "end_alerts", decided.dropped)
            if ended or lasting:
                await connection.execute(queries.load("drop_unsent_of_alerts"), {"alerts": [*ended, *lasting]})
            made = [
                Addressed(alert, target, telling)
                for telling, numbers in ((Telling.BEGINS, told), (Telling.LASTS, lasting), (Telling.ENDS, ended))
                for alert in numbers
                for target in targets.get(alert, ())
            ]
            if made:
                await connection.execute(
                    queries.load("add_alert_messages"),
                    {
                        "alerts": [one.alert_id for one in made],
                        "targets": [one.target for one in made],
                        "tellings": [str(one.telling) for one in made],
                    },
                )
        return made

    async def waiting(self, target: str, limit: int) -> Sequence[WaitingMessage]:
        """What is to be sent to the target now; nothing while it rests after a failure."""
        rows = await self._database.rows("waiting_alert_messages", target=target, limit=limit)
        return [
            WaitingMessage(**{**row, "event": Event(row["event"]), "telling": Telling(row["telling"])}) for row in rows
        ]

    async def note_sent(self, target: str, messages: Collection[int]) -> None:
        """The target took these messages; idempotent."""
        await self._database.rows("note_alerts_sent", target=target, messages=list(messages))

    async def note_not_sent(self, target: str, messages: Collection[int], error: str, *, pause: float) -> None:
        """The target did not take these messages; it is tried again after `pause` seconds."""
        await self._database.rows(
            "note_alerts_not_sent", target=target, messages=list(messages), error=storable(error), pause=pause
        )

    async def drop_old_messages(self, after: float) -> None:
        """Give up what could not be sent for so many seconds."""
        await self._database.rows("drop_old_alert_messages", after=after)

    async def targets(self) -> Mapping[str, TargetState]:
        """How the targets do that were ever spoken to, or are to be, by name."""
        return {row["target"]: TargetState(**row) for row in await self._database.rows("alert_targets")}

    async def told(self, *, ended: bool, project: str | None = None, limit: int = 200) -> Sequence[ToldAlert]:
        """What is wrong now, and with `ended` also what ended of late; the newest first."""
        rows = await self._database.rows("told_alerts", ended=ended, project=project, limit=limit)
        return [ToldAlert(**{**row, "event": Event(row["event"])}) for row in rows]

    async def count_open(self) -> Sequence[Row]:
        """How many alerts were told and have not ended, by event and project."""
        return await self._database.rows("count_open_alerts")

    async def forget(self, after: float) -> None:
        """Delete what ended so many seconds ago, and failures of targets at which nobody tried anything for a day."""
        await self._database.rows("forget_alerts", after=after)
        await self._database.rows("forget_alert_targets")


async def _numbers(connection: Connection, query: str, alerts: Collection[int], **parameters: Any) -> list[int]:
    if not alerts:
        return []
    rows = await all_rows(connection, query, alerts=sorted(alerts), **parameters)
    return sorted(row["alert_id"] for row in rows)
