"""`antenna recipes`: a project gets a recipe, keeps all that it had, and goes back."""

from __future__ import annotations

from pathlib import Path

from tests.cli.shells import Shell


def test_a_project_gets_a_recipe_and_goes_back(antenna: Shell, project: str, tmp_path: Path) -> None:
    file, of_project = tmp_path / "recipe.yaml", ("--project", project)
    file.write_text("steps: []\n")
    hash_ = antenna("recipes", "set", file, *of_project, "--json").json["recipe"]
    file.unlink()
    assert antenna("recipes", "show", *of_project).out == "steps: []\n"
    [listed] = antenna("recipes", "list", *of_project, "--json").json
    assert (listed["recipe"], listed["holds"]) == (hash_, True)
    antenna("recipes", "set", "--default", *of_project)
    done = antenna("recipes", "list", *of_project)
    assert hash_ in done.out and "the built-in one" in done.err
    antenna("recipes", "set", hash_, *of_project)
    assert antenna("recipes", "list", *of_project).err == ""
    antenna("recipes", "set", *of_project).refused(2, "name either a file or --default")
    antenna("recipes", "set", "0" * 12, *of_project).refused(3, f"project {project} has no recipe 000000000000")
