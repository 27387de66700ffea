"""A real HTTP server with images and the faults of image servers; it speaks enough of S3 for reads."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web
from PIL import Image


def jpeg(width: int = 64, height: int = 48) -> bytes:
    """A plain photograph."""
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 50).convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def s3_error(status: int, code: str, message: str) -> web.Response:
    """An error response in the format of S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return web.Response(status=status, text=body, content_type="application/xml")


class ImageServer:
    """Serves images at `/good/N`, and faults at their names. `serving` makes it."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        # As they stood in the request line.
        self.paths: list[str] = []
        self.image = jpeg()
        # If set, every request is answered with this status.
        self.outage: int | None = None
        self.url = ""
        self._let_go = asyncio.Event()

    def uri(self, name: str) -> str:
        return f"{self.url}/{name}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path.strip("/")
        self.requests[path] += 1
        self.paths.append(request.raw_path)
        if self.outage is not None:
            return web.Response(status=self.outage)
        kind, _, detail = path.partition("/")
        answers = {
            "good": lambda: web.Response(body=self.image, content_type="image/jpeg"),
            "text": lambda: web.Response(text="this is called .jpg and is none"),
            "page": lambda: web.Response(text="<!DOCTYPE html><html>please log in</html>", content_type="text/html"),
            "truncated": lambda: web.Response(body=self.image[: len(self.image) // 2]),
            "empty": lambda: web.Response(body=b""),
            "status": lambda: web.Response(status=int(detail)),
            "recovers": lambda: web.Response(body=self.image) if self.requests[path] > 1 else web.Response(status=503),
            "redirect": lambda: web.Response(status=302, headers={"Location": request.query["to"]}),
            "part": lambda: web.Response(
                status=206, body=self.image, headers={"Content-Range": request.query["range"]}
            ),
            "tagged": lambda: web.Response(body=self.image, headers={"ETag": f'"{detail}"'}),
            "loop": lambda: web.Response(status=302, headers={"Location": "/loop"}),
            "bucket": lambda: web.Response(body=self.image),
            "no-bucket": lambda: s3_error(404, "NoSuchBucket", "The specified bucket does not exist"),
            "no-key": lambda: s3_error(404, "NoSuchKey", "The specified key does not exist."),
            "denied": lambda: s3_error(403, "AccessDenied", "Access Denied"),
            "busy": lambda: s3_error(503, "SlowDown", "Please reduce your request rate."),
            "large": lambda: web.Response(body=b"\xff\xd8" + bytes(int(detail))),
        }
        if kind == "hang":
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._let_go.wait(), 60)
        if kind in ("chunked", "cut", "dribble"):
            return await self._stream(request, kind, int(detail or 0))
        return answers.get(kind, lambda: web.Response(status=404))()

    async def _stream(self, request: web.Request, kind: str, size: int) -> web.StreamResponse:
        """Send a body without a length, cut off, or so slowly that it never ends."""
        response = web.StreamResponse()
        if kind == "cut":
            response.content_length = size
        await response.prepare(request)
        if kind == "cut":
            await response.write(bytes(size // 2))
            assert request.transport is not None
            request.transport.close()
            return response
        if kind == "dribble":
            with contextlib.suppress(ConnectionError):
                while not self._let_go.is_set():
                    await response.write(b"x")
                    await asyncio.sleep(0.05)
            return response
        left = size
        with contextlib.suppress(ConnectionError):
            while left > 0:
                await response.write(bytes(min(left, 65536)))
                left -= 65536
        return response

    def let_go(self) -> None:
        """End the requests that hang."""
        self._let_go.set()


@contextlib.asynccontextmanager
async def serving(*, host: str = "127.0.0.1") -> AsyncIterator[ImageServer]:
    """Run a server on a free port of the loopback interface, or of the host's address."""
    server = ImageServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.let_go()
        await runner.cleanup()
