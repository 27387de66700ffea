"""Who did something, as logs and lists say it."""

from __future__ import annotations


def dagster_run(run_id: str) -> str:
    """A run of Dagster, which does not know its people."""
    return f"Dagster run {run_id[:8]}"
