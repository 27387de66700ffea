"""`antenna recipes`: from a file to what holds for a project, at 80 columns, and back to an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.cli import output
from antenna_orchestration.ecology import recipes
from tests.cli.shells import Shell

OWN = "# ours\nsteps:\n- flags: {at_edge: 4}\n- roll_up: {threshold: 0.65}\ncount_without: []\n"
OTHER = "steps: [masking]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    monkeypatch.chdir(tmp_path)
    for name, text in (("own.yaml", OWN), ("other.yaml", OTHER)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_recipe_from_its_file_to_an_earlier_version(antenna: Shell, project: str, folder: Path) -> None:
    own = ("--project", project)
    built_in, first, second = recipes.default(), recipes.parsed(OWN, "own.yaml"), recipes.parsed(OTHER, "other.yaml")

    for asked in ("show", "list"):
        antenna("recipes", asked, *own).refused(3, f"there is no project {project}; `antenna projects list`")
    (folder / "sites.csv").write_text("deployment\nwood\n")
    assert f"project {project} is new" in antenna("deployments", "import", "sites.csv", *own).err
    # Without one of its own.
    assert antenna("recipes", "show", *own).out == built_in.text
    assert "no recipe of its own; the built-in one holds" in antenna("recipes", "list", *own).err

    done = antenna("recipes", "set", "own.yaml", *own)
    assert "is new" not in done.err
    assert (done.code, done.out) == (0, f"recipe {first.hash} holds for project {project}\n")
    assert f"`antenna tables --project {project}`" in done.err
    shown = antenna("recipes", "show", *own)
    assert shown.out.startswith("# ours\nsteps:\n- flags: {at_edge: 4, too_small: 0.0008, ")
    assert shown.err == f"recipe {first.hash}\n"
    # What it prints is a file for `set` that means the same.
    (folder / "shown.yaml").write_text(shown.out.replace("# ours", "# still ours"))
    assert antenna("recipes", "set", "shown.yaml", *own, "--json").json == {
        "project": project, "recipe": first.hash, "is_built_in": False,
    }  # fmt: skip
    assert antenna("recipes", "show", *own).out == shown.out.replace("# ours", "# still ours")
    assert antenna("recipes", "show", *own, "--json").json == {"recipe": first.hash, **first.as_data()}
    assert antenna("recipes", "show", *own, "--default").out == built_in.text

    antenna("recipes", "set", "other.yaml", *own)
    antenna("recipes", "set", first.hash, *own)
    lines = antenna("recipes", "list", *own).out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[second.hash, lines[1].split()[1]], [first.hash, "yes"]]
    assert lines[1].split()[1] != "yes" and max(map(len, lines)) <= 80
    listed = antenna("recipes", "list", *own, "--json").json
    assert [(one["recipe"], one["holds"]) for one in listed] == [(second.hash, False), (first.hash, True)]

    back = antenna("recipes", "set", "--default", *own)
    assert back.out == f"recipe {built_in.hash} holds for project {project}\n"
    assert not any(one["holds"] for one in antenna("recipes", "list", *own, "--json").json)


def test_a_recipe_is_checked_without_a_stack(lonely: Shell, folder: Path) -> None:
    (folder / "own.yaml").write_text(OWN)
    done = lonely("recipes", "check", "own.yaml")
    assert done.code == 0
    assert done.out == (
        "flags: too_small 0.0008, at_edge 4.0, detector_score none, label_score none\n"
        "roll_up: species none, genus none, family none, order none, class none, phylum none, kingdom none, "
        "threshold 0.65\n"
        "counts leave out: nothing\n"
    )
    assert recipes.parsed(OWN, "own.yaml").hash in done.err
    (folder / "odd.yaml").write_text("steps: [consensus, masking]\n")
    odd = lonely("recipes", "check", "odd.yaml")
    assert "masking: reweight true\n" in odd.out and "antenna: warning: consensus does nothing" in odd.err
    told = lonely("recipes", "check", "own.yaml", "--json").json
    assert told == {"recipe": recipes.parsed(OWN, "x").hash, **recipes.parsed(OWN, "x").as_data()}
    assert lonely("recipes", "show", "--default").out == recipes.default().text


@pytest.mark.parametrize("command", [("recipes", "set", "own.yaml"), ("taxa", "import", "taxa.csv")])
def test_a_project_that_a_command_makes_is_named(
    antenna: Shell, project: str, folder: Path, command: tuple[str, ...]
) -> None:
    (folder / "taxa.csv").write_text("label,scientificName,taxonRank\nmoth,Lepidoptera,order\n")
    antenna("reviews", "list", "--project", project).refused(3, f"there is no project {project}")
    said = f"project {project} is new"
    assert said in antenna(*command, "--project", project).err
    assert said not in antenna(*command, "--project", project).err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("check", "nothing.yaml"), 2, "nothing.yaml cannot be read: No such file"),
        (("check", "."), 2, ". cannot be read: Is a directory"),
        (("check", "bad.yaml"), 2, "bad.yaml, line 3: step flags has no parameter 'edge'; did you mean at_edge?"),
        (("check", "step.yaml"), 2, "step.yaml, line 1: there is no step 'mask'; did you mean masking?"),
        (("check", "key.yaml"), 2, "key.yaml, line 2: a recipe has steps and count_without, not 'stops'"),
        (("check", "latin.yaml"), 2, "latin.yaml is not text in UTF-8"),
        (("set",), 2, "name either a file or --default"),
        (("set", "own.yaml", "--default"), 2, "name either a file or --default"),
        (("set", "bad.yaml"), 2, "bad.yaml, line 3: step flags has no parameter 'edge'"),
        (("set", "own.yaml", "--project", "Not a slug"), 2, "is not a slug"),
        (
            ("set", "0123456789ab", "--project", "nobody-has-this"),
            3,
            "there is no project nobody-has-this",
        ),
        (("set", "0123456789a"), 2, "0123456789a cannot be read: No such file"),
        (("set", "--default", "--project", "nobody-has-this"), 3, "there is no project nobody-has-this"),
    ],
)
def test_what_cannot_be_done_with_recipes(
    antenna: Shell, folder: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (folder / "bad.yaml").write_text("steps:\n- flags:\n    edge: 3\n")
    (folder / "step.yaml").write_text("steps: [mask]\n")
    (folder / "key.yaml").write_text("steps: []\nstops: []\n")
    (folder / "latin.yaml").write_bytes("# für uns\nsteps: []\n".encode("latin-1"))
    antenna("recipes", *arguments).refused(code, message)
