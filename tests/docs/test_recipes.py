"""B4, point 7: the examples that people copy count right, for reprocessed images and for traps without a name."""

from __future__ import annotations

import csv
import io
import re
import shutil
import struct
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from antenna_orchestration.answers import derive
from antenna_orchestration.answers.knowledge import Knowledge
from antenna_orchestration.ecology.model import Classes, Taxon
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from tests.ecology.lakes_by_hand import write_job as write_job_by_hand
from tests.ecology.nights_by_hand import MOTHS, capture, detection
from tests.lake.test_current import NIGHT, write_job

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "docs/howto/read-results.md"

NOTEBOOK = ROOT / "docs/notebooks/what-flew-where.ipynb"
DUSK = datetime(2026, 6, 1, 22)

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


@pytest.fixture
def traps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """The lake of a stack in the working directory, with the derived tables of a project of two nights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ANTENNA_HOME", raising=False)
    return derived_traps(tmp_path)


def derived_traps(folder: Path) -> Lake:
    """Two nights by the pond: on three photographs of the first are 1, 2 and 0 moths, on those of the second none."""
    made = Lake(str(folder / ".antenna/lake"))
    of_job = {"project": "traps", "pipeline": "light_trap_insects", "deployment": "pond"}
    captures = [
        capture(number, DUSK + timedelta(seconds=seconds), **of_job)
        for number, seconds in enumerate([0, 600, 1200, 86_400, 87_000, 87_600])
    ]
    scores = struct.pack("<3e", 0.9, 0.05, 0.05)
    found = [detection(image, number, "moth", scores=scores) for image, number in ((0, 0), (1, 1), (1, 4))]
    source = write_job_by_hand(made, 1, captures, found)._replace(pipeline="light_trap_insects")
    lepidoptera = Taxon(name="Lepidoptera", rank="order", lineage={"order": "Lepidoptera"})
    classes = {MOTHS: Classes(algorithm=MOTHS, labels=("moth", "nonmoth", "x"), taxa=(lepidoptera, None, None))}
    derive.write_tables(made, Scope(project="traps"), [source], Knowledge(project="traps"), lambda _: classes)
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


@pytest.mark.long
@pytest.mark.usefixtures("traps")
def test_the_examples_of_the_results_module_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Issue 18, point 9."""
    names = executed("\n".join(blocks(RECIPES, "python", "In Python")))
    [row] = names["effort"].to_dict("records")
    assert (row["night"], row["taxon"]) == (DUSK.date(), "Lepidoptera")
    assert (row["detections"], row["max_n"], row["done"], row["per_photograph"]) == (3, 2, 3, 1.0)
    assert names["by_taxon"].fetchall()[0][:2] == ("Lepidoptera", 3)
    assert "file:///card/000.jpg" in capsys.readouterr().out


@pytest.mark.usefixtures("traps")
def test_the_query_of_derived_tables_counts_with_effort() -> None:
    """Issue 18, point 9."""
    [query] = blocks(RECIPES, "sql", "Derived tables with DuckDB")
    assert duckdb.sql(query).fetchall() == [
        ("light_trap_insects", "pond", DUSK.date(), "Lepidoptera", 2, 3, 1.0),
    ]


@pytest.mark.long
@pytest.mark.usefixtures("traps")
def test_the_page_for_ecologists_counts_and_plots() -> None:
    """Issue 18: also a night without any moth."""
    import matplotlib.pyplot as plt

    try:
        names = executed(*blocks(ROOT / "docs/howto/card-to-table.md", "python"))
        assert names["per_night"]["max_n"].tolist() == [2, 0]
        axes = names["axes"]
        assert [bar.get_height() for bar in axes.patches] == [2, 0]
        # A night is as wide as any other, also if it is the only one.
        assert [label.get_text() for label in axes.get_xticklabels()] == names["per_night"]["night"].map(str).tolist()
    finally:
        plt.close("all")
    assert Path("moths.png").read_bytes().startswith(b"\x89PNG")
    [header, row] = Path("counts.csv").read_text().splitlines()
    assert (header.split(",")[:4], row.split(",")[4]) == (["project", "pipeline", "deployment", "night"], "Lepidoptera")


@pytest.mark.slow
def test_the_notebook_runs(traps: Lake, tmp_path: Path) -> None:
    """Issue 18, point 9: as a copy of it does in a folder of a stack."""
    import nbclient
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
    client = nbclient.NotebookClient(
        notebook, timeout=180, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [one.text for one in outputs if one.output_type == "stream" and one.name == "stderr"] == []
    kinds = [kind for one in outputs for kind in one.get("data", {})]
    assert kinds.count("image/png") == 2
    assert kinds.count("text/html") == 2
    assert any("Lepidoptera" in one.get("data", {}).get("text/html", "") for one in outputs)


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
