"""Targets that get mail."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

import aiosmtplib

from antenna_orchestration import errors
from antenna_orchestration.alerting import secret_values
from antenna_orchestration.alerting.configuration import EmailTarget
from antenna_orchestration.domain import alerts
from antenna_orchestration.domain.alerts import Message


async def send(target: EmailTarget, message: Message) -> str:
    """Hand the mail to the server; returns its answer."""
    password = secret_values.value_of(target.password) if target.password else ""
    secrets = (password, _encoded(password), _encoded(f"\0{target.user}\0{password}")) if password else ()
    try:
        refused, answer = await aiosmtplib.send(
            mail_of(target, message),
            sender=target.sender,
            recipients=list(target.to),
            hostname=target.host,
            port=target.port,
            username=target.user or None,
            password=password or None,
            use_tls=target.security == "tls",
            start_tls=target.security == "starttls",
            timeout=target.timeout_seconds,
        )
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise errors.Unavailable(secret_values.without(_why(error), *secrets)) from None
    said = secret_values.without(answer, *secrets)
    # Whoever did not get it is not told again: the others would get it twice.
    return f"{said}; refused for {', '.join(refused)}" if refused else said


def mail_of(target: EmailTarget, message: Message) -> EmailMessage:
    """The mail. A mail that is sent twice has the same id, by which mail programs show it once."""
    mail = EmailMessage()
    mail["Subject"] = f"[antenna] {alerts.one_line(message.subject)}"
    mail["From"] = Address(addr_spec=target.sender)
    mail["To"] = [Address(addr_spec=address) for address in target.to]
    mail["Date"] = format_datetime(datetime.now(UTC))
    made_at = f"{message.since.timestamp():.0f}" if message.telling is not alerts.Telling.TEST else "test"
    mail["Message-ID"] = f"<alert-{message.message_id}-{made_at}@{target.sender.rpartition('@')[2]}>"
    # So that nobody's absence answers.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n\n".join(filter(None, (message.text, message.link))) + "\n")
    return mail


def _encoded(secret: str) -> str:
    """As it goes over the wire when somebody logs in."""
    return b64encode(secret.encode()).decode()


def _why(error: Exception) -> str:
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"it answered {error.code} {error.message}"
    return str(error) or type(error).__name__
