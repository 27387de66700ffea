"""The derived tables of a job, such as observations and counts; made when the job is over, and at any time again.

A fault here is the fault of this step alone: the job is over, and its results are complete.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.answers import derive as verb
from antenna_orchestration.assets import metadata
from antenna_orchestration.assets.descriptions import of_derived_table
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources.interruptible import Reports


@dg.multi_asset(
    partitions_def=processing_jobs,
    group_name="derived",
    specs=[
        dg.AssetSpec(
            "observations", deps=["captures", "detections", "classifications"], **of_derived_table("observations")
        ),
        dg.AssetSpec("tracks", deps=["observations"], **of_derived_table("tracks")),
        dg.AssetSpec("nights", deps=["captures", "detections"], **of_derived_table("nights")),
        dg.AssetSpec("counts", deps=["observations"], **of_derived_table("counts")),
        dg.AssetSpec("photographs", deps=["captures", "failed_images"], **of_derived_table("photographs")),
    ],
)
def derived_tables(context: dg.AssetExecutionContext, run_session: RunSession) -> Iterator[Any]:
    """Derive the tables of a finished job from its results, with what is known of the project now."""
    made, tables = run_session.do(context, _derive)
    for name, shown in tables.items():
        metadata.attach(context, shown, asset=name)
        yield dg.MaterializeResult(asset_key=name, data_version=dg.DataVersion(made.version))


async def _derive(services: Services, job: Job, _: Reports) -> tuple[verb.Derived, dict[str, dict[str, Any]]]:
    """Derive; what was made, and the metadata of each table."""
    try:
        made = await verb.derive(services, job=job.job_id)
    except errors.AntennaError as error:
        text = f"The derived tables could not be made, the results are complete: {error}"
        await services.catalog.job_log.add(job.job_id, "not_derived", text, level="WARNING")
        raise
    for warning in made.warnings:
        await services.catalog.job_log.add(job.job_id, "derived", f"Derived tables: {warning}", level="WARNING")
    return made, {name: await asyncio.to_thread(_shown, services, made, name) for name in made.rows}


def _shown(services: Services, made: verb.Derived, name: str) -> dict[str, Any]:
    return {
        "dagster/row_count": made.rows[name],
        "dagster/uri": made.uris[name],
        "recipe": made.recipe,
        **({"warnings": "\n".join(made.warnings)} if made.warnings else {}),
        "preview": metadata.preview(verb.head(services.lake, made, name, metadata.PREVIEW_ROWS)),
    }
