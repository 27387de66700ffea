"""`python -m antenna_orchestration.embedded.code_server`: serve until told to stop."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Sequence
from multiprocessing import forkserver, resource_tracker, util
from pathlib import Path
from typing import Any, Final

from dagster._cli.api import grpc_command
from dagster._grpc import server

RUN_IMPORTS: Final = "antenna_orchestration.embedded.code_server.run_imports"
FORK_SERVER: Final = "antenna_orchestration.embedded.code_server.fork_server"


class CodeServer(server.DagsterApiServer):
    """Dagster's code server.

    It has no setting for how it starts processes, so its context is replaced: a private name, which a test watches and
    the range of versions in pyproject.toml keeps.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        origin = options.get("loadable_target_origin")
        _start_fork_server(origin.module_name if origin is not None else None)
        super().__init__(*arguments, **options)
        self._mp_ctx: Any = multiprocessing.get_context("forkserver")

    def StartRun(self, request: Any, context: Any) -> Any:
        """Dagster's; without a way to the fork server, as Dagster does it."""
        address = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]
        if self._mp_ctx.get_start_method() == "forkserver" and not (address and Path(address).is_socket()):
            self._logger.warning("runs are no longer forked but start slowly: the socket %s is gone", address)
            self._mp_ctx = multiprocessing.get_context("spawn")
        return super().StartRun(request, context)


def _start_fork_server(definitions: str | None) -> None:
    """Make the fork server a copy of this process while it has one thread, so that they share the modules' memory.

    Should the copy die, multiprocessing starts another one by itself, as a new interpreter.
    """
    resource_tracker.ensure_running()
    if definitions is not None:
        # Why it cannot be imported, Dagster tells when it does so itself.
        with contextlib.suppress(Exception):
            importlib.import_module(definitions)
    importlib.import_module(RUN_IMPORTS)
    multiprocessing.set_forkserver_preload([*filter(None, [definitions]), RUN_IMPORTS, FORK_SERVER])
    start_interpreter = util.spawnv_passfds
    util.spawnv_passfds = _copy_this_process  # type: ignore[assignment]
    try:
        forkserver.ensure_running()
    except OSError as error:
        # Its socket lies in the folder for temporary files, whose name may be too long for one.
        warnings.warn(f"no fork server: {error}", stacklevel=1)
    finally:
        util.spawnv_passfds = start_interpreter


def _copy_this_process(_: bytes, __: Sequence[Any], kept: Sequence[int]) -> int:
    """What `exec` would do to files, signals and locks, without `exec`."""
    with warnings.catch_warnings():
        # From 3.12 on Python warns of other threads: those of numpy's and pyarrow's allocators, which survive a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    try:
        for name in os.listdir("/dev/fd"):  # noqa: PTH208  iterdir would keep the folder open meanwhile
            if (fd := int(name)) > 2 and fd not in kept:
                with contextlib.suppress(OSError):
                    os.close(fd)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        importlib.import_module(FORK_SERVER)
        # We are inside `ensure_running`, which holds it.
        forkserver._forkserver._lock = threading.Lock()  # type: ignore[attr-defined]
        listener, alive = kept
        forkserver.main(listener, alive, [])
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(0)


def main() -> None:
    """Serve until told to stop."""
    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    grpc_command()


if __name__ == "__main__":
    main()
