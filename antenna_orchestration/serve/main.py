"""Run a processing service until SIGTERM or SIGINT. It then finishes what it has; a second one stops it at once."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import uvicorn

from antenna_orchestration import errors, kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.gateway import connections, protocol
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.serve.app import Routes, create_app
from antenna_orchestration.serve.engine import Engine
from antenna_orchestration.serve.options import ServeOptions
from antenna_orchestration.worker.device.pool import DevicePool

logger = logging.getLogger(__name__)

KEEP_ALIVE: Final = 75
"""Seconds for which an idle connection is kept open: a client that posts on a connection just closed loses the post."""

BACKLOG: Final = 256


class _Server(uvicorn.Server):
    """One whose signals are handled by whoever runs it: what serves it ends after it, in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def run(settings: settings_module.Settings, options: ServeOptions, *, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT. `on_listening` gets the address, once it is listened on.

    Raises `InvalidInput` for options that cannot be, `UnknownPipeline`, `Unavailable` when the address cannot be
    listened on, and `PipelineUnavailable` or `DeviceLost` when no device process can be started.
    """
    if not options.pipelines:
        raise errors.InvalidInput("name the pipelines to serve, as in --pipelines moths (see antenna pipelines list)")
    pipelines = {slug: registry.get(slug, settings.pipeline_paths) for slug in options.pipelines}
    if not options.token and not _is_loopback(options.host):
        logger.warning("everybody who reaches %s can have images processed here: see --token-file", options.host)
    listener = _listen(options.host, options.port)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with listener, tempfile.TemporaryDirectory(prefix="antenna-serve-") as folder:
        asyncio.run(
            _serve(
                settings,
                options,
                pipelines=pipelines,
                listener=listener,
                folder=Path(folder),
                on_listening=on_listening,
            )
        )


async def _serve(
    settings: settings_module.Settings,
    options: ServeOptions,
    *,
    pipelines: Mapping[str, PipelineSpec],
    listener: socket.socket,
    folder: Path,
    on_listening: Callable[[str], None],
) -> None:
    memory = MemoryBudget(settings.worker_memory_mb * 2**20)
    async with (
        Loader(settings=settings, memory=memory) as loader,
        DevicePool(settings=settings, device=options.device or settings.device) as device,
    ):
        engine = Engine(settings=settings, pipelines=pipelines, device=device, loader=loader, queue=options.queue)
        routes = Routes(engine=engine, folder=folder, token=options.token)
        server = _Server(_config(settings, routes))
        _end_on_signals(server)
        on_listening(_url(listener))
        running = asyncio.create_task(engine.run(), name="engine")
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        try:
            await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                # It never ends by itself: raises what broke it.
                running.result()
            serving.result()
        finally:
            await kernel.end(serving, running)


def _config(settings: settings_module.Settings, routes: Routes) -> uvicorn.Config:
    most = max(min(connections.MOST, kernel.raise_file_limit() - connections.FILES), 1)
    guard = protocol.Guard(
        connections=connections.Connections(most=most, most_of_one=min(connections.MOST_OF_ONE, most)),
        patience=settings.gateway_patience,
        proxies=(),
    )
    return uvicorn.Config(
        create_app(routes),
        http=guard.protocol(),
        # No route takes a WebSocket, and one would leave the bounds of our protocol.
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        # What was begun is finished; a pipeline that hangs ends with ANTENNA_TASK_TIMEOUT.
        timeout_graceful_shutdown=None,
        lifespan="off",
    )


def _end_on_signals(server: uvicorn.Server) -> None:
    def ask() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        logger.info("leaving%s", " at once" if server.force_exit else "")

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise errors.Unavailable(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
