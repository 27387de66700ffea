"""Compare what people said with the classifiers' labels, over a project's derived observations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from antenna_orchestration import errors
from antenna_orchestration.domain import csv_cells
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import agreement, plots, reviews
from antenna_orchestration.ecology.agreement import OBSERVED, Agreement
from antenna_orchestration.ecology.model import Classes
from antenna_orchestration.ecology.names import Names, classes_of
from antenna_orchestration.lake.folder import Missing
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing.services import Services


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """The comparison, and of how many reviews."""

    agreement: Agreement
    # Detections with a review, and how many of these are not among the observations: a later job replaced their
    # results, or the tables were derived before.
    reviewed: int
    missing: int


async def compare(services: Services, project: str) -> Compared:
    """Compare the newest reviews of a project with the labels of its observations.

    Raises `NotFound` when nothing was reviewed or derived.
    """
    newest = reviews.newest(await services.catalog.reviews.of(project))
    if newest.empty:
        raise errors.NotFound(
            f"no detection of project {project} was reviewed; `antenna reviews import FILE` adds reviews"
        )
    try:
        observations = await asyncio.to_thread(_reviewed, services.lake, project, newest)
    except Missing:
        raise errors.NotFound(
            f"project {project} has no table of observations; `antenna tables --project {project}` derives it"
        ) from None
    names = Names(await services.catalog.names.taxa(project))
    classes = await _classes(services, observations, names)
    return Compared(
        agreement=await asyncio.to_thread(agreement.compare, observations, newest, classes=classes, names=names),
        reviewed=len(newest),
        missing=len(newest) - len(observations[["job_id", "detection_id"]].drop_duplicates()),
    )


def _reviewed(lake: Lake, project: str, newest: pd.DataFrame) -> pd.DataFrame:
    """The observations of a project that were reviewed, with the columns of `OBSERVED`. Raises `Missing`."""
    wanted = set(zip(newest["job_id"], newest["detection_id"], strict=True))
    found = []
    for batch in lake.batches_of_file(Scope(project=project).path("observations")):
        keys = zip(batch["job_id"].to_pylist(), batch["detection_id"].to_pylist(), strict=True)
        if any(chosen := [key in wanted for key in keys]):
            found.append(batch.select(OBSERVED).filter(pa.array(chosen)))
    if not found:
        return pd.DataFrame(columns=list(OBSERVED))
    frame: pd.DataFrame = pa.Table.from_batches(found).to_pandas()
    return frame


async def _classes(services: Services, observations: pd.DataFrame, names: Names) -> dict[AlgorithmRef, Classes]:
    """The classes of the classifiers that registered theirs."""
    pairs = observations[["classifier", "classifier_version"]].dropna().drop_duplicates()
    registered = await services.catalog.pipelines.labels_of(AlgorithmRef(*pair) for pair in pairs.to_numpy().tolist())
    return {
        algorithm: classes_of(algorithm, known.labels, known.categories, names)
        for algorithm, known in registered.items()
    }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON has them: null where there is no number."""
    rows: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def write(compared: Compared, folder: Path, *, title: str) -> list[Path]:
    """Write the tables as CSV files, and the plot, into a folder, which is made if need be. Raises `InvalidInput`."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in compared.agreement._asdict().items():
            safe = table.map(lambda value: csv_cells.cell(value) if isinstance(value, str) else value)
            safe.to_csv(folder / f"{name}.csv", index=False)
            written.append(folder / f"{name}.csv")
        (folder / "agreement.png").write_bytes(plots.agreement(compared.agreement, title=title))
    except OSError as error:
        raise errors.InvalidInput(f"{folder} cannot be written: {error.strerror or error}") from None
    return [*written, folder / "agreement.png"]
