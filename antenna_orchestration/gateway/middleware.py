"""ASGI middleware for every request: normalized paths, request ids, headers, the answer to a bug, the access log."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import Final
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from antenna_orchestration.gateway.measured import Measured

CLIENT_GONE: Final = 499
"""Status that logs and metrics show for a caller that disconnected before it was answered."""

logger = logging.getLogger(__name__)
access_log = logging.getLogger("antenna_orchestration.gateway.access")

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""What every answer carries."""


def shown(path: str) -> str:
    """A path as logs show it, in one line. A signed image link grants access, so only its beginning is shown."""
    before, images, link = path.partition("/images/")
    return quote(before + images + link[:8] + ("…" if len(link) > 8 else ""), safe="/!$&'()*+,;=:@~…", errors="replace")


HEAD: Final = "is_head"
"""In the state of a request whose answer's body nobody gets; the server leaves it out."""

_FILES: Final = re.compile(r"/api/v2/(?:jobs|projects)/[^/]+/(?:results|derived|report)/.*")
"""What can be downloaded, and so be asked for with `HEAD`."""


class Edge:
    """The outermost middleware. Paths with and without a trailing slash are the same; nothing is ever redirected."""

    def __init__(self, app: ASGIApp, *, measured: Measured | None = None) -> None:
        self._app = app
        self._measured = measured

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path.startswith("/api/") and not path.endswith("/"):
            # A redirected POST would arrive as a GET.
            scope = {**scope, "path": f"{path}/", "raw_path": f"{path}/".encode()}
        elif not path.startswith("/api/") and len(path) > 1 and path.endswith("/"):
            scope = {**scope, "path": path.rstrip("/") or "/", "raw_path": (path.rstrip("/") or "/").encode()}
        method = scope["method"]
        if method == "HEAD" and _FILES.fullmatch(scope["path"]):
            scope = {**scope, "method": "GET"}
            scope.setdefault("state", {})[HEAD] = True
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["fingerprint"] = "-"
        began = time.monotonic()
        status = 0
        sent = received = 0

        async def counted_receive() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, send_with_headers)
        except Exception as error:
            logger.error("%s %s, request %s", scope["method"], shown(path), request_id, exc_info=error)
            if status:
                # Half an answer is sent. The server breaks it off, which tells the client.
                raise
            answer = JSONResponse({"detail": "internal error; the server's log has it under the request's id"}, 500)
            await answer(scope, counted_receive, send_with_headers)
        finally:
            took = time.monotonic() - began
            # The router has noted it, unless there is none.
            route = getattr(scope.get("route"), "path", "")
            if self._measured is not None:
                self._measured.request(method, route, status or CLIENT_GONE, took)
            client = scope.get("client")
            access_log.info(
                "%s %s %d %.0f ms, %d in, %d out, from %s, token %s, request %s",
                method,
                shown(path),
                status,
                took * 1000,
                received,
                sent,
                client[0] if client else "-",
                scope["state"].get("fingerprint", "-"),
                request_id,
            )
