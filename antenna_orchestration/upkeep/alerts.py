"""Alerts: a round looks for what is wrong and decides what is told; sending takes what is to be told to its targets.

The two know of each other only what the catalog holds. A round is short and safe to be killed anywhere: what is told,
and to whom, is one transaction, and each statement in it tells a thing once. Sending may take as long as the slowest
target. A message counts as sent when that is noted, so that of each target the message that was under way when the
process died, or when the catalog went away, is sent a second time, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.alerting import configuration
from antenna_orchestration.alerting.configuration import AlertSettings, AnyTarget
from antenna_orchestration.alerting.send import send
from antenna_orchestration.catalog.alerts import WaitingMessage
from antenna_orchestration.domain import alerts as rules
from antenna_orchestration.domain.alerts import Message, Seen, Telling
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.processing.services import Records
from antenna_orchestration.settings import Settings
from antenna_orchestration.upkeep.alert_sources import SOURCES, Looking, Source

logger = logging.getLogger(__name__)

BETWEEN_TRIES: Final = Backoff(first=30.0, longest=1800.0, spread=0.2)
"""Pauses of a target that does not answer."""

GIVEN_UP_AFTER: Final = 7 * 86_400.0
"""Seconds after which a message that could not be sent is given up: a failed job counts as wrong for as long."""

KEPT: Final = 90 * 86_400.0
"""Seconds for which an alert that ended is kept."""

MOST_SENT: Final = 1_000
"""Messages of one target that are read at a time."""

SENDING: Final = 60.0
"""Seconds after which the next message of a target waits for the next round."""


@dataclass(slots=True)
class Round:
    """What a round did."""

    seen: int = 0
    made: int = 0
    # Whether anything is to be sent, now or when a target has rested.
    waits: bool = False
    # Sources that could not look, each with the reason.
    failed: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """For people."""
        said = f"{counted(self.seen, 'thing')} wrong" if self.seen else "nothing is wrong"
        if self.made:
            said += f"; {counted(self.made, 'message')} to send"
        return "; ".join([said, *self.failed])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a message to a target."""

    target: str
    answer: str
    is_sent: bool


def configured(settings: Settings) -> AlertSettings | None:
    """What the file of alerts says; None where there is none. Raises `InvalidSetting`."""
    return configuration.read(settings.alerts) if settings.alerts else None


async def look(records: Records, said: AlertSettings, *, sources: Sequence[Source] = SOURCES) -> Round | None:
    """One round over the sources; None if another process does one now. Raises `Unavailable` for the catalog only."""
    catalog = records.catalog.alerts
    async with catalog.looking_lock() as is_ours:
        if not is_ours:
            return None
        done = Round()
        since = await catalog.begin_round()
        looking = Looking(since=since, wanted=said.events, opened=await catalog.open())
        looked = await asyncio.gather(*(_seen_by(source, records, looking, done) for source in sources))
        seen = [one for one in looked if one is not None]
        wrong = [alert for one in seen for alert in one.alerts]
        done.seen = len(wrong)
        await catalog.see(wrong)
        opened = await catalog.open()
        remind_after = said.remind_after_hours * 3600
        decided = rules.decide(
            opened, seen, now=await records.catalog.now(), patience=said.patience, remind_after=remind_after
        )
        targets = {
            alert.alert_id: [name for name, target in said.targets.items() if target.wants(alert)] for alert in opened
        }
        done.made = len(await catalog.note(decided, targets, remind_after=remind_after))
        await catalog.drop_old_messages(GIVEN_UP_AFTER)
        await catalog.forget(KEPT)
        states = await catalog.targets()
        done.waits = any(states[name].waiting for name in said.targets if name in states)
        return done


async def _seen_by(source: Source, records: Records, looking: Looking, done: Round) -> Seen | None:
    """What a source saw; None if it could not look, and then nothing of its events has ended."""
    try:
        return await source(records, looking)
    except Exception as error:
        name = getattr(source, "__name__", "a source")
        done.failed.append(f"{name} could not look: {rules.quoted(str(error) or type(error).__name__, 500)}")
        if not isinstance(error, errors.AntennaError):
            logger.exception("alerts, %s", name)
        return None


async def send_waiting(records: Records, said: AlertSettings) -> Sequence[Sent]:
    """Send what waits to all targets at once. Nothing if another process does so now. Raises `Unavailable`."""
    async with records.catalog.alerts.sending_lock() as is_ours:
        if not is_ours:
            return []
        base = said.ui_url or records.settings.ui_url
        sent = await asyncio.gather(
            *(_send_to(records, name, target, said.most_at_once, base) for name, target in said.targets.items())
        )
        return [one for of_target in sent for one in of_target]


async def _send_to(records: Records, name: str, target: AnyTarget, most: int, base: str) -> Sequence[Sent]:
    """Send what waits for one target, one message after the other, until one fails."""
    catalog = records.catalog.alerts
    sent: list[Sent] = []
    until = time.monotonic() + SENDING
    while waiting := await catalog.waiting(name, MOST_SENT):
        batch = waiting if len(waiting) > most else waiting[:1]
        numbers = [one.message_id for one in batch]
        try:
            answer = await send(target, _message_of(batch, base))
        except (errors.Unavailable, errors.InvalidSetting) as error:
            failures = ((state := (await catalog.targets()).get(name)) and state.failures) or 0
            await catalog.note_not_sent(name, numbers, str(error), pause=BETWEEN_TRIES.pause(failures + 1))
            logger.warning("alerts for %s are not sent: %s", name, error)
            return [*sent, Sent(target=name, answer=str(error), is_sent=False)]
        await catalog.note_sent(name, numbers)
        sent.append(Sent(target=name, answer=answer, is_sent=True))
        if time.monotonic() > until:
            break
    return sent


def _message_of(batch: Sequence[WaitingMessage], base: str) -> Message:
    messages = [
        rules.message(
            one.message_id,
            one.telling,
            one,
            since=one.began_at,
            at=one.made_at,
            link=f"{base}{one.path}" if base and one.path else base,
        )
        for one in batch
    ]
    return messages[0] if len(messages) == 1 else rules.summary(messages, link=base)


async def test(said: AlertSettings, names: Sequence[str], *, link: str) -> Sequence[Sent]:
    """Send a message to each of these targets, and say what each answered. Nothing is noted."""
    now = datetime.now(UTC)
    message = Message(
        message_id=f"test-{now:%Y%m%dT%H%M%S}",
        telling=Telling.TEST,
        event="test",
        project="",
        subject="a test of alerts",
        text="Nothing is wrong. `antenna alerts test` sent this, to see whether alerts come here.",
        link=said.ui_url or link,
        since=now,
    )

    async def one(name: str) -> Sent:
        try:
            return Sent(target=name, answer=await send(said.targets[name], message), is_sent=True)
        except (errors.Unavailable, errors.InvalidSetting) as error:
            return Sent(target=name, answer=str(error), is_sent=False)

    return await asyncio.gather(*map(one, names))


async def troubles(records: Records) -> Mapping[str, str]:
    """Targets that do not take what is sent to them, each with a line; and the file, if it cannot be used."""
    said = configured(records.settings)
    states = await records.catalog.alerts.targets() if said else {}
    return {
        name: f"alerts do not reach {name}, {counted(state.failures, 'try', 'tries')} since "
        f"{state.failing_since:%F %R} UTC, {counted(state.waiting, 'message')} waiting: {state.error}"
        for name, state in states.items()
        if said and name in said.targets and state.failures and state.failing_since
    }
