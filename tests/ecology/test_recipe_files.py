"""Recipes as people write them: what is read, what is refused, and what the hash stands for."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from antenna_orchestration import errors
from antenna_orchestration.ecology import recipes, written_out
from antenna_orchestration.ecology.steps import STEPS
from antenna_orchestration.ecology.steps.best_picture import Flag
from antenna_orchestration.ecology.steps.step import FLAGS

REFUSED = [
    ("", "line 1: the recipe is empty"),
    ("# nothing\n", "line 1: the recipe is empty"),
    ("count_without: []\n", "line 1: the recipe has no steps"),
    ("- masking\n", "line 1: the recipe is written as names with values"),
    ("steps: {masking: {}}\n", "line 1: steps is a list"),
    ("steps:\n", "line 1: steps is a list"),
    ("steps: []\nstep: []\n", "line 2: a recipe has steps and count_without, not 'step'"),
    ("steps: []\nsteps: []\n", "line 2: the recipe has 'steps' twice; the first is in line 1"),
    ("steps:\n- masking\n- masks\n", "line 3: there is no step 'masks'; did you mean masking?"),
    ("steps:\n- zzz\n", "line 2: there is no step 'zzz'; there are flags, "),
    ("steps:\n- 7\n", "line 2: there is no step '7'"),
    ("steps:\n- masking\n- flags: {}\n- masking: {}\n", "line 4: step masking is there twice; the first is in line 2"),
    ("steps:\n- masking: {}\n  roll_up: {}\n", "line 2: each dash under steps begins one step"),
    ("steps:\n- [masking]\n", "line 2: a step is written as names with values"),
    ("steps:\n- masking: 3\n", "line 2: step masking is written as names with values"),
    ("steps:\n- flags:\n    too_smal: 1\n", "line 3: step flags has no parameter 'too_smal'; did you mean too_small?"),
    ("steps:\n- flags:\n    zzz: 1\n", "line 3: step flags has no parameter 'zzz'; there are too_small, at_edge, "),
    ("steps:\n- flags:\n    at_edge: 2\n    at_edge: 3\n", "line 4: step flags has 'at_edge' twice"),
    ("steps:\n- flags:\n    at_edge: 2\n    too_small: 1.5\n",
     "line 4: step flags, parameter too_small: should be less than or equal to 1, not 1.5"),
    ("steps:\n- flags: {at_edge: -1}\n", "parameter at_edge: should be greater than or equal to 0, not -1"),
    ("steps:\n- flags: {at_edge: '2'}\n", "parameter at_edge: should be a valid number, not '2'"),
    ("steps:\n- flags: {at_edge: yes}\n", "parameter at_edge: should be a valid number, not True"),
    ("steps:\n- flags: {at_edge: .nan}\n", "parameter at_edge: should be a finite number, not nan"),
    ("steps:\n- flags: {at_edge: .inf}\n", "parameter at_edge: should be "),
    ("steps:\n- flags: {at_edge: [2]}\n", "parameter at_edge: should be a valid number, not [2]"),
    ("steps:\n- flags: {at_edge: {a: 1}}\n", "line 2: here stands a number, a word, or a list of them"),
    ("steps:\n- masking: {reweight: 1}\n", "step masking, parameter reweight: should be a valid boolean, not 1"),
    ("steps:\n- roll_up:\n    threshold: 0.6\n    genus: 0.5\n",
     "line 2: step roll_up: threshold stands for all ranks: leave out genus, or threshold"),
    ("steps:\n- roll_up: {tribe: 0.5}\n", "step roll_up has no parameter 'tribe'; there are species, genus, family, "),
    ("steps:\n- roll_up: {class_: 0.5}\n", "step roll_up has no parameter 'class_'; did you mean class?"),
    ("steps:\n- best_picture: {without: [dirt]}\n", "step best_picture, parameter without: should be 'too_small', "),
    ("steps: []\ncount_without: fixture\n", "line 2: count_without is a list of flags"),
    ("steps: []\ncount_without:\n- fixtures\n", "line 3: count_without: there is no flag 'fixtures'; did you mean fix"),
    ("steps: []\ncount_without: [{a: 1}]\n", "line 2: here stands a number, a word, or a list of them"),
    ("steps: [\n", "line 2: not YAML: "),
    ("steps:\n\t- masking\n", "line 2: not YAML: "),
    ("steps: []\n---\nsteps: []\n", "line 2: not YAML: "),
    ("steps:\n- masking: *all\n", "line 2: not YAML: found undefined alias"),
    ("steps:\n- flags: {at_edge: &a [*a]}\n", "line 2: a list has only words and numbers"),
    ("steps:\n- flags: {at_edge: !!python/name:os.system x}\n", "line 2: not YAML that can be read: "),
    ("steps:\n- flags: {at_edge: 2026-13-45}\n", "line 2: not YAML that can be read: "),
    ("steps: \0\n", "line 1: not YAML: "),
    ("[" * 1000, "line 1: not YAML: "),
    ("#" * 100_001, "line 1: a recipe has at most 100,000 characters, this has 100,001"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_a_bad_recipe_is_refused_in_one_line(text: str, why: str) -> None:
    with pytest.raises(errors.InvalidInput) as refused:
        recipes.parsed(text, "moths.yaml")
    said = str(refused.value)
    assert said.startswith("moths.yaml, line ")
    assert why in said
    assert "\n" not in said
    assert len(said) < 400


SAME = [
    ("steps: [flags, masking]", "steps:\n- flags: {at_edge: 2.0, too_small: 8e-4}\n- masking:\n"),
    ("steps:\n- roll_up: {threshold: 0.65}", "steps:\n- roll_up: {threshold: 6.5e-1, genus: null, class: null}"),
    ("steps: []", "# Counts everything else.\nsteps: []\ncount_without: [below_threshold, fixture, fixture]\n"),
    ("steps: [best_picture]", "steps:\n- best_picture: {without: [below_threshold, fixture]}"),
]
OTHERS = [
    ("steps: [flags, masking]", "steps: [masking, flags]"),
    ("steps: [flags]", "steps: []"),
    ("steps: [flags]", "steps:\n- flags: {at_edge: null}"),
    ("steps: []", "steps: []\ncount_without: []"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_hash_does_not_tell_spellings_apart(one: str, other: str) -> None:
    assert recipes.parsed(one, "a").hash == recipes.parsed(other, "b").hash


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_the_hash_tells_recipes_apart(one: str, other: str) -> None:
    hashes = {recipes.parsed(text, "recipe.yaml").hash for text in (one, other)}
    assert len(hashes) == 2
    assert all(re.fullmatch(r"[0-9a-f]{12}", one) for one in hashes)


def test_the_built_in_recipe_says_every_default() -> None:
    """It is there to be copied: what it says is what a recipe that says nothing does, with all steps in order."""
    default = recipes.default()
    assert [name for name, _ in default.steps] == list(STEPS)
    assert default.hash == recipes.parsed(f"steps: [{', '.join(STEPS)}]", "short.yaml").hash
    for name, step in STEPS.items():
        for field, about in step.parameters.model_fields.items():
            # The one that stands for others is in a comment.
            assert re.search(rf"(?m)^ +{about.alias or field}: |`{about.alias or field}: ", default.text), (name, field)


def test_every_step_and_flag_is_described() -> None:
    for step in STEPS.values():
        for about in step.parameters.model_fields.values():
            assert about.description
            assert about.json_schema_extra
    assert set(Flag.__args__) == set(FLAGS)  # type: ignore[attr-defined]


SPELLINGS = [
    *(text for pair in (*SAME, *OTHERS) for text in pair),
    f"steps: [{', '.join(STEPS)}]",
    "steps:\n- flags\n- 'masking'\n- tracking:\n- fixtures: ~\n- roll_up: {}\n- consensus\n",
    "steps:\n- flags:   # why\n- masking: # yes\n    reweight: false # at the end\n# last\n",
    "steps:\n  - flags:\n      # first\n      at_edge: 3 # pixels\n\n  # then\n  - roll_up: {threshold: 0.65, }\n",
    "steps:\n- best_picture:\n    without:\n    - fixture\n    # more\n- flags: {at_edge: 1e-3\n  }\n",
    "count_without: []\nsteps:\n- flags:\n    at_edge: 3\n  # the end",
    "steps:\r\n- flags:\r\n    at_edge: 3\r\n- masking\r\n",
    "{steps: [flags, {masking: {reweight: false}}]}",
    "steps: [flags]\n...\n",
    "steps:\n- flags: !!map {at_edge: &edge 3}\n- masking: null\n",
    "steps:\n- ? flags\n  : at_edge: 3\n- ? masking\n",
    "# é ü 🦋\nsteps:\n- flags: {too_small: 1.0e-5}\n",
]


@pytest.mark.parametrize("text", [*SPELLINGS, recipes.default().text])
def test_a_recipe_written_out_is_the_same_recipe(text: str) -> None:
    recipe = recipes.parsed(text, "recipe.yaml")
    full = recipes.parsed(written_out.text_of(recipe), "full.yaml")
    assert full.as_data() == recipe.as_data()
    assert written_out.text_of(full) == full.text


def test_what_people_wrote_of_a_recipe_stays() -> None:
    text = "# ours\nsteps:\n- masking # by the list\n- flags:\n    at_edge: 3 # pixels\n- best_picture: {}\n"
    assert written_out.text_of(recipes.parsed(text, "recipe.yaml")) == (
        "# ours\nsteps:\n- masking: {reweight: true} # by the list\n"
        "- flags:\n    at_edge: 3 # pixels\n    too_small: 0.0008\n    detector_score: null\n    label_score: null\n"
        '- best_picture: {without: ["below_threshold", "fixture"]}\ncount_without: ["below_threshold", "fixture"]\n'
    )
    default = recipes.default().text
    assert written_out.text_of(recipes.default()).startswith(default[: default.index("  - roll_up:")])


def test_other_defaults_do_not_change_a_recipe_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    short = "steps: [flags, roll_up]"
    old = recipes.parsed(short, "recipe.yaml")
    kept = written_out.text_of(old)

    class Later(STEPS["flags"].parameters):  # type: ignore[name-defined, misc]
        at_edge: float | None = 7.0

    monkeypatch.setitem(STEPS, "flags", replace(STEPS["flags"], parameters=Later))  # type: ignore[arg-type]
    assert recipes.parsed(short, "recipe.yaml").hash != old.hash
    assert recipes.parsed(kept, "kept.yaml").hash == old.hash


@pytest.mark.parametrize(
    ("steps", "hints"),
    [
        ("flags, fixtures, tracking, consensus, masking, roll_up, best_picture", []),
        ("masking, roll_up", []),
        ("tracking", []),
        ("consensus", ["consensus does nothing"]),
        ("consensus, tracking", ["consensus does nothing"]),
        ("roll_up, masking", ["masking undoes roll_up"]),
        ("tracking, roll_up, consensus", ["consensus undoes roll_up"]),
        ("best_picture, flags", ["best_picture does not see below_threshold,"]),
        ("best_picture, roll_up", ["best_picture chooses by taxa that roll_up"]),
    ],
)
def test_an_order_without_effect_has_a_hint(steps: str, hints: list[str]) -> None:
    found = recipes.parsed(f"steps: [{steps}]", "r.yaml").hints
    assert [line[: len(hint)] for line, hint in zip(found, hints, strict=True)] == hints
