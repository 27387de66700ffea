"""Those who get alerts: a web server and a mail server in threads of this process, which remember what came."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.free_ports import free_port


@dataclass
class Post:
    """One that came."""

    path: str
    headers: dict[str, str]
    json: Any


@dataclass
class Receiver:
    """A web server; `status` and `answer` are what it says, and while `hangs` it takes and says nothing."""

    url: str = ""
    posts: list[Post] = field(default_factory=list)
    status: int = 200
    answer: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False

    @property
    def subjects(self) -> list[str]:
        """Of the messages that came and were taken."""
        return [post.json["subject"] for post in self.posts]


@contextmanager
def web_receiver() -> Iterator[Receiver]:
    """A web server that takes posts."""
    receiver = Receiver()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    ready = threading.Event()

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if receiver.status < 300:
            receiver.posts.append(Post(request.path, dict(request.headers), json.loads(body)))
        if receiver.hangs:
            await over.wait()
        return web.Response(status=receiver.status, text=receiver.answer, headers=receiver.headers)

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield receiver
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@dataclass
class Mailbox:
    """A mail server; `answer` is what it says to a mail."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    answer: str = "250 taken"
    password: str = "a good password"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """What aiosmtpd calls."""
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(list(envelope.rcpt_tos))
        return self.answer

    def check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
        """Whether a login is good."""
        assert isinstance(given, LoginPassword)
        self.logins.append((given.login.decode(), given.password.decode()))
        return AuthResult(success=given.password.decode() == self.password, handled=False)


@contextmanager
def mail_receiver(*, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """A mail server; with `starttls` it wants that and a login before it takes anything."""
    mailbox = Mailbox(port=free_port())
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=mailbox.port,
        ssl_context=tls,
        tls_context=starttls,
        require_starttls=starttls is not None,
        auth_required=starttls is not None,
        authenticator=mailbox.check if starttls else None,
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
