"""The asset of the merged tables: all finished jobs in few files, for queries across them."""

from functools import partial

import dagster as dg

from antenna_orchestration.assets import metadata
from antenna_orchestration.processing import merge
from antenna_orchestration.resources.interruptible import Reports, run_interruptible
from antenna_orchestration.resources.stores import Stores


@dg.asset(
    group_name="operations",
    kinds={"parquet"},
    description="The tables of all finished jobs once more, a thousand jobs a file, in `<lake>/merged/<table>`, with "
    "the same columns and `job_id` before them. Optional, for lakes with thousands of small jobs, where opening the "
    "files takes longer than reading them. Materializing it adds the jobs that finished since. `jobs` and `files` "
    "count what is there, `jobs_written` and `files_written` what this run wrote.\n\nExample, in DuckDB: `SELECT "
    "pipeline, count(*) FROM '.antenna/lake/merged/detections/*.parquet' GROUP BY ALL`.",
)
def merged_tables(context: dg.AssetExecutionContext, stores: Stores) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Add the jobs that finished since the last merge."""
    merged = run_interruptible(context, partial(_merge, stores))
    shown = {
        "jobs": merged.jobs,
        "jobs_written": merged.jobs_written,
        "files": merged.files,
        "files_written": merged.files_written,
        "uri": f"{stores.settings.lake}/merged",
    }
    metadata.attach(context, shown)
    return dg.MaterializeResult()


async def _merge(stores: Stores, _: Reports) -> merge.Merged:
    async with stores.opened() as services:
        return await merge.merge(services)
