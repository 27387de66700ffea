"""What the asset pages say of the tables: what a row is, the columns with their units, and how to read them."""

import hashlib
from collections.abc import Iterable
from typing import Any, Final, TypedDict

import dagster as dg

from antenna_orchestration.ecology import columns as derived_columns
from antenna_orchestration.lake import schemas
from antenna_orchestration.lake.columns import MEANINGS

GROUP: Final = "processing"
"""The group of the assets of a job."""

_ROWS: Final = {
    "manifest": "One row per image of the job, in the order in which the tasks are published. Written first, before "
    "anything is known of the results; the table `captures` has the outcomes.",
    "captures": "One row per image of the job, with its outcome: `done` or `failed`, and how many detections it has. "
    "An image without any has a row too, so that effort can be counted.",
    "detections": "One row per detection: one sighting of an insect on one photograph, with its box in pixels. An "
    "insect that sits through ten photographs has ten rows. So rows are activity, not individuals.",
    "classifications": "One row per statement about a detection. The row with `terminal` true is the pipeline's "
    "verdict; the others are steps on the way, such as a filter.",
    "failed_images": "One row per image that failed, with the reason and how often it was tried. `antenna jobs retry` "
    "tries them again.",
}

_QUERIES: Final = {
    "manifest": "SELECT deployment, count(*) FROM '{lake}/manifest/*/*.parquet' GROUP BY ALL",
    "captures": "SELECT project, pipeline, deployment, night, count(*) AS images, sum(detections) AS detections\n"
    "FROM current_captures WHERE status = 'done' GROUP BY ALL ORDER BY ALL",
    "detections": "SELECT url, x1, y1, x2, y2, score FROM current_detections\n"
    "JOIN current_captures USING (job_id, image_id) WHERE score > 0.5",
    "classifications": "SELECT project, pipeline, deployment, label, count(*)\n"
    "FROM current_found GROUP BY ALL ORDER BY ALL",
    "failed_images": "SELECT job_id, reason, count(*) FROM '{lake}/failed_images/*/*.parquet' GROUP BY ALL",
}

_DERIVED: Final = {
    "observations": "One row per detection, with its determination after all steps of the recipe or by a person: what "
    "it is, at which rank, how sure, why, its flags and its track.",
    "tracks": "One row per track: detections on photographs one after the other that are the same animal, as far as "
    "box and label can tell. Only where photographs follow each other closely.",
    "nights": "One row per deployment and night, from noon to noon, also of nights in which nothing was found: how "
    "many photographs there should be and are, how many were processed, gaps, sunset and sunrise.",
    "counts": "One row per deployment, night and taxon: detections, photographs, the most on one photograph (MaxN), "
    "tracks, first, last and the median time. Divide by the numbers in `nights` to compare nights.",
    "photographs": "One row per photograph and pipeline, also of those on which nothing was found or that failed: when "
    "and where it was taken, and what became of it.",
}

_DERIVED_QUERIES: Final = {
    "observations": "SELECT deployment, night, taxon, rank, score, source\nFROM '{file}' WHERE counted",
    "tracks": "SELECT taxon, count(*) AS tracks, median(seconds)\nFROM '{file}' GROUP BY ALL",
    "nights": "SELECT deployment, night, found, expected, gaps\nFROM '{file}' ORDER BY ALL",
    "counts": "SELECT deployment, night, taxon, max_n\nFROM '{file}' ORDER BY ALL",
    "photographs": "SELECT deployment, night, reason, count(*)\nFROM '{file}' WHERE status = 'failed' GROUP BY ALL",
}

_VIEWS: Final = (
    "`current.sql` in the lake makes the views that this uses: the newest finished result of each image and pipeline. "
    "The table itself keeps the rows of all jobs, also of images that were processed again."
)


SEASON: Final = (
    "How a season goes, night by night: of a project and a night, how many photographs there should be and are, how "
    "much of them failed or is empty, what was found, and how fast it went. It takes all finished jobs of the project "
    "together, and no photograph counts twice.\n\n"
    "**What to look at:** *Checks* first: each says what is wrong, with which trap, since when, and what to do. Then "
    "the plots (*Metadata*, *Plots*): a night that falls out of the line. Then the tab *Partitions*: nights without "
    "photographs are gaps in the bar; choose a night and a project to see its deployments.\n\n"
    "It runs by itself: nights that changed are made anew when jobs end, or people said something new, and each night "
    "when it is over; `ANTENNA_SEASON=0` switches that off. `antenna season --project P` prints the same. The numbers "
    "are of the pipeline that processed the most photographs; the table in `nights` has all.\n\n"
    "The tables are `<lake>/derived/seasons/nights/project=<project>/nights.parquet` and the same of `counts`. "
    "Example, in DuckDB:\n\n```sql\nSELECT night, deployment, found, expected, detections\n"
    "FROM '.antenna/lake/derived/seasons/nights/project=default/nights.parquet' ORDER BY ALL\n```\n\n"
    "`docs/howto/season.md` explains the checks and their thresholds."
)


def _code_version(schema: Iterable[Any]) -> str:
    """A short hash of a table's columns: an asset whose columns changed shows as made by older code."""
    text = "\n".join(f"{field.name} {field.type} {field.nullable}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


class TableAsset(TypedDict):
    """What an asset that is a table says of itself."""

    description: str
    metadata: dict[str, Any]
    kinds: set[str]
    code_version: str


def of_table(name: str) -> TableAsset:
    """The description and the columns of an asset that is a table of the lake and has its name."""
    query = _QUERIES[name].replace("{lake}", ".antenna/lake")
    parts = [
        _ROWS[name],
        f"It is the table of the same name: Parquet in the folder `<lake>/{name}/job_id=<job>`, one partition per job. "
        "The tab *Events* says where that is, as the entry `dagster/uri` of each partition.",
        f"Example, in DuckDB:\n\n```sql\n{query}\n```",
        *([_VIEWS] if "current_" in query else []),
        "`docs/howto/read-results.md` has more, for pandas, R and Excel too.",
    ]
    columns = [
        dg.TableColumn(field.name, str(field.type), MEANINGS[name][field.name]) for field in schemas.TABLES[name]
    ]
    return {
        "description": "\n\n".join(parts),
        "metadata": {"dagster/column_schema": dg.TableSchema(columns=columns)},
        "kinds": {"parquet"},
        "code_version": _code_version(schemas.TABLES[name]),
    }


def of_derived_table(name: str) -> TableAsset:
    """The same of an asset that is a derived table."""
    query = _DERIVED_QUERIES[name].replace("{file}", f".antenna/lake/derived/jobs/{name}/job_id=1/{name}.parquet")
    parts = [
        _DERIVED[name],
        f"It is the file `<lake>/derived/jobs/{name}/job_id=<job>/{name}.parquet`, made from the results without "
        "inference when the job is over. Materialize it again after a change of recipe, names, places or reviews; "
        "`antenna derive --job N` does the same, and `antenna tables --project P` over all jobs of a project, in which "
        "no image counts twice.",
        f"Example, in DuckDB:\n\n```sql\n{query}\n```",
        "`docs/reference/tables.md` explains the columns.",
    ]
    columns = [
        dg.TableColumn(field.name, str(field.type), derived_columns.MEANINGS[name][field.name])
        for field in derived_columns.SCHEMAS[name]
    ]
    return {
        "description": "\n\n".join(parts),
        "metadata": {"dagster/column_schema": dg.TableSchema(columns=columns)},
        "kinds": {"parquet"},
        "code_version": _code_version(derived_columns.SCHEMAS[name]),
    }


def of_season() -> TableAsset:
    """The same of the asset `season`, with the columns of its nights."""
    meanings = {name: meaning for name, (_, meaning) in (derived_columns.NIGHTS | derived_columns.SEASON).items()}
    columns = [
        dg.TableColumn(field.name, str(field.type), meanings[field.name]) for field in derived_columns.SEASON_NIGHTS
    ]
    return {
        "description": SEASON,
        "metadata": {"dagster/column_schema": dg.TableSchema(columns=columns)},
        "kinds": {"parquet"},
        "code_version": _code_version(derived_columns.SEASON_NIGHTS),
    }
