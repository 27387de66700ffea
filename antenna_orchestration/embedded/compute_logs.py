"""What runs write to stdout and stderr, kept in the files that Dagster shows, without processes that copy it.

Dagster shows it in the code server's own output as well. For that it starts two `tail`s and two interpreters, which
watch the `tail`s, with each run (Dagster 1.13.27, `compute_logs.py`). Runs that a person executes in a terminal do so
still.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._utils import ensure_file, touch_file

from antenna_orchestration import settings

IS_FORKED_RUN = False
"""Set in runs that the code server forked: nobody sees their terminal, and they end with their job."""


class ComputeLogs(LocalComputeLogManager):
    """Dagster's files."""

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "ComputeLogs":
        """Called by Dagster."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Write what this process writes into the files of the key, for the length of the block."""
        if not IS_FORKED_RUN or settings.get().dagster_unchanged:
            with super().capture_logs(log_key) as captured:
                yield captured
            return
        out = self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[ComputeIOType.STDOUT])
        error = self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[ComputeIOType.STDERR])
        ensure_file(out)
        ensure_file(error)
        with redirect_to_file(sys.stdout, out), redirect_to_file(sys.stderr, error):
            yield CapturedLogContext(log_key)
        # It tells Dagster's pages that nothing more comes.
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]
