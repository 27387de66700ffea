"""What help texts and pages give as an example is accepted, and each setting of a pipeline is explained."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import index
from antenna_orchestration.cli.main import app
from antenna_orchestration.pipelines import registry
from tests.cli.shells import Shell

REPOSITORY = Path(__file__).parents[2]


def every_command() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """All commands with their names, groups as well."""
    waiting = [("antenna", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command  # type: ignore[misc]
        waiting += [(f"{name} {sub}", one) for sub, one in getattr(command, "commands", {}).items()]


COMMANDS = dict(every_command())


def texts(command: typer.core.TyperCommand) -> list[str]:
    """The command's help and that of its options."""
    return [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]


def test_the_index_says_what_each_command_says_of_itself() -> None:
    """`antenna --help` shows the index, and imports no command."""
    for name, place in index.COMMANDS.items():
        assert COMMANDS[f"antenna {name}"].get_short_help_str(limit=80) == place.help


def test_every_setting_in_a_help_text_is_accepted() -> None:
    """B13: the example of `--config` named a setting that the default pipeline does not have."""
    found = [json.loads(one) for command in COMMANDS.values() for text in texts(command) for one in in_quotes(text)]
    assert found
    for config in found:
        registry.get(registry.DEFAULT_PIPELINE).merged_config(config)


def in_quotes(text: str) -> list[str]:
    return re.findall(r"'(\{.*?\})'", text)


def test_every_command_in_a_help_text_exists() -> None:
    """B13's siblings: a help text that sends people to another command."""
    for name, command in COMMANDS.items():
        for named in re.findall(r"`(antenna [^`]*)`", " ".join(texts(command))):
            words = [word for word in named.split() if re.fullmatch(r"[a-z]+", word)]
            assert any(" ".join(words[:depth]) in COMMANDS for depth in (2, 3)), f"{name}: {named}"


@pytest.mark.parametrize("page", sorted(REPOSITORY.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_every_setting_in_a_page_is_accepted(page: Path) -> None:
    """B13's siblings: `antenna submit` with `--config` in the docs."""
    for line in re.findall(r"^ *(antenna submit .*--config .*)$", page.read_text(), re.MULTILINE):
        words = shlex.split(line, comments=True)
        pipeline = words[words.index("--pipeline") + 1] if "--pipeline" in words else registry.DEFAULT_PIPELINE
        if pipeline in registry.all_pipelines():
            registry.get(pipeline).merged_config(json.loads(words[words.index("--config") + 1]))


def test_every_setting_of_every_pipeline_is_explained(lonely: Shell) -> None:
    """B13: `pipelines show` gave names and defaults alone."""
    for slug, spec in registry.all_pipelines().items():
        assert set(spec.meanings) == set(spec.default_config), slug
        assert set(spec.ranges) == {key for key in spec.default_config if spec.kind(key) == "number"}, slug
        assert spec.merged_config(spec.default_config) == dict(spec.default_config)
    text = lonely("pipelines", "show", "null").out
    assert "fail_share   number         0.0      0 to 1 " in text and "Share of the images that fail" in text
    assert lonely("pipelines", "show", "null", "--json").json["ranges"]["fail_share"] == [0, 1]


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf")])
def test_a_setting_out_of_its_range_is_refused(value: float) -> None:
    """B13: the range that is shown is the range that is taken."""
    with pytest.raises(errors.InvalidInput, match="setting 'fail_share' of pipeline null is 0 to 1, not"):
        registry.get("null").merged_config({"fail_share": value})


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if getattr(command, "commands", {})])
def test_lists_of_commands_say_the_whole_first_line(name: str, lonely: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = lonely(*name.split()[1:], "--help").out
    cut = [line for line in shown.splitlines() if line.startswith("  ") and line.endswith("...")]
    assert not cut
