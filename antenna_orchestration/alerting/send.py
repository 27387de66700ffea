"""Sends one message to one target, and says in one line why it could not be sent.

Each kind of target is imported when one is used: its library takes a command long to import.
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.alerting.configuration import (
    AnyTarget,
    CommandTarget,
    EmailTarget,
    SlackTarget,
    WebhookTarget,
)
from antenna_orchestration.domain import alerts
from antenna_orchestration.domain.alerts import Message
from antenna_orchestration.domain.redaction import without_secrets

LONGEST_ANSWER: Final = 300
"""Characters of what a target answered that are told."""


async def send(target: AnyTarget, message: Message) -> str:
    """Send it, and return what the target answered, in a few words.

    Raises `Unavailable` when it did not take the message, and `InvalidSetting` when a secret cannot be read; neither
    shows a secret. After a time-out it may have taken it.
    """
    try:
        async with asyncio.timeout(target.timeout_seconds):
            return _told(await _send(target, message))
    except TimeoutError:
        raise errors.Unavailable(f"no answer within {target.timeout_seconds:g} s") from None
    except errors.Unavailable as error:
        raise errors.Unavailable(_told(str(error))) from None
    except errors.AntennaError:
        raise
    except Exception as error:
        # It must not keep the other targets from their messages, nor make them come again. It may quote a secret.
        place = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{Path(place.filename).name}:{place.lineno}"
        raise errors.Unavailable(f"it could not be sent: {type(error).__name__} at {at}") from None


async def _send(target: AnyTarget, message: Message) -> str:
    match target:
        case SlackTarget():
            from antenna_orchestration.alerting import web

            return await web.to_slack(target, message)
        case WebhookTarget():
            from antenna_orchestration.alerting import web

            return await web.to_webhook(target, message)
        case EmailTarget():
            from antenna_orchestration.alerting import mail

            return await mail.send(target, message)
        case CommandTarget():
            from antenna_orchestration.alerting import command

            return await command.run(target, message)


def _told(said: str) -> str:
    return alerts.shortened(alerts.one_line(without_secrets(" ".join(said.split()))), LONGEST_ANSWER)
