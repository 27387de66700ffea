"""The asset of the merged tables: all finished jobs in few files, for queries across them."""

from functools import partial

import dagster as dg

from antenna_orchestration.processing import merge
from antenna_orchestration.resources.interruptible import Reports, run_interruptible
from antenna_orchestration.resources.stores import Stores


@dg.asset(
    group_name="operations",
    description="The tables of all finished jobs once more, a thousand jobs a file, in `<lake>/merged`.",
)
def merged_tables(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Add the jobs that finished since the last merge."""
    merged = run_interruptible(context, partial(_merge, stores))
    return dg.MaterializeResult(
        metadata={
            "jobs": merged.jobs,
            "jobs_written": merged.jobs_written,
            "files": merged.files,
            "files_written": merged.files_written,
            "uri": f"{stores.settings.lake}/merged",
        }
    )


async def _merge(stores: Stores, _: Reports) -> merge.Merged:
    async with stores.opened() as services:
        return await merge.merge(services)
