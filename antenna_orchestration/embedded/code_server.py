"""`dagster api grpc`, whose runs are forked from a process that has imported everything already.

Dagster starts a run with multiprocessing's `spawn`: a new interpreter imports Dagster, the definitions and the clients
of all stores, most of what a small job costs. Python's `forkserver` imports them once. The options are those of
`dagster api grpc`. See docs/decisions/runs.md.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing import forkserver
from typing import Any, Final

from dagster._cli.api import grpc_command
from dagster._grpc import server

RUN_IMPORTS: Final = "antenna_orchestration.embedded.run_imports"


class CodeServer(server.DagsterApiServer):
    """Dagster's code server.

    It has no setting for how it starts processes, so its context is replaced: a private name, which a test watches and
    the range of versions in pyproject.toml keeps.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        origin = options.get("loadable_target_origin")
        definitions = [origin.module_name] if origin is not None and origin.module_name else []
        # `run_imports` last: it freezes what is there.
        multiprocessing.set_forkserver_preload([*definitions, RUN_IMPORTS])
        self._mp_ctx = multiprocessing.get_context("forkserver")  # type: ignore[assignment]
        forkserver.ensure_running()


def main() -> None:
    """Serve until told to stop."""
    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    grpc_command()


if __name__ == "__main__":
    main()
