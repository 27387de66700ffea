"""Dagster's instance, named in `dagster.yaml`: what it knows of partitions stays good when there is one more.

Dagster keeps for each asset which of its partitions are there, and drops that when the partitions' definition got
another id. For dynamic partitions, which jobs are, the id is a hash of all keys: each new job made the lineage page
read the events of all jobs again, 15 to 19 s at 50,000 jobs (Dagster 1.13.27, `instance.py` and
`partition_status_cache.py`). New partitions need no new id, because Dagster adds what was materialized since. A deleted
one does: it would be shown for ever.

And a run is asked for each of its outputs whether its partition is there. Once it was, it need not ask again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef

from antenna_orchestration import settings

_KEY: Final = "antenna/partitions-deleted"
"""In Dagster's table of values by key: another text after each deletion."""

IS_FORKED_RUN = False
"""Set in runs that the code server forked, which end with their job."""
_there: set[tuple[str, str]] = set()
"""The partitions that this run has seen, by definition and key."""


class Instance(DagsterInstance):
    """Dagster's, with ids of dynamic partitions that change when one is deleted, and each day."""

    @classmethod
    def config_schema(cls) -> Mapping[str, Any]:
        """Called by Dagster: nothing of its own."""
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, Any]:
        """Called by Dagster."""
        return InstanceRef.config_defaults(base_dir)

    def get_dynamic_partitions_definition_id(self, partitions_def_name: str) -> str:
        """The id under which Dagster keeps what it knows of the partitions.

        With each day comes another one: who looked at the keys before a partition was added, and at the events after it
        was materialized, has left it out.
        """
        if settings.get().dagster_unchanged:
            return super().get_dynamic_partitions_definition_id(partitions_def_name)
        key = _key(partitions_def_name)
        deleted = self.run_storage.get_cursor_values({key}).get(key, "")
        return f"{partitions_def_name} {deleted} {datetime.now(UTC):%Y-%m-%d}"

    def has_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> bool:
        """Whether a partition is there; in a run, whether it was there once."""
        about = (partitions_def_name, partition_key)
        if about in _there:
            return True
        found = super().has_dynamic_partition(partitions_def_name, partition_key)
        if found and IS_FORKED_RUN and not settings.get().dagster_unchanged:
            _there.add(about)
        return found

    def delete_dynamic_partition(self, partitions_def_name: str, partition_key: str) -> None:
        """Delete a partition, with what Dagster keeps of it."""
        # Before, in case that this process ends in between; after, for those who look in between.
        self.forget_partitions(partitions_def_name)
        super().delete_dynamic_partition(partitions_def_name, partition_key)
        self.forget_partitions(partitions_def_name)

    def forget_partitions(self, partitions_def_name: str) -> None:
        """Let Dagster look again which partitions are there."""
        self.run_storage.set_cursor_values({_key(partitions_def_name): uuid.uuid4().hex})


def _key(partitions_def_name: str) -> str:
    return f"{_KEY}/{partitions_def_name}"
