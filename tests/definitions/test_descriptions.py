"""B10: what asset pages say: every table is an asset of its name, and says what its rows and columns are."""

from collections import Counter

import dagster as dg

from antenna_orchestration.assets import metadata
from antenna_orchestration.assets.derived import derived_tables
from antenna_orchestration.assets.health import jobs_health
from antenna_orchestration.assets.job_assets import image_tasks, manifest, results
from antenna_orchestration.assets.merged import merged_tables
from antenna_orchestration.assets.report import job_report
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.ecology import columns
from antenna_orchestration.lake import schemas

ASSETS = (manifest, image_tasks, results, derived_tables, job_report, jobs_health, merged_tables)


def test_every_table_is_an_asset_of_its_name_with_its_columns() -> None:
    """B10: the asset `captures` was the table `manifest`, and the table `captures` was not an asset."""
    specs = {spec.key.to_user_string(): spec for one in ASSETS for spec in one.specs}
    every = {**schemas.TABLES, **columns.SCHEMAS}
    assert set(every) <= set(specs)
    for name, schema in every.items():
        shown = specs[name].metadata["dagster/column_schema"]
        assert isinstance(shown, dg.TableSchema)
        assert [column.name for column in shown.columns] == schema.names
        assert all(column.description for column in shown.columns)
        assert "One row per" in (specs[name].description or "") and "SELECT" in (specs[name].description or "")
    assert {name for name, spec in specs.items() if len(spec.description or "") < 200} == set()


def test_every_asset_has_an_owner_and_every_table_a_code_version() -> None:
    specs = list(build_definitions().resolve_all_asset_specs())
    assert specs and all(spec.owners == ["team:antenna"] for spec in specs)
    tables = {**schemas.TABLES, **columns.SCHEMAS}
    versions = {spec.key.to_user_string(): spec.code_version for spec in specs}
    assert all(versions[name] for name in tables)
    assert len({versions[name] for name in tables}) == len(tables), "other columns are another version"


def test_examples_of_derived_tables_read_one_job() -> None:
    """Issue 18: those of all jobs count an image again that was processed again."""
    for spec in derived_tables.specs:
        example = (spec.description or "").split("```")[1]
        assert "/job_id=1/" in example and "*.parquet" not in example, spec.key


def test_a_list_of_values_says_what_it_leaves_out() -> None:
    """B2: labels and reasons in the UI ended at the twentieth without a word."""
    few, many = Counter({"moth": 3, "fly": 1}), Counter({f"species {n}": 40 - n for n in range(30)})
    shown = [[tuple(one.data.items()) for one in metadata.counts("label", each).records] for each in (few, many)]
    assert shown[0] == [(("label", "moth"), ("count", 3)), (("label", "fly"), ("count", 1))]
    assert shown[1][-1] == (("label", "10 more, see job_report"), ("count", sum(range(11, 21))))
    assert sum(int(dict(one)["count"]) for one in shown[1]) == many.total()
