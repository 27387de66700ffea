"""`python -m antenna_orchestration.embedded.code_server`: serve until told to stop."""

# Nothing imports this module: what multiprocessing starts in turn, a worker's device process, leaves a module of this
# name alone and imports no Dagster.

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, util
from typing import Any, Final

from dagster._cli.api import grpc_command
from dagster._grpc import server

RUN_IMPORTS: Final = "antenna_orchestration.embedded.code_server.run_imports"


class CodeServer(server.DagsterApiServer):
    """Dagster's code server.

    It has no setting for how it starts processes, so its context is replaced: a private name, which a test watches and
    the range of versions in pyproject.toml keeps.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        origin = options.get("loadable_target_origin")
        definitions = [origin.module_name] if origin is not None and origin.module_name else []
        # `run_imports` last: it freezes what is there.
        _start_fork_server([*definitions, RUN_IMPORTS])
        super().__init__(*arguments, **options)
        self._mp_ctx = multiprocessing.get_context("forkserver")  # type: ignore[assignment]


def _start_fork_server(modules: list[str]) -> None:
    """Make the fork server a copy of this process while it has one thread, so that they share the modules' memory.

    Should the copy die, multiprocessing starts another one by itself, as a new interpreter.
    """
    multiprocessing.set_forkserver_preload(modules)
    resource_tracker.ensure_running()
    for module in modules:
        # What it cannot import, Dagster tells of when it loads the definitions.
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    start_interpreter = util.spawnv_passfds
    util.spawnv_passfds = _copy_this_process  # type: ignore[assignment]
    try:
        forkserver.ensure_running()
    finally:
        util.spawnv_passfds = start_interpreter


def _copy_this_process(_: bytes, __: Sequence[Any], kept: Sequence[int]) -> int:
    """What `exec` would do to files and signals, without `exec`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for name in os.listdir("/dev/fd"):  # noqa: PTH208  iterdir would keep the folder open meanwhile
            if (fd := int(name)) > 2 and fd not in kept:
                with contextlib.suppress(OSError):
                    os.close(fd)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        listener, alive = kept
        forkserver.main(listener, alive, [])
    finally:
        os._exit(0)


def main() -> None:
    """Serve until told to stop."""
    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    grpc_command()


if __name__ == "__main__":
    main()
