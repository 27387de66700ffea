"""Targets that are a command."""

from __future__ import annotations

import json

from antenna_orchestration.alerting import payload
from antenna_orchestration.alerting.configuration import CommandTarget
from antenna_orchestration.domain.alerts import Message
from antenna_orchestration.pools import launcher


async def run(target: CommandTarget, message: Message) -> str:
    """Run it with the message as JSON on its input; returns what it printed. It is killed when it takes too long."""
    said = await launcher.output_of(
        target.command,
        timeout=target.timeout_seconds,
        environment=launcher.plain_environment(names=target.environment),
        stdin=json.dumps(payload.of(message)),
    )
    return launcher.told_of(said) or "it ended well"
