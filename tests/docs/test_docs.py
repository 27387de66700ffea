"""What the pages say is so: links resolve, commands parse, settings exist, tables agree, the example runs."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

from antenna_orchestration import errors, settings
from antenna_orchestration.cli.main import app
from antenna_orchestration.domain.job import IMAGE_TRANSITIONS, JOB_TRANSITIONS
from antenna_orchestration.domain.messages import Announcement, Heartbeat, Result, Task
from antenna_orchestration.ecology import columns as derived
from antenna_orchestration.ecology.steps import STEPS
from antenna_orchestration.ecology.steps.step import FLAGS
from antenna_orchestration.exports import crops, duckdb_file, flat_columns, pictures
from antenna_orchestration.exports.formats import FORMATS
from antenna_orchestration.lake import columns, schemas
from antenna_orchestration.pipelines.declared import description, recipe
from antenna_orchestration.upkeep import health

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

NO_SETTINGS = {"ANTENNA_STACK_HOME", "ANTENNA_STACK_ID"}  # marks of processes
"""Variables that are read beside the settings: a host's name belongs to the host."""

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> Any:
    return pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


@pages()
def test_links_resolve(page: Path) -> None:
    for target in _LINK.findall(_FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(found), f"{page.name} links to {target}"


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pages()
def test_commands_parse(page: Path) -> None:
    for line in commands(page.read_text()):
        parse(line)


def commands(text: str) -> Iterator[str]:
    """Every `antenna …` command: lines of code, and code within a sentence."""
    code = [line for block in re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.M | re.S) for line in block.split("\n")]
    code += re.findall(r"^ExecStart=\S*/(antenna .*)$", text, re.MULTILINE)
    rest = _FENCE.sub("", text)
    code += re.findall(r"^    (\S.*)$", rest, re.MULTILINE)
    for line in [*code, *re.findall(r"`([^`\n]+)`", rest)]:
        command = re.sub(r"^.*?\$\((?=antenna )", "", re.sub(r"^(srun|exec) ", "", line.strip()))
        if re.match(r"antenna( |$)", command) and "…" not in command:
            yield re.sub(r"\s+(#|\||>|\|\|).*$|\)\"?$", "", command)


@cache
def root() -> Any:
    return typer.main.get_command(app)


def parse(line: str) -> None:
    """Parse a command line as the real command does, without running it."""
    words = ["1" if word.startswith("$") else word for word in shlex.split(line)[1:]]
    command, context = root(), None
    while words and words[0] not in ("-h", "--help", "--version"):
        context = command.make_context(line, list(words), parent=context)
        if not hasattr(command, "commands"):
            return
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, f"{line}: no command {name}"
    # Without any word more it names the command, as a sentence does.


def test_a_wrong_command_is_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("antenna jobs list --limits 3")
    with pytest.raises(Exception, match="No such command"):
        parse("antenna job list")
    assert "antenna submit x --wait" in list(commands("Do this:\n\n    antenna submit x --wait  # and wait\n"))


@pages()
def test_commands_of_the_data_companion_exist(page: Path) -> None:
    """B17: its worker is started with `ami worker`, which has the one command `register`; `run` is taken for a name."""
    said = re.findall(r"\bami worker(?: +([a-z]+)| *(?=[`\n]))", "\n".join(code_of(page.read_text())))
    assert set(said) <= {"", "register"}


def code_of(text: str) -> list[str]:
    return [*_FENCE.findall(text), *re.findall(r"^    (\S.*)$", text, re.MULTILINE), *re.findall(r"`([^`\n]+)`", text)]


@pages()
def test_every_variable_is_a_setting(page: Path) -> None:
    known = {f"ANTENNA_{name.upper()}" for name in settings.Settings.model_fields}
    # `ANTENNA_*_URL` names a group.
    named = set(re.findall(r"\bANTENNA_[A-Z0-9_]*[A-Z0-9]\b", page.read_text()))
    assert named - known - NO_SETTINGS == set()


def test_the_page_of_commands_names_every_command_and_option() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text()
    sections = dict(re.findall(r"^## (antenna [^\n]*)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    by_name = {re.sub(r"( [A-Z|]+…?)+$", "", title): body for title, body in sections.items()}
    real = dict(leaves(root(), "antenna"))
    assert set(by_name) == set(real)
    for name, command in real.items():
        options = {option for each in command.params for option in each.opts if option.startswith("--")} - {"--help"}
        shown = set(re.findall(r"--[a-z][a-z-]*", by_name[name]))
        assert options <= shown, name


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from leaves(child, f"{name} {word}")
        else:
            yield f"{name} {word}", child


def test_the_page_for_ecologists_explains_every_derived_column() -> None:
    text = (ROOT / "docs/howto/card-to-table.md").read_text().split("\n## Every column\n")[1]
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    found = {name: dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", body, re.MULTILINE)) for name, body in sections.items()}
    assert found == derived.MEANINGS
    assert [list(found[name]) for name in derived.MEANINGS] == [list(one) for one in derived.MEANINGS.values()]


def test_the_page_of_tables_has_the_derived_columns() -> None:
    text = (ROOT / "docs/reference/tables.md").read_text().split("\n## Derived tables\n")[1]
    for name, schema in derived.SCHEMAS.items():
        section = re.search(rf"^### {name}\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, name
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (.*) \|$", section[1], re.MULTILINE)
        assert rows == [(one.name, str(one.type), derived.MEANINGS[name][one.name]) for one in schema]


def test_the_page_of_exports_has_every_format_and_column() -> None:
    page = (ROOT / "docs/reference/exports.md").read_text()
    assert re.findall(r"^\| \[`([\w-]+)`\]\(#([\w-]+)\) \|", page, re.MULTILINE) == [(one, one) for one in FORMATS]
    assert re.findall(r"^## ([\w-]+)$", page, re.MULTILINE) == list(FORMATS)
    for table in flat_columns.TABLES:
        there_is = f"### {table}\n\nThere is {flat_columns.CONTENTS[table]}.\n\n"
        assert f"{there_is}{flat_columns.markdown(flat_columns.TABLES[table])}\n" in page
    for name, rows in {**duckdb_file.TABLES, **{view: rows for view, (rows, _) in duckdb_file.VIEWS.items()}}.items():
        assert re.search(rf"^\| `{name}`( \(view\))? \| {re.escape(rows)} \|$", page, re.MULTILINE), name
    for module in (crops, pictures):
        assert "".join(f"| `{name}` | {meaning} |\n" for name, meaning in module.COLUMNS.items()) in page


def test_the_page_of_recipes_has_every_step_and_parameter() -> None:
    page = (ROOT / "docs/reference/recipes.md").read_text()
    for name, step in STEPS.items():
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for key, field in step.parameters.model_fields.items():
            told = re.search(rf"^\| `{field.alias or key}` \| (.*?) \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
            assert told, f"{name}: {key}"
            default = field.default
            shown = "none" if default is None else ", ".join(default) if isinstance(default, list) else str(default)
            assert told[1] == (shown.lower() if isinstance(default, bool) else shown), f"{name}: {key}"
            assert told[3] == field.description, f"{name}: {key}"
    for flag in FLAGS:
        assert f"| `{flag}` |" in page


def test_the_page_of_tables_has_the_columns_of_the_lake() -> None:
    text = (ROOT / "docs/reference/tables.md").read_text()
    every = {**columns.MEANINGS, **columns.FURTHER}
    for name, schema in schemas.ALL.items():
        section = re.search(rf"^###? {name}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, name
        assert re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE) == schema.names == list(every[name])
        # B10: the asset pages say the same.
        meanings = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", section[1], re.MULTILINE))
        assert meanings == every[name]


def test_pages_have_the_columns_that_are_there_only_if_used() -> None:
    tables, exports = ((ROOT / f"docs/reference/{name}.md").read_text() for name in ("tables", "exports"))
    for own in derived.FURTHER.values():
        for name, (kind, meaning) in own.items():
            assert f"| `{name}` | {kind} | {meaning} |\n" in tables
    for one in flat_columns.FURTHER["observations"]:
        assert f"| `{one.name}` | {one.kind} | {one.meaning} |\n" in exports
    assert flat_columns.markdown((*flat_columns.PHOTOGRAPHS, *flat_columns.FURTHER["photographs"])) in exports


def test_the_page_of_the_queue_has_the_fields_of_each_message() -> None:
    text = (ROOT / "docs/reference/queue.md").read_text()
    for kind in (Task, Result, Announcement, Heartbeat):
        section = re.search(rf"^### {kind.__name__}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
        assert section, kind
        assert re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE) == list(kind.__struct_fields__)


def test_the_page_of_the_catalog_names_its_tables() -> None:
    sql = "".join(path.read_text() for path in ROOT.glob("antenna_orchestration/catalog/migrations/versions/*.sql"))
    made = set(re.findall(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", sql, re.MULTILINE))
    named = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/reference/catalog.md").read_text(), re.MULTILINE))
    assert made <= named


def test_the_pictures_of_the_states_are_the_tables_in_the_code() -> None:
    drawn = re.findall(r"```mermaid\nstateDiagram-v2\n(.*?)```", (ROOT / "docs/design.md").read_text(), re.DOTALL)
    for picture, table in zip(drawn, (JOB_TRANSITIONS, IMAGE_TRANSITIONS), strict=True):
        edges = set(re.findall(r"^\s*(\w+) --> (\w+)$", picture, re.MULTILINE))
        assert edges == {(str(before), str(after)) for before in table for after in table[before]}


def test_the_layout_shows_the_layers_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    page = (ROOT / "CONTRIBUTING.md").read_text()
    lines = [set(line[:54].split()) for line in re.findall(r"^    (.*)$", page.split("## Layout")[1], re.MULTILINE)]
    place = [next(i for i, words in enumerate(lines) if names <= words) for names in map(names_of, layers)]
    assert place == sorted(set(place))


def names_of(layer: str) -> set[str]:
    return set(re.findall(r"\w+", layer))


def test_the_pages_have_every_health_check_in_its_order() -> None:
    design, dagster = ((ROOT / f"docs/{name}.md").read_text() for name in ("design", "reference/dagster"))
    section = design.split("\n## Health check\n")[1].split("\n## ")[0].split("\n### ")[0].rstrip()
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    without = [name for name in health.CHECKS if name not in rows]
    assert not without, f"docs/design.md, Health check, has no row for {', '.join(without)}"
    assert rows == list(health.CHECKS), "docs/design.md, Health check, has its rows in another order than health.CHECKS"
    only_look = " ".join(section.split("\n\n")[-1].split()).split(" cost little")[0]
    assert tuple(re.findall(r"`(\w+)`", only_look)) == health.WATCHED
    listed = re.search(r"^\| ((?:`\w+`(?:, )?)+) \| `jobs_health` \|", dagster, re.MULTILINE)
    assert listed, "docs/reference/dagster.md has no row for the checks of jobs_health"
    assert re.findall(r"`(\w+)`", listed[1]) == list(health.CHECKS), "docs/reference/dagster.md lists other checks"


def test_the_pages_say_when_the_sensor_looks_at_a_claimed_job() -> None:
    seconds = f"{constant('sensors/queued_jobs.py', 'CLAIMED_TOO_LONG'):.0f} s"
    for page, sentence in (
        ("design", f"After {seconds} the sensor looks at the job's runs"),
        ("design", f"CLAIMED for {seconds} without a run"),
        ("howto/when-something-is-wrong", f"the sensor launches it again after {seconds}"),
        ("howto/runs", f"another run after {seconds}"),
    ):
        text = " ".join((ROOT / f"docs/{page}.md").read_text().split())
        assert sentence in text, f"docs/{page}.md does not say: {sentence}"


def constant(path: str, name: str) -> float:
    """A number that a module of the package defines, read without importing it: Dagster takes seconds."""
    for node in ast.parse((ROOT / "antenna_orchestration" / path).read_text()).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return float(ast.literal_eval(node.value))
    raise AssertionError(f"{path} does not define {name}")


def test_the_tree_of_errors_shows_every_class_at_its_place() -> None:
    drawn: list[tuple[str, str]] = []
    above: list[str] = []
    for branch, name in re.findall(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE):
        depth = len(branch) // 4
        above[depth:] = [name]
        drawn.append((name, above[depth - 1] if depth else "Exception"))
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert sorted(drawn) == sorted((one.__name__, one.__bases__[0].__name__) for one in classes)


def test_the_design_names_every_folder_of_the_package() -> None:
    text = (ROOT / "docs/design.md").read_text()
    folders = {path.parent.name for path in (ROOT / "antenna_orchestration").glob("*/__init__.py")}
    assert {name for name in folders if f"`{name}/`" not in text} == set()


def test_the_reading_guide_names_what_is_defined() -> None:
    guide = (ROOT / "docs/design.md").read_text().split("\n## Where to start reading\n")[1].split("\n## ")[0]
    hops = re.findall(r"`([\w/]+\.py):([\w.]+)`", guide)
    assert len(hops) > 50
    assert [f"{path}:{name}" for path, name in hops if name not in definitions(path)] == []
    # Methods that it names once more without their file, and files that it names alone, SQL among them.
    defined = set().union(*(definitions(path) for path, _ in hops))
    assert set(re.findall(r"`([A-Z]\w+\.\w+)`", guide)) <= defined
    files = re.findall(r"`([\w/]+\.(?:py|sql))`", guide)
    assert [path for path in files if not (ROOT / "antenna_orchestration" / path).is_file()] == []


@cache
def definitions(path: str) -> frozenset[str]:
    """What a module of the package defines by itself: functions, classes, methods as `Class.method`, and names."""
    found: set[str] = set()
    for node in ast.parse((ROOT / "antenna_orchestration" / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            found.update(f"{node.name}.{method.name}" for method in methods)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(found)


def test_pages_that_the_code_names_are_there() -> None:
    for module in (ROOT / "antenna_orchestration").rglob("*.py"):
        for name in re.findall(r"docs/[\w/-]+\.md", module.read_text()):
            assert (ROOT / name).exists(), f"{module.name} names {name}"


def test_the_page_of_declared_pipelines_has_every_field_and_value() -> None:
    page = (ROOT / "docs/reference/declared-pipelines.md").read_text()
    parts = {part.partition("\n")[0]: part for part in re.split(r"^##+ ", page, flags=re.MULTILINE)}
    of_structs = {
        "The file": (description.Description,),
        "A model": (description.Detector, description.Classifier),
        "Input": (description.Input,),
        "Tiles": (description.Tile,),
        "Output": (description.Output,),
    }
    for title, structs in of_structs.items():
        said = set(re.findall(r"`(\w+)`", parts[title] + (page if title == "A model" else "")))
        assert {name for one in structs for name in one.__struct_fields__} <= said, title
    for values in (recipe.Runtime, recipe.Fit, recipe.Resize, recipe.Format, recipe.Activation):
        assert all(f"`{value}`" in page for value in get_args(values))
    for extra in set(recipe.EXTRAS.values()):
        assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_declaration_on_the_page_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/declared-pipelines.md").read_text()
    (tmp_path / "lab_moths.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    spec = description.from_yaml(tmp_path / "lab_moths.yaml")
    assert [one.key for one in spec.algorithms] == [
        "lab_moths_detector", "lab_moths_detector_labels", "lab_moths_classifier"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/quickstart.md", "docs/model-card.md", "docs/reference/glossary.md", "docs/reference/tables.md"],
)
def test_pages_that_count_call_a_detection_a_sighting(page: str) -> None:
    """B12: they said one row per insect, which readers took for individuals."""
    text = " ".join((ROOT / page).read_text().split())
    assert "sighting" in text
    assert not re.search(r"(one|a) row (per|for each|an) insect\b(?! (on|in) (one|a) photograph)", text, re.IGNORECASE)
