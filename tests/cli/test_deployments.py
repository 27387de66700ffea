"""`antenna deployments`: a file of sites comes in whole or not at all, is shown, set, shifted, and that undone."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.cli import output
from antenna_orchestration.jobs.deployments import import_deployments
from antenna_orchestration.resources.stores import Stores
from tests.cli.shells import Shell

SITES = """\
deployment,latitude,longitude,timezone,clock,deploymentStart,countryCode,attractant
panama,9.15,-79.85,America/Panama,local,,PA,UV
a hedge with a very long name that no terminal shows whole,55.39,10.39,Europe/Copenhagen,UTC,2022-08-10 20:00,DK,UV
balcony,,,-05:00,local,,,
"""


def shown(antenna: Shell, project: str, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = antenna("deployments", "show", name, "--project", project, "--json").json
    return answer


@pytest.fixture
def sites(antenna: Shell, project: str, tmp_path: Path) -> Path:
    """A file that was imported."""
    file = tmp_path / "sites.csv"
    file.write_text(SITES)
    done = antenna("deployments", "import", file, "--project", project)
    assert done.out == f"3 deployments of project {project} described, 3 of them new\n"
    assert "there is no photograph yet of panama, a hedge" in done.err
    return file


def test_sites_are_imported_listed_and_shown(
    antenna: Shell, project: str, sites: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    lines = antenna("deployments", "list", "--project", project).out.splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 80
    assert "America/Panama" in lines[3]
    found = antenna("deployments", "list", "--project", project, "--json").json
    assert [one["deployment"] for one in found] == sorted(one["deployment"] for one in found)
    hedge = shown(antenna, project, "a hedge with a very long name that no terminal shows whole")
    assert (hedge["clock"], hedge["starts_at"], hedge["further"]) == (
        "utc",
        "2022-08-10T20:00:00",
        {"attractant": "UV"},
    )
    text = antenna("deployments", "show", "panama", "--project", project).out
    assert "9.15, -79.85" in text and "attractant: UV" in text


def test_importing_again_replaces_what_the_file_says(antenna: Shell, project: str, sites: Path) -> None:
    sites.write_text("deployment,latitude,longitude,attractant\npanama,9.2,-79.9,\n")
    done = antenna("deployments", "import", sites, "--project", project, "--json").json
    assert (done["described"], done["created"]) == (["panama"], [])
    panama = shown(antenna, project, "panama")
    assert (panama["latitude"], panama["time_zone"], panama["further"]) == (9.2, "America/Panama", {})


def test_nothing_of_a_faulty_file_is_imported(antenna: Shell, project: str, sites: Path) -> None:
    before = antenna("deployments", "list", "--project", project, "--json").out
    sites.write_text(f"{SITES}oak,91,10,Europe/Atlantis,summer,,,\n".replace("9.15", "9.99"))
    refused = antenna("deployments", "import", sites, "--project", project)
    assert (refused.code, refused.out) == (2, "")
    lines = refused.err.splitlines()
    assert lines[0] == f"antenna: error: {sites}: nothing was imported, 3 faults"
    assert [line.split(":")[0] for line in lines[1:]] == ["  row 5, latitude", "  row 5, timezone", "  row 5, clock"]
    assert antenna("deployments", "list", "--project", project, "--json").out == before
    sites.write_text("deployment,clock\noak,summer\n")
    antenna("deployments", "import", sites, "--project", project).refused(2, "row 2, clock: 'summer' is neither")
    antenna("deployments", "import", sites.parent / "none.csv").refused(2, "No such file")
    antenna("deployments", "list", "--project", f"no-{project}").refused(3, "there is no project")


def test_single_values_are_set_and_taken_back(antenna: Shell, project: str, sites: Path) -> None:
    name = ("balcony", "--project", project)
    done = antenna("deployments", "set", *name, "--latitude", "45.5", "--longitude", "-73.58", "--time-zone", "+01:00")
    assert done.out == "deployment balcony is set\n"
    balcony = shown(antenna, project, "balcony")
    assert (balcony["latitude"], balcony["longitude"], balcony["time_zone"]) == (45.5, -73.58, "+01:00")
    done = antenna("deployments", "set", "panama", *name[1:], "--longitude", "79.85")
    assert "far from the time zone: panama (9.15, 79.85, America/Panama)" in done.err
    antenna("deployments", "set", *name, "--latitude", "").refused(2, "longitude without latitude")
    antenna("deployments", "set", *name, "--latitude", "45,5").refused(2, "write a decimal point, 45.5")
    antenna("deployments", "set", *name, "--latitude", "", "--longitude", "", "--shift", "1h").refused(
        2, "is not a shift"
    )
    assert shown(antenna, project, "balcony") == balcony
    (change,) = balcony["changes"][:1]
    assert change["by"] == getpass.getuser()
    assert {name: after for name, (_, after) in change["changes"].items()} == {
        "latitude": 45.5, "longitude": -73.58, "time_zone": "+01:00"
    }  # fmt: skip
    told = " ".join(antenna("deployments", "show", *name).out.split())
    assert f"by {getpass.getuser()}" in told and "latitude 45.5 (was " in told
    antenna("deployments", "set", *name, "--pixels-per-mm", "nan").refused(2, "'nan' is not a valid value")
    antenna("deployments", "set", *name).refused(2, "nothing to set")
    antenna("deployments", "set", "oak", "--project", project, "--clock", "UTC").refused(3, "has no deployment 'oak'")


def test_a_wrong_clock_is_shifted_recorded_and_undone(antenna: Shell, project: str, sites: Path) -> None:
    name = ("panama", "--project", project)
    antenna("deployments", "set", *name, "--undo-shift").refused(4, "not shifted")
    antenna("deployments", "set", *name, "--shift", "-30m", "--reason", "seen on the ranger's watch")
    done = antenna("deployments", "set", *name, "--shift", "+1h")
    assert done.out == "the clock of panama is shifted by +30m in all; --undo-shift undoes it\n"
    assert shown(antenna, project, "panama")["shift_seconds"] == 1800
    assert antenna("deployments", "set", *name, "--undo-shift").out == "the shift of +1h is undone; -30m is left\n"
    panama = shown(antenna, project, "panama")
    assert panama["shift_seconds"] == -1800
    assert [(one["seconds"], one["undone_at"] is None) for one in panama["shifts"]] == [(-1800, True), (3600, False)]
    assert "seen on the ranger's watch" in antenna("deployments", "show", *name).out
    # Another import leaves the shift.
    antenna("deployments", "import", sites, "--project", project)
    assert shown(antenna, project, "panama")["shift_seconds"] == -1800


def test_the_launchpad_imports_what_the_command_does(antenna: Shell, project: str, tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    config = {"ops": {"describe_deployments": {"config": {"file": str(file), "project": project}}}}

    def launched() -> dg.ExecuteInProcessResult:
        settings.get.cache_clear()
        with dg.DagsterInstance.ephemeral() as instance:
            return import_deployments.execute_in_process(
                instance=instance, resources={"stores": Stores()}, run_config=config, raise_on_error=False
            )

    file.write_text("deployment,timezone\noak,Europe/Atlantis\n")
    failed = launched()
    assert not failed.success
    assert "row 2, timezone: there is no time zone" in json.dumps([str(event) for event in failed.all_events])
    file.write_text(SITES)
    assert launched().success
    assert len(antenna("deployments", "list", "--project", project, "--json").json) == 3


def test_a_deployment_gets_another_name(antenna: Shell, project: str, sites: Path) -> None:
    done = antenna("deployments", "rename", "panama", "ridge", "--project", project)
    assert done.out == f"deployment panama of project {project} is now ridge\n"
    assert f"antenna tables --project {project}" in done.err
    ridge = shown(antenna, project, "ridge")
    assert (ridge["time_zone"], [one["name"] for one in ridge["former_names"]]) == ("America/Panama", ["panama"])
    antenna("deployments", "rename", "ridge", "balcony", "--project", project).refused(4, "'balcony' already")
