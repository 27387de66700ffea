"""What a worker says over HTTP, on a port of its own and only when asked for: counters for Prometheus, and its life."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from antenna_orchestration import errors

Value = tuple[str, float]
"""What it means, and how much it is."""


@asynccontextmanager
async def served(port: int, read: Callable[[], Mapping[str, Value]], why_dead: Callable[[], str]) -> AsyncIterator[int]:
    """Serve `/metrics` and `/livez` for the length of a block, on all addresses; gives the port, chosen freely for 0.

    `/livez` answers 200, or 503 with what `why_dead` says. A metric whose name ends in `_total` is a counter, any other
    a gauge. Raises `InvalidSetting` when the port is taken.
    """

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(_Metrics(read())), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def livez(_: web.Request) -> web.Response:
        why = why_dead()
        return web.Response(text=f"{why or 'alive'}\n", status=503 if why else 200)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    app.router.add_get("/livez", livez)
    try:
        listening = _listening(port)
    except OSError as error:
        raise errors.InvalidSetting(f"metrics port {port}: {error.strerror or error}") from error
    with listening:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield int(listening.getsockname()[1])
        finally:
            await runner.cleanup()


def _listening(port: int) -> socket.socket:
    """One socket for IPv4 and IPv6: with two, port 0 would be another port on each."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


class _Metrics:
    """The worker's metrics as the library's registries have them."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def collect(self) -> Iterator[Metric]:
        for name, (meaning, value) in self._values.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(name, meaning, value=value)
