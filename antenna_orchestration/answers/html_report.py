"""Write the report of a job or a project, an HTML file for people, beside the tables in the lake.

`exports/report` makes it. The gateway serves it from where it lies in the lake (`lake/paths.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from antenna_orchestration.answers import export
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.exports.report import page
from antenna_orchestration.exports.report.charts import Chart
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake import paths
from antenna_orchestration.processing.services import Services

AT_THE_END: Final = 60.0
"""Seconds that the pictures may take when a job ends, as its run waits for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A report in the lake."""

    uri: str
    page: page.Page
    # False: some jobs are not over, and it shows the results so far.
    is_complete: bool


async def write(
    services: Services,
    *,
    job: JobId | None = None,
    project: str | None = None,
    pictures: bool = True,
    patience: float = page.PATIENCE,
) -> Written:
    """Write the report of a job or a project into the lake; it replaces an earlier one. Raises as `export` does.

    No picture is begun after `patience` seconds.
    """
    selection = Selection(project=project, jobs=() if job is None else (job,))
    async with export.material(services, selection) as material:
        made = await asyncio.to_thread(page.made, material, pictures=pictures, patience=patience)
        place = paths.report(job=job, project=material.selection.project or "")
        uri = await asyncio.to_thread(services.lake.write_bytes, place, made.html)
        return Written(uri=uri, page=made, is_complete=material.is_complete)


def plots(made: page.Page) -> Mapping[str, Chart]:
    """The plots by a name for people; of several pipelines, with that of the pipeline."""
    several = len({pipeline for pipeline, _ in made.plots}) > 1
    return {f"{plot.title}, {pipeline}" if several else plot.title: plot for (pipeline, _), plot in made.plots.items()}
