"""B10: what asset pages say: every table is an asset of its name, and says what its rows and columns are."""

import dagster as dg

from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.assets.report import job_report
from antenna_orchestration.lake import schemas

ASSETS = (manifest, image_tasks, results, job_report, jobs_health, merged_tables)


def test_every_table_is_an_asset_of_its_name_with_its_columns() -> None:
    """B10: the asset `captures` was the table `manifest`, and the table `captures` was no asset."""
    specs = {spec.key.to_user_string(): spec for one in ASSETS for spec in one.specs}
    assert set(schemas.TABLES) <= set(specs)
    for name, schema in schemas.TABLES.items():
        shown = specs[name].metadata["dagster/column_schema"]
        assert isinstance(shown, dg.TableSchema)
        assert [column.name for column in shown.columns] == schema.names
        assert all(column.description for column in shown.columns)
        assert "One row per" in (specs[name].description or "") and "SELECT" in (specs[name].description or "")
    assert {name for name, spec in specs.items() if len(spec.description or "") < 200} == set()
