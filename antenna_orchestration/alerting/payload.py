"""A message as JSON, for webhooks and commands; the page on alerts says what each field means."""

from __future__ import annotations

from typing import Any

from antenna_orchestration.domain.alerts import Message
from antenna_orchestration.domain.times import in_utc


def of(message: Message) -> dict[str, Any]:
    """The message as JSON has it."""
    return {
        "version": 1,
        "id": message.message_id,
        "says": str(message.telling),
        "event": message.event,
        "project": message.project or None,
        "subject": message.subject,
        "text": message.text,
        "link": message.link or None,
        "since": in_utc(message.since).isoformat(timespec="seconds"),
    }
