"""The ASGI layer around Dagster's webserver that applies `rules`."""

from __future__ import annotations

import logging
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antenna_orchestration.settings import Settings
from antenna_orchestration.ui import rules

logger = logging.getLogger(__name__)

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # No page from elsewhere shows the UI in a frame, to have its buttons clicked.
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY: Final = "img-src 'self' data: blob:; frame-ancestors 'self'; form-action 'self'"
"""Beside Dagster's own: a picture in a text that is shown is not fetched from elsewhere. Browsers apply both."""


class Guard:
    """Answers what the rules refuse, and passes on the rest."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in settings.ui_hosts)
        self._password = settings.ui_password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a WebSocket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = rules.Request(
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"],
            headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        )
        refusal = rules.judge(request, hosts=self._hosts, password=self._password)
        if refusal is None:
            await self._app(scope, receive, _with_headers(send))
            return
        if refusal.status != 401:
            logger.warning("refused %s %.200r: %s", request.method, request.path, refusal.reason)
        if scope["type"] == "websocket":
            # Before it was accepted, this is an answer of 403.
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {401: {"WWW-Authenticate": 'Basic realm="antenna", charset="UTF-8"'}, 405: {"Allow": "POST"}}
        answer = PlainTextResponse(f"{refusal.reason}\n", refusal.status, headers.get(refusal.status))
        await answer(scope, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            headers.append("Content-Security-Policy", _POLICY)
        await send(message)

    return send_with_headers
