"""B4, point 7: the examples that people copy count right, for reprocessed images and for traps without a name."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from antenna_orchestration.lake.store import Lake
from tests.lake.test_current import NIGHT, write_job

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs/howto/read-results.md"

COUNTS = {
    ("demo", "a", "pond", "comes"): 5,
    ("traps", "a", "pond", "comes"): 6,
    ("traps", "a", None, None): 1,
    ("traps", "b", "pond", "comes"): 4,
}
"""What is right to count in the lake below: by project, pipeline, deployment and label."""


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake of a stack in the working directory: some images were processed up to three times, one has no site."""
    monkeypatch.chdir(tmp_path)
    made = Lake(str(tmp_path / ".antenna/lake"))
    write_job(made, 1, "a", {1: ("done", 3), 2: ("done", 1), 3: ("failed", 0)}, unnamed=2)
    write_job(made, 2, "a", {1: ("done", 2), 2: ("failed", 0), 3: ("done", 4)})
    write_job(made, 3, "b", {1: ("done", 4)})
    write_job(made, 6, "a", {7: ("done", 5)}, project="demo")
    made.write_current()
    return made


def blocks(page: Path, language: str, heading: str = "") -> list[str]:
    """The blocks of code in a language on a page, or below one of its headings."""
    text = page.read_text()
    part = text.split(f"\n## {heading}\n")[1].split("\n## ")[0] if heading else text
    return re.findall(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def executed(*code: str) -> dict[str, Any]:
    """The names that blocks of Python define, one after the other."""
    names: dict[str, Any] = {}
    for block in code:
        exec(compile(block, "example", "exec"), names)
    return names


def of(value: Any) -> Any:
    return None if value != value or value == "" else value  # NaN is not equal to itself


def test_the_duckdb_recipe_counts_each_result_once(lake: Lake) -> None:
    """B4"""
    [recipe], [effort] = blocks(RECIPES, "python", "DuckDB"), blocks(RECIPES, "sql", "DuckDB")
    names = executed(recipe)
    rows = names["counts"].fetchall()
    assert {(project, pipeline, site, label): count for project, pipeline, site, _, label, count in rows} == COUNTS
    assert {night for _, _, _, night, _, _ in rows} == {NIGHT.date()}
    found = names["lake"].sql(effort).fetchall()
    assert found == [
        ("demo", "a", "pond", NIGHT.date(), 1, 5, 5.0),
        ("traps", "a", "pond", NIGHT.date(), 2, 6, 3.0),
        ("traps", "a", None, NIGHT.date(), 1, 1, 1.0),
        ("traps", "b", "pond", NIGHT.date(), 1, 4, 4.0),
    ]


def test_the_pandas_recipe_counts_each_result_once(lake: Lake) -> None:
    """B4"""
    counts = executed(*blocks(RECIPES, "python", "pandas"))["counts"]
    assert {(project, p, of(site), of(label)): n for (project, p, site, _, label), n in counts.items()} == COUNTS


def test_the_quickstart_counts_each_result_once(lake: Lake) -> None:
    """B4: it counted images that were processed again twice, and lost those without a deployment."""
    query, *_ = blocks(ROOT / "docs/quickstart.md", "python")
    counts = executed(query)["counts"]
    assert {(project, p, of(site), of(label)): n for (project, p, site, label), n in counts.items()} == COUNTS


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, about DuckDB's way to use it
def test_the_readme_s_example_counts_each_result_once(lake: Lake) -> None:
    """B4"""
    [query] = blocks(ROOT / "README.md", "python")
    assert executed(query)["detections"].shape[0] == sum(COUNTS.values())


def test_the_sheet_for_excel_has_types_that_excel_knows(lake: Lake) -> None:
    """Point 7: its byte order mark, dates without T and Z, numbers, and no formula from somebody's label."""
    write_job(lake, 4, "=cmd|' /C calc'!A0", {1: ("done", 1)})
    write_job(lake, 5, "ü", {1: ("done", 1)})
    executed("\n".join([*blocks(RECIPES, "python", "pandas"), *blocks(RECIPES, "python", "Excel")]))
    content = Path("found.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))
    assert len(rows) == sum(COUNTS.values()) + 2
    for row in rows:
        assert datetime.strptime(row["captured_at"], "%Y-%m-%d %H:%M:%S") == NIGHT.replace(tzinfo=None)
        assert datetime.strptime(row["night"], "%Y-%m-%d").date() == NIGHT.date()
        assert float(row["score"]) == 0.5 and int(row["job_id"])
        assert not re.match(r"[=+\-@]", "".join(row[name][:1] for name in row if name not in ("score",)))
    assert "ü" in {row["pipeline"] for row in rows}


def r_packages(*names: str) -> str:
    """Why R or one of its packages cannot be used here; empty if they can."""
    if shutil.which("Rscript") is None:
        return "R is not installed"
    wanted = " && ".join(["TRUE", *(f"requireNamespace('{name}', quietly = TRUE)" for name in names)])
    there = subprocess.run(["Rscript", "-e", f"cat({wanted})"], capture_output=True, text=True, check=True)
    return "" if there.stdout == "TRUE" else f"R lacks one of {', '.join(names)}"


@pytest.mark.parametrize(("number", "packages"), [(0, ("DBI", "duckdb")), (1, ())], ids=["views", "sheet"])
def test_the_r_recipes_count_each_result_once(lake: Lake, number: int, packages: tuple[str, ...]) -> None:
    """Point 7: where R is installed."""
    if why := r_packages(*packages):
        pytest.skip(why)
    executed("\n".join([*blocks(RECIPES, "python", "pandas"), *blocks(RECIPES, "python", "Excel")]))
    last = "names(counts)[6] <- 'n'\nwrite.csv(counts, 'counts.csv', row.names = FALSE, na = '')\n"
    Path("counts.R").write_text(blocks(RECIPES, "r", "R")[number] + last)
    subprocess.run(["Rscript", "counts.R"], check=True, capture_output=True)
    rows = duckdb.sql("SELECT project, pipeline, deployment, label, n FROM 'counts.csv'").fetchall()
    assert {(project, pipeline, site, label): n for project, pipeline, site, label, n in rows} == COUNTS
