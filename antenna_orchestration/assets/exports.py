"""The exports of a job: an asset for each format, made on demand or with each job that ends, in the lake.

Belongs here: what Dagster shows of an export. The formats are in `exports/`, the verb is `answers/export.py`.
"""

import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from antenna_orchestration import errors, settings
from antenna_orchestration.answers import export as verb
from antenna_orchestration.answers.export import Exported
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.domain import ids, terminal
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.exports import formats
from antenna_orchestration.exports.formats import MOST_FAULTS, Format
from antenna_orchestration.exports.selection import Selection
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
        "range of them in one run, which fails in the end if some cannot be exported, and names them. The tables that "
        "it is made from are derived anew if something changed, so names, places and reviews that are known by then go "
        f"in. `antenna export {format.name} --job N --out PATH` writes "
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
        outcome = _Outcome()
        work = partial(_of_partition, format=format, config=config)
        try:
            run_interruptible(context, partial(_export, stores, context.partition_keys, work, outcome))
        except BaseException:
            # Terminated, for example: what is written is there.
            yield from _written(name, outcome)
            raise
        if outcome.failed:
            yield from _written(name, outcome)
            raise _failure(outcome)
        # One result is that of all partitions, each with its own metadata.
        for key, one in outcome.made.items():
            context.add_asset_metadata(_shown(one), partition_key=key)
        yield dg.MaterializeResult()
        yield _is_valid(outcome.made)

    return export


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of the partitions of a run so far."""

    made: dict[str, Exported] = field(default_factory=dict)
    # Why they could not be exported.
    failed: dict[str, errors.AntennaError] = field(default_factory=dict)


async def _export(
    stores: Stores,
    keys: Sequence[str],
    of_partition: Callable[[Services, str, Reports], Awaitable[Exported]],
    outcome: _Outcome,
    reports: Reports,
) -> None:
    """Export each partition, whatever becomes of the others."""
    async with stores.opened() as services:
        for key in keys:
            try:
                outcome.made[key] = await of_partition(services, key, reports)
            except errors.AntennaError as error:
                outcome.failed[key] = error
                reports.log(f"{key}: not exported: {error}")


def _written(name: str, outcome: _Outcome) -> Iterator[Any]:
    """The events of the partitions that were exported in a run that fails: its result would be that of all."""
    for key, one in outcome.made.items():
        yield dg.AssetMaterialization(name, partition=key, metadata=_shown(one))
    if outcome.made:
        yield _is_valid(outcome.made)


def _failure(outcome: _Outcome) -> dg.Failure:
    """What a run says of the partitions that could not be exported."""
    whys = {key: terminal.line(error) for key, error in outcome.failed.items()}
    if not outcome.made and len(whys) == 1:
        return dg.Failure(description=next(iter(whys.values())), allow_retries=False)
    shown = [f"{key}: {why}" for key, why in whys.items()]
    more = f"; and {len(shown) - MOST_FAULTS} more" if len(shown) > MOST_FAULTS else ""
    in_all = counted(len(outcome.made) + len(whys), "partition")
    return dg.Failure(
        description=f"{len(whys)} of {in_all} not exported, the others are: {'; '.join(shown[:MOST_FAULTS])}{more}",
        metadata={"not_exported": dg.MetadataValue.json(whys), "exported": dg.MetadataValue.json([*outcome.made])},
        allow_retries=False,
    )


async def _of_partition(
    services: Services, key: str, reports: Reports, *, format: Format, config: ExportConfig
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
