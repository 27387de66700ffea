"""When to look at a watched source whose looks are told by a cron expression, such as `0 7 * * *`."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from antenna_orchestration import errors

_FIELDS: Final = 5
"""Minute, hour, day of the month, month, day of the week; a sixth would be of seconds."""

_SHOWN: Final = 80
"""Characters of an expression that a message repeats."""


def next_after(expression: str, moment: datetime, zone: tzinfo) -> datetime:
    """The first moment after this one that the expression names, by the clocks of a zone.

    Where clocks are put forward, a time that is left out comes right after; where they are put back, once. Raises
    `InvalidInput` if it is not a cron expression.
    """
    why = f"it has {_FIELDS} fields"
    try:
        if len(expression.split()) == _FIELDS:
            return next(CronSim(expression, moment.astimezone(zone)))
    except CronSimError as error:
        why = str(error)
    except StopIteration:
        why = "no day is like that"
    raise errors.InvalidInput(
        f"cron {expression[:_SHOWN]!r} is not a cron expression: {why}; '0 7 * * *' is each day at 7:00"
    )
