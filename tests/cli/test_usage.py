"""`antenna usage`: bytes of the lake by table, project and job, and of what lies beside it; bounded."""

from pathlib import Path

import pytest

from antenna_orchestration.lake.folder import Folder
from antenna_orchestration.upkeep import usage
from tests.cli.shells import Shell
from tests.submission.pictures import empty


def put(antenna: Shell, path: str, size: int) -> None:
    file = Path(antenna.variables["ANTENNA_LAKE_URI"]) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bytes(size))


def test_tables_projects_and_jobs_add_up(antenna: Shell, project: str, tmp_path: Path) -> None:
    common = ["--pipeline", "null", "--project", project, "--json"]
    jobs = [antenna("submit", empty(tmp_path / n, "a.jpg"), "--name", n, *common).json["job_id"] for n in ("a", "b")]
    for job, size in zip(jobs, (1000, 300), strict=True):
        put(antenna, f"captures/job_id={job}/part-g1-00000.parquet", size)
        put(antenna, f"derived/jobs/nights/job_id={job}/nights.parquet", 10)
    put(antenna, f"exports/tables/job_id={jobs[0]}/tables/a.csv", 5)
    put(antenna, f"derived/projects/nights/project={project}/nights.parquet", 7)
    ours = ["--project", project, "--json"]
    tables = antenna("usage", *ours).json
    assert {row["what"]: row["bytes"] for row in tables["rows"]} == {
        "captures": 1300, "derived/nights": 27, "exports/tables": 5,
    }  # fmt: skip
    assert tables["bytes"] == 1332
    of_jobs = antenna("usage", "--by", "job", *ours).json["rows"]
    assert [(row["what"], row["bytes"]) for row in of_jobs] == [
        (f"job {jobs[0]}, {project}: a", 1015),
        (f"job {jobs[1]}, {project}: b", 310),
    ]
    [of_project] = antenna("usage", "--by", "project", *ours).json["rows"]
    assert (of_project["what"], of_project["bytes"]) == (project, 1332)
    shown = antenna("usage", "--by", "job", "--project", project, "--limit", 1)
    assert "1 more" in shown.out.splitlines()[-1]
    for number in jobs:
        antenna("jobs", "cancel", number)


@pytest.mark.long
def test_all_of_an_installation_is_there(antenna: Shell) -> None:
    rows = antenna("usage", "--limit", 1000, "--json").json["rows"]
    assert {row["where"] for row in rows} >= {"catalog", "PostgreSQL", "home"}
    assert {"job_images", "jobs", "Dagster's history"} <= {row["what"] for row in rows}
    assert [row["bytes"] for row in rows] == sorted((row["bytes"] for row in rows), reverse=True)
    antenna("usage", "--project", "no-such-project").refused(3, "there is no project no-such-project")


def test_folders_of_folders_are_listed_one_by_one(tmp_path: Path) -> None:
    for path in ("merged/captures/jobs-000000000.parquet", "current.sql", "_parts/job_id=7/p/captures.parquet"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"12")
    found = usage._listed(Folder(str(tmp_path)))
    assert found == {("merged/captures", None, ""): 2, ("files at the top", None, ""): 2, ("_parts", 7, ""): 2}
