"""The asset of the merged tables: all finished jobs in few files, for queries across them."""

import dagster as dg

from antenna_orchestration.processing import merge
from antenna_orchestration.resources.stack import Stack
from antenna_orchestration.resources.watched import Reports, run_watched


@dg.asset(
    group_name="operations",
    description="The tables of all finished jobs once more, a thousand jobs a file, in `<lake>/merged`.",
)
def merged_tables(context: dg.AssetExecutionContext, stack: Stack) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Add what finished since the last round."""

    async def work(_: Reports) -> merge.Merged:
        return await stack.use(merge.merge)

    merged = run_watched(context, work)
    return dg.MaterializeResult(
        metadata={
            "jobs": merged.jobs,
            "jobs_written": merged.jobs_written,
            "files": merged.files,
            "files_written": merged.files_written,
            "uri": f"{stack.settings.lake}/merged",
        }
    )
