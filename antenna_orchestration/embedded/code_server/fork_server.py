"""Imported last by the process that runs are forked from, and by no other: it outlives a SIGTERM to its group.

Otherwise the runs, which take a while to leave, would look as if they had died with it. It ends by itself when the code
server and the last run have.

What derives tables takes a second of CPU to import, what draws pictures another one, and Redis' client a fifth of one,
so all are imported here once, and not by every run. The processes in which runs draw are forked from here, too.
"""

import os
import signal
from multiprocessing import forkserver, resource_tracker

import astral.sun  # noqa: F401
import dagster._core.execution.plan.active  # noqa: F401
import duckdb  # noqa: F401
import fsspec.implementations.chained  # noqa: F401
import pandas  # noqa: F401
import pyarrow.pandas_compat  # noqa: F401
import scipy.optimize
import scipy.sparse.csgraph  # noqa: F401

import antenna_orchestration.live.store  # noqa: F401
from antenna_orchestration import kernel
from antenna_orchestration.embedded import compute_logs, dagster_instance, pooled_storage
from antenna_orchestration.processing import drawing

# Copied with each fork. The process that this one is a copy of did the same with what it had.
kernel.keep_what_is_imported.cache_clear()
kernel.keep_what_is_imported()

signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _be_a_run() -> None:
    """A run may fork further processes from here: `multiprocessing` would start a server of its own for each run."""
    forkserver._forkserver.ensure_running = resource_tracker.ensure_running  # type: ignore[method-assign]
    drawing.CAN_FORK = True
    compute_logs.copy_nothing()
    dagster_instance.IS_FORKED_RUN = True
    pooled_storage.take_tables_to_be_there(os.environ.get("ANTENNA_DAGSTER_PG_URL", ""))


os.register_at_fork(after_in_child=_be_a_run)
