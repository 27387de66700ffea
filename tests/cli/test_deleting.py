"""`antenna jobs delete`: says exactly what would go, asks, and deletes all that were named or none."""

from pathlib import Path

import pytest

from tests.cli.shells import Shell
from tests.submission.pictures import empty

pytestmark = pytest.mark.long


def over(antenna: Shell, project: str, folder: Path, *, images: int = 1) -> int:
    """A canceled job; its number."""
    pictures = empty(folder, *(f"{n}.jpg" for n in range(images)))
    common = ["--pipeline", "null", "--project", project, "--json"]
    number: int = antenna("submit", pictures, *common).json["job_id"]
    antenna("jobs", "cancel", number)
    return number


def test_a_dry_run_says_what_goes_and_then_it_goes(antenna: Shell, project: str, tmp_path: Path) -> None:
    jobs = [over(antenna, project, tmp_path / "a", images=3), over(antenna, project, tmp_path / "b")]
    plan = antenna("jobs", "delete", *jobs, "--dry-run", "--json").json
    assert (plan["jobs"], plan["images"], plan["reviews"], plan["files"]) == (2, 4, 0, 0)
    assert {one["job_id"]: one["images"] for one in plan["of_each"]} == dict(zip(jobs, (3, 1), strict=True))
    told = antenna("jobs", "delete", *jobs, "--dry-run")
    assert (told.code, told.err) == (0, "")
    assert "2 jobs with 4 rows of images" in told.out
    asked = antenna("jobs", "delete", *jobs)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err.splitlines()[-1].startswith("antenna: error: nothing was deleted: nobody is there to ask")
    assert len(antenna("jobs", "list", "--project", project, "--json").json) == 2
    done = antenna("jobs", "delete", *jobs, "--yes")
    assert f"deleted jobs {jobs[1]}, {jobs[0]}\n" == done.out
    assert antenna("jobs", "list", "--project", project, "--json").json == []
    shown = antenna("jobs", "show", jobs[0])
    assert shown.code != 0
    assert f"job {jobs[0]} was deleted on" in shown.err
    assert f"job {jobs[0]} was deleted on" in antenna("jobs", "delete", jobs[0], "--yes").err


def test_of_several_all_go_or_none(antenna: Shell, project: str, tmp_path: Path) -> None:
    job = over(antenna, project, tmp_path / "a")
    common = ["--pipeline", "null", "--project", project, "--json"]
    active = antenna("submit", empty(tmp_path / "b", "b.jpg"), *common).json["job_id"]
    antenna("jobs", "delete", job, active, "--yes").refused(4, f"job {active} is QUEUED: cancel it first")
    assert len(antenna("jobs", "list", "--project", project, "--json").json) == 2
    antenna("jobs", "cancel", active)


def test_a_rule_takes_only_old_jobs_of_a_kind(antenna: Shell, project: str, tmp_path: Path) -> None:
    jobs = [over(antenna, project, tmp_path / name) for name in ("a", "b")]
    ours = ["--project", project, "--dry-run", "--json"]
    assert antenna("jobs", "delete", "--older-than", "1d", *ours).json["jobs"] == 0
    assert antenna("jobs", "delete", "--older-than", "0", "--status", "failure", *ours).json["jobs"] == 0
    nothing = antenna("jobs", "delete", "--older-than", "1d", "--project", project, "--yes", "--json").json
    assert (nothing["jobs"], nothing["of_each"], nothing["refused"]) == (0, [], [])
    found = antenna("jobs", "delete", "--older-than", "0", "--status", "canceled", *ours).json
    assert sorted(one["job_id"] for one in found["of_each"]) == jobs
    assert antenna("jobs", "delete", "--older-than", "0", "--limit", 1, *ours).json["jobs"] == 1
    antenna("jobs", "delete").refused(2, "name either jobs or --older-than")
    antenna("jobs", "delete", jobs[0], "--older-than", "1d").refused(2, "name either jobs or --older-than")
    antenna("jobs", "delete", jobs[0], "--project", project).refused(2, "belong to --older-than")
    antenna("jobs", "delete", "--older-than", "soon", "--yes").refused(2, "is not a length of time")
    antenna("jobs", "delete", "--older-than", "1d", "--status", "late").refused(2, "must be one of")
