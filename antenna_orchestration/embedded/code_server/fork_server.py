"""Imported last by the process that runs are forked from, and by no other: it outlives a SIGTERM to its group.

Otherwise the runs, which take a while to leave, would look as if they had died with it. It ends by itself when the code
server and the last run have.
"""

import os
import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
