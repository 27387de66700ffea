"""What Dagster has of asset checks: their latest verdicts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from antenna_orchestration.domain import markdown


@dataclass(frozen=True)
class Failed:
    """A check that failed when it was made last."""

    name: str
    # What it found, in lines.
    details: str


def failed(instance: dg.DagsterInstance, asset: str, names: Iterable[str]) -> list[Failed]:
    """Those of an asset's checks whose latest verdict is that they failed; one query."""
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), name) for name in names]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = []
    for key, record in latest.items():
        evaluation = record.evaluation
        if record.status is AssetCheckExecutionRecordStatus.FAILED and evaluation is not None:
            found.append(Failed(key.name, _details(evaluation.metadata)))
    return found


def _details(metadata: Mapping[str, dg.MetadataValue]) -> str:
    value = metadata.get("details")
    return markdown.unescaped(str(value.value)) if value is not None else ""
