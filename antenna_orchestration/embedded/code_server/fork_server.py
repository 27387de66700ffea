"""Imported last by the process that runs are forked from, and by no other: it outlives a SIGTERM to its group.

Otherwise the runs, which take a while to leave, would look as if they had died with it. It ends by itself when the code
server and the last run have.

What derives tables takes a second of CPU to import, so it is imported here once, and not by every run.
"""

import os
import signal

import astral.sun  # noqa: F401
import duckdb  # noqa: F401
import pandas  # noqa: F401
import scipy.optimize  # noqa: F401

from antenna_orchestration import kernel

# Copied with each fork.
kernel.keep_what_is_imported()

signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
