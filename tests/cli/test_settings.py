"""`antenna settings`, `pipelines` and `env`: what needs no server."""

import shlex
import subprocess
from pathlib import Path

import pytest

from antenna_orchestration import settings
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.pipelines import registry
from antenna_orchestration.settings import Settings
from tests.cli.shells import Shell

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_reference_page_is_up_to_date(lonely: Shell) -> None:
    assert lonely("settings", "--markdown").out == REFERENCE.read_text(), "run `make docs`"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_default_on_the_page_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets a variable to the default that the page shows changes nothing."""
    row = next(line for line in REFERENCE.read_text().splitlines() if line.startswith(f"| `ANTENNA_{name.upper()}` |"))
    shown = row.split(" | ")[1].strip()
    field = Settings.model_fields[name]
    if field.default_factory:
        # The page says how it is found, not what was found where the page was made.
        assert shown and "`" not in shown.replace("`.antenna`", "")
        return
    monkeypatch.setenv(f"ANTENNA_{name.upper()}", shown.strip("`"))
    assert getattr(Settings(), name) == field.default


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.default == ()])
def test_several_values_are_separated_as_the_page_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    special = {
        "bucket_roots": ("s3://a", "s3://b"),
        "worker_locations": ("a=h:1", "b=h:2"),
        "ui_hosts": ("a.example", "b.example"),
        "gateway_proxies": ("10.0.0.7", "10.1.0.0/24"),
    }
    values = special.get(name, ("/a", "/b"))
    text = settings.as_text(name, values)
    monkeypatch.setenv(f"ANTENNA_{name.upper()}", text)
    assert tuple(map(str, getattr(Settings(), name))) == values
    separator = text.removeprefix(values[0]).removesuffix(values[1])
    assert f"separated by `{separator}`" in " ".join((Settings.model_fields[name].description or "").split())


def test_every_setting_is_listed_without_its_secrets(lonely: Shell) -> None:
    lonely.set(
        ANTENNA_SECRET_KEY="hush", ANTENNA_DATABASE_URL="postgresql://me:hush@db/x", ANTENNA_IMAGE_ROOTS="/a:/b",
        ANTENNA_MAX_ATTEMPTS="7", ANTENNA_UI_PASSWORD="hush hush hush",
    )  # fmt: skip
    answer = lonely("settings", "--json")
    listed = {one["name"]: one for one in answer.json}
    assert set(listed) == {f"ANTENNA_{name.upper()}" for name in Settings.model_fields}
    assert all(one["description"] for one in listed.values())
    assert listed["ANTENNA_DATABASE_URL"]["value"] == "postgresql://me:***@db/x"
    assert listed["ANTENNA_IMAGE_ROOTS"]["value"] == "/a:/b"
    assert (listed["ANTENNA_MAX_ATTEMPTS"]["value"], listed["ANTENNA_MAX_ATTEMPTS"]["default"]) == (7, 5)
    text = lonely("settings")
    assert "ANTENNA_MAX_ATTEMPTS" in text.out
    assert "hush" not in answer.out + text.out
    lonely.set(ANTENNA_UI_PASSWORD="hush")
    refused = lonely("settings", "--json")
    assert refused.code == 2 and "ANTENNA_UI_PASSWORD" in refused.err and "hush" not in refused.err


def test_pipelines(lonely: Shell) -> None:
    listed = lonely("pipelines", "list", "--json").json
    assert [one["slug"] for one in listed] == list(registry.all_pipelines())
    assert registry.DEFAULT_PIPELINE in lonely("pipelines", "list").out
    shown = lonely("pipelines", "show", "null", "--json").json
    assert shown["config"]["detections"] == 1
    assert [one["key"] for one in shown["algorithms"]] == ["null_detector", "null_classifier"]
    text = lonely("pipelines", "show", "null").out
    assert "null_classifier" in text
    assert "delay_ms" in text
    lonely("pipelines", "show", "nope").refused(2, "there is no pipeline 'nope'")


def test_own_pipelines_are_listed_with_their_files_and_what_was_pushed(lonely: Shell, tmp_path: Path) -> None:
    """A list of slugs did not tell which file a slug came from, nor what workers elsewhere could fetch."""
    name = tmp_path / "lab" / "lab.yaml"
    name.parent.mkdir()
    (name.parent / "lab.pt2").write_text("program")
    name.write_text("slug: lab-listed\ntakes: photographs\nprogram: lab.pt2\nsize: 64\n")
    lonely.set(ANTENNA_PIPELINE_PATHS=str(name), ANTENNA_LAKE_URI=str(tmp_path / "lake"))
    assert f"{name}" in "".join(lonely("pipelines", "list").out.split())
    [own] = [one for one in lonely("pipelines", "list", "--json").json if one["defined_in"]]
    assert own["defined_in"] == {"kind": "file", "name": str(name)}
    before = lonely("pipelines", "list", "--pushed")
    assert "nothing was pushed to" in before.err and "not pushed, as it is now: lab-listed 1" in before.err
    digest = lonely("pipelines", "push", name, "--json").json[0]["digest"]
    (name.parent / "lab.pt2").write_text("another")
    after = lonely("pipelines", "list", "--pushed")
    assert digest[:12] in after.out and "not pushed, as it is now: lab-listed 1" in after.err
    (name.parent / "lab.pt2").write_text("program")
    [there] = lonely("pipelines", "list", "--pushed", "--json").json
    assert (there["digest"], there["here"]) == (digest, str(name))
    lonely.set(ANTENNA_PIPELINE_PATHS="")
    assert lonely("pipelines", "list", "--pushed", "--json").json[0]["here"] is None


def test_files_of_a_published_pipeline_are_shown_and_fetched(lonely: Shell, tmp_path: Path) -> None:
    lonely.set(ANTENNA_WEIGHTS_MIRROR=str(tmp_path))
    [detector, classifier] = lonely("pipelines", "show", "moth_binary", "--json").json["algorithms"]
    files = [detector["uri"], classifier["uri"], classifier["labels_uri"]]
    text = lonely("pipelines", "show", "moth_binary").out
    assert all(uri in text for uri in files)
    assert text.count("not yet") == 3
    assert "'top' or 'full'" in text
    lonely("pipelines", "fetch", "moth_binary").refused(5, "there is no such file on this machine")
    for uri in files:
        (tmp_path / uri.rpartition("/")[2]).write_text('{"nonmoth": 1, "moth": 0}')
    assert lonely("pipelines", "fetch", "moth_binary", "moth_binary").out.split() == [
        str(tmp_path / uri.rpartition("/")[2]) for uri in files
    ]
    assert set(lonely("pipelines", "fetch", "moth_binary", "--json").json) == set(files)
    text = lonely("pipelines", "show", "moth_binary").out
    assert "not yet" not in text
    assert "moth, nonmoth" in text
    lonely("pipelines", "fetch", "nope").refused(2, "there is no pipeline 'nope'")


def test_env_can_be_evaluated(antenna: Shell) -> None:
    answer = antenna("env")
    assert answer.code == 0
    script = f'{answer.out}\nprintf %s "$ANTENNA_DATABASE_URL"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, env={})
    assert done.stdout == antenna.variables["ANTENNA_DATABASE_URL"]
    assert all(line.startswith("export ") and len(shlex.split(line)) == 2 for line in answer.out.splitlines())


def test_env_of_a_folder_without_a_stack(lonely: Shell, tmp_path: Path) -> None:
    lonely("env").refused(3, f"there is no stack in {tmp_path}/.antenna: start one with `antenna up`")
    assert not Home(tmp_path / ".antenna").path.exists()
