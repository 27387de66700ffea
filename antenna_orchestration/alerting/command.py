"""Targets that are a command."""

from __future__ import annotations

import json
import os

from antenna_orchestration import errors
from antenna_orchestration.alerting import payload, secret_values
from antenna_orchestration.alerting.configuration import CommandTarget
from antenna_orchestration.domain.alerts import Message
from antenna_orchestration.pools import launcher


async def run(target: CommandTarget, message: Message) -> str:
    """Run it with the message as JSON on its input; returns what it printed. It is killed when it takes too long."""
    # What it is given by name is a key more often than not, and it may say it.
    secrets = [os.environ.get(name, "") for name in target.environment]
    try:
        said = await launcher.output_of(
            target.command,
            timeout=target.timeout_seconds,
            environment=launcher.plain_environment(names=target.environment),
            stdin=json.dumps(payload.of(message)),
        )
    except errors.Unavailable as error:
        raise errors.Unavailable(secret_values.without(str(error), *secrets)) from None
    return launcher.told_of(secret_values.without(said, *secrets)) or "it ended well"
