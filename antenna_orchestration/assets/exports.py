"""The exports of a job: an asset for each format, made on demand or with each job that ends, in the lake.

Belongs here: what Dagster shows of an export. The formats are in `exports/`, the verb is `processing/export.py`.
"""

import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors, settings
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.domain import ids, terminal
from antenna_orchestration.exports import formats
from antenna_orchestration.exports.formats import MOST_FAULTS, Format
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.processing import export as verb
from antenna_orchestration.processing.export import Exported
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports, run_interruptible
from antenna_orchestration.resources.stores import Stores

GROUP = "exports"

CHECK = "is_valid"


class ExportConfig(dg.Config):
    """How to export: the same as the options of `antenna export`."""

    partial: bool = Field(
        default=False, description="Leave out what lacks what the format demands, and say so, in place of refusing."
    )
    threshold: float = Field(
        default=0.0, description="Leave out detections with a lower score, 0 to 1; for formats that take one."
    )
    options: dict[str, str] = Field(
        default={}, description="Further options of the format, such as {as: parquet} of tables."
    )


def asset_name(format: Format) -> str:
    """The asset of a format."""
    return f"export_{format.name.replace('-', '_')}"


def _asset(format: Format) -> dg.AssetsDefinition:
    name = asset_name(format)
    where = f"`<lake>/exports/{format.name}/job_id=<job>/{format.file or format.name}`"

    @dg.asset(
        name=name,
        partitions_def=processing_jobs,
        group_name=GROUP,
        deps=["observations", "nights", "counts", "photographs"],
        backfill_policy=dg.BackfillPolicy.single_run(),
        tags={"format": format.name},
        description=f"The results of a job as {format.title}, in {where}. Materialize a partition on demand, or a "
        "range of them in one run. The tables that it is made from are derived anew if something changed, so names, "
        f"places and reviews that are known by then go in. `antenna export {format.name} --job N --out PATH` writes "
        "the same elsewhere; the setting `ANTENNA_EXPORT_EACH_JOB` makes it with each job that ends.",
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=name,
                blocking=True,
                description="The export keeps the rules of its format, by our own checks and by the format's usual "
                "validator where that is installed (extra `validators`).",
            )
        ],
    )
    def export(context: dg.AssetExecutionContext, config: ExportConfig, stores: Stores) -> Iterator[Any]:
        work = partial(_export, stores, context.partition_keys, format, config)
        try:
            made: Mapping[str, Exported] = run_interruptible(context, work)
        except errors.AntennaError as error:
            raise dg.Failure(description=terminal.line(error), allow_retries=False) from None
        if len(made) == 1:
            yield dg.MaterializeResult(metadata=_shown(*made.values()))
        else:
            # A range materializes every partition by one result without telling them apart, so this comes first: the UI
            # shows the latest event of a partition, and that must be the one with its own metadata.
            yield dg.MaterializeResult()
            for key, one in made.items():
                yield dg.AssetMaterialization(name, partition=key, metadata=_shown(one))
        yield _is_valid(made)

    return export


async def _export(
    stores: Stores, keys: list[str], format: Format, config: ExportConfig, reports: Reports
) -> dict[str, Exported]:
    async with stores.opened() as services:
        return {key: await _of_partition(services, key, format, config, reports) for key in keys}


async def _of_partition(
    services: Services, key: str, format: Format, config: ExportConfig, reports: Reports
) -> Exported:
    job = ids.job_of_partition(key)
    order = verb.order(
        format,
        Selection(jobs=(job,), threshold=config.threshold),
        out=verb.place_in_lake(services, format, job),
        options=config.options,
        partial=config.partial,
        replace=True,
        check=True,
    )
    made = await verb.export(services, order)
    reports.log(f"{key}: {made.summary}")
    return made


def _shown(made: Exported) -> dict[str, Any]:
    return {
        "dagster/uri": made.uri,
        "complete": made.is_complete,
        **dict(made.written.counts),
        **({"left_out": "\n".join(made.written.left_out)} if made.written.left_out else {}),
        **({"notes": "\n".join(made.written.notes)} if made.written.notes else {}),
    }


def _is_valid(made: Mapping[str, Exported]) -> dg.AssetCheckResult:
    checked = {key: one.checked for key, one in made.items() if one.checked is not None}
    faults = [f"{key}: {fault}" for key, one in checked.items() for fault in one.faults]
    by = sorted({name for one in checked.values() for name in one.by})
    unchecked = sorted({line for one in checked.values() for line in one.unchecked})
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=not faults,
        metadata={
            "faults": dg.MetadataValue.json([terminal.line(one) for one in faults[:MOST_FAULTS]]),
            "checked_by": ", ".join(by),
            **({"not_checked": "\n".join(unchecked)} if unchecked else {}),
        },
    )


with warnings.catch_warnings():
    # Of backfill policies, which Dagster calls beta.
    warnings.simplefilter("ignore", dg.BetaWarning)
    EXPORTS = {format.name: _asset(format) for format in formats.FORMATS.values()}
"""The asset of each format, by the format's name."""


def of_each_job() -> list[dg.AssetsDefinition]:
    """The exports that are made with each job that ends. Raises `InvalidSetting` for a format that there is not."""
    wanted = settings.get().export_each_job
    if unknown := [name for name in wanted if name not in EXPORTS]:
        raise errors.InvalidSetting(
            f"ANTENNA_EXPORT_EACH_JOB: there is no format {unknown[0]!r}; there are {', '.join(EXPORTS)}"
        )
    return [EXPORTS[name] for name in wanted]
