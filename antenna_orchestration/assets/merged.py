"""The asset of the merged tables: all finished jobs in few files, for queries across them."""

import dagster as dg

from antenna_orchestration.processing import merge
from antenna_orchestration.resources.interruptible import Reports, run_interruptible
from antenna_orchestration.resources.stores import Stores


@dg.asset(
    group_name="operations",
    description="The tables of all finished jobs once more, a thousand jobs a file, in `<lake>/merged`.",
)
def merged_tables(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Add what finished since the last round."""

    async def work(_: Reports) -> merge.Merged:
        return await stores.use(merge.merge)

    merged = run_interruptible(context, work)
    return dg.MaterializeResult(
        metadata={
            "jobs": merged.jobs,
            "jobs_written": merged.jobs_written,
            "files": merged.files,
            "files_written": merged.files_written,
            "uri": f"{stores.settings.lake}/merged",
        }
    )
