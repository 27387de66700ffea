"""What forked runs write to stdout and stderr: kept in the files that Dagster shows, without processes that copy it.

Dagster shows it in the code server's own output as well. For that it starts two `tail`s and two interpreters, which
watch the `tail`s, with each run (Dagster 1.13.27, `compute_logs.py`). Runs that a person executes in a terminal do so
still. It has no setting for it, so a function of its module is replaced: a private name, which a test watches and the
range of versions in pyproject.toml keeps. A class of ours in its place would be named to the hosts of other code
locations, which may have an earlier release.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.execution.compute_logs import mirror_stream_to_file, redirect_to_file
from dagster._core.storage import local_compute_log_manager
from dagster._utils import ensure_file

from antenna_orchestration import settings


def copy_nothing() -> None:
    """For a run that the code server forked: nobody looks at its terminal."""
    local_compute_log_manager.mirror_stream_to_file = _to_file  # type: ignore[assignment, attr-defined]


@contextmanager
def _to_file(stream: Any, path: str) -> Iterator[object]:
    if settings.get().dagster_unchanged:
        with mirror_stream_to_file(stream, path) as pids:
            yield pids
        return
    ensure_file(path)
    with redirect_to_file(stream, path):
        yield None
