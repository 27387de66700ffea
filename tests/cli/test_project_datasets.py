"""`antenna projects set --dataset`: a description comes in whole or not at all, is shown as written, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from antenna_orchestration import settings
from antenna_orchestration.cli import output
from antenna_orchestration.jobs.datasets import describe_dataset
from antenna_orchestration.resources.stores import Stores
from tests.cli.shells import Shell

DESCRIPTION = """\
# Said by the owner of the traps.
title: "=Nachtfalter, “Süd” 蛾"
contributors:
  - {given: Ada, family: Example, email: ada@example.org, roles: [contact]}
data_licence: CC0-1.0
"""


@pytest.fixture
def known_project(antenna: Shell, project: str, tmp_path: Path) -> str:
    """A project that exists, as there are deployments of it."""
    sites = tmp_path / "sites.csv"
    sites.write_text("deployment\noak\n")
    antenna("deployments", "import", sites, "--project", project)
    return project


@pytest.fixture
def described(antenna: Shell, known_project: str, tmp_path: Path) -> Path:
    file = tmp_path / "dataset.yaml"
    file.write_text(DESCRIPTION)
    done = antenna("projects", "set", known_project, "--dataset", file)
    assert done.out == f"project {known_project} is described as =Nachtfalter, “Süd” 蛾\n"
    return file


def test_a_description_is_shown_as_it_was_written(
    antenna: Shell, project: str, described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    assert antenna("projects", "show", project).out == DESCRIPTION
    found = antenna("projects", "show", project, "--json").json
    assert found["dataset"]["contributors"][0]["roles"] == ["contact"]
    lines = antenna("projects", "list").out.splitlines()
    assert max(map(len, lines)) <= 80
    mine = next(one for one in antenna("projects", "list", "--json").json if one["project"] == project)
    assert mine["has_dataset"] is True


@pytest.mark.long
def test_a_faulty_description_leaves_the_earlier_one(
    antenna: Shell, project: str, described: Path, tmp_path: Path
) -> None:
    for text, says in (
        ("titel: Moths\n", "titel: Extra inputs are not permitted"),
        ("contributors: [{email: nobody}]", "contributors.0.email"),
        ("title: [", "not YAML"),
        ("just words", "lines such as"),
        ("[" * 100_000, "nested too deeply"),
        ("a" * 300_000, "more than 256 kB"),
    ):
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text(text)
        antenna("projects", "set", project, "--dataset", wrong).refused(2, says)
    antenna("projects", "set", project, "--dataset", tmp_path / "none.yaml").refused(2, "cannot be read")
    antenna("projects", "set", "no-such-project", "--dataset", described).refused(3, "there is no project")
    antenna("projects", "set", project, "--dataset", described, "--no-dataset").refused(2, "exclude each other")
    assert antenna("projects", "show", project).out == DESCRIPTION


def test_a_description_is_taken_back(antenna: Shell, project: str, described: Path) -> None:
    for _ in range(2):
        assert antenna("projects", "set", project, "--no-dataset").out == f"project {project} is set\n"
    shown = antenna("projects", "show", project)
    assert (shown.out, "is not described as a data set" in shown.err) == ("", True)
    assert antenna("projects", "show", project, "--json").json["dataset"] is None


def test_the_launchpad_describes_as_the_command_does(antenna: Shell, known_project: str, tmp_path: Path) -> None:
    file = tmp_path / "dataset.yaml"
    config = {"ops": {"keep_dataset": {"config": {"file": str(file), "project": known_project}}}}

    def launched() -> dg.ExecuteInProcessResult:
        settings.get.cache_clear()
        with dg.DagsterInstance.ephemeral() as instance:
            return describe_dataset.execute_in_process(
                instance=instance, resources={"stores": Stores()}, run_config=config, raise_on_error=False
            )

    file.write_text("titel: Moths")
    failed = launched()
    assert not failed.success
    assert "titel: Extra inputs are not permitted" in json.dumps([str(event) for event in failed.all_events])
    file.write_text(DESCRIPTION)
    assert launched().success
    assert antenna("projects", "show", known_project).out == DESCRIPTION
