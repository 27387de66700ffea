"""The page about one's own models: its files run as they are written, and its messages are those of the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.pipelines import Bound
from antenna_orchestration.domain import stalls
from antenna_orchestration.domain.messages import Classification
from antenna_orchestration.pipelines import interface, outcomes, registry
from antenna_orchestration.pipelines.declared import description, programs
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.processing import bound
from antenna_orchestration.synthetic import captures
from tests.cli.shells import Shell
from tests.domain.test_stalls import heard, waiting_job
from tests.pipelines.declared_models import has_onnx
from tests.pipelines.test_outcomes import NAN

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
OWN_MODEL = ROOT / "docs/howto/bring-your-own-model.md"
TEST_KIT = ROOT / "docs/howto/test-your-pipeline.md"


def code_after(sentence: str, page: Path = OWN_MODEL) -> str:
    """The first block of code after a sentence of a page, which is the one about one's own models if none is named."""
    found = re.search(r"```\w+\n(.*?)```", page.read_text().split(sentence)[1], re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    yield
    # Those of the test's folder alone: torch cannot be imported twice.
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{tmp_path}/"):
            del sys.modules[name]


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A shell in an empty folder, with a photograph in it and no stack."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes(captures.draw_capture(1, 1600, 1200, trap=0)[0])
    return Shell({"ANTENNA_HOME": str(tmp_path / ".antenna")}, monkeypatch, capsys)


def command_after(sentence: str) -> list[str]:
    """The words of the first command after a sentence of the page, without `antenna`."""
    found = re.search(r"^    antenna (.*)$", OWN_MODEL.read_text().split(sentence)[1], re.MULTILINE)
    assert found
    return shlex.split(found[1])


def test_ones_own_model_runs_as_written(newcomer: Shell, tmp_path: Path) -> None:
    file = tmp_path / "dark_spots.py"
    file.write_text(code_after("`dark_spots.py`:"))
    newcomer.set(ANTENNA_PIPELINE_PATHS=str(file) + os.pathsep)
    assert "dark_spots" in newcomer(*command_after("export ANTENNA_PIPELINE_PATHS=$PWD/dark_spots.py")).out
    tried = newcomer(*command_after("antenna pipelines show dark-spots"), "--json").json
    [photograph] = tried["photographs"]
    _, insects = captures.draw_capture(1, 1600, 1200, trap=0)
    assert len(photograph["detections"]) >= len(insects) // 2 > 0
    assert (tmp_path / "boxes" / "photo.boxes.jpg").stat().st_size > 10_000
    # And the kit, as its page says.
    settings.get.cache_clear()
    try:
        exec(compile(code_after("## In Python", TEST_KIT), str(TEST_KIT), "exec"), {})
    finally:
        settings.get.cache_clear()


def export_species() -> None:
    """Run the page's script in the current folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(code_after("`export_species.py`:"), str(OWN_MODEL), "exec"), {})


@has_onnx
def test_one_model_names_what_another_found(newcomer: Shell, tmp_path: Path) -> None:
    export_species()
    (tmp_path / "moth_names.yaml").write_text(code_after("`moth_names.yaml`, beside it:"))
    tried = newcomer(*command_after("`moth_names.yaml`, beside it:"), "--json").json
    [photograph] = tried["photographs"]
    said = [[one["label"] for one in box["classifications"]] for box in photograph["detections"]]
    species = {"dark", "grey", "bright"}
    assert {labels[0] for labels in said} == {"moth", "nonmoth"}
    assert all(bool(species & set(labels)) == (labels[0] == "moth") for labels in said)
    assert (tmp_path / "boxes" / "photo.boxes.jpg").stat().st_size > 10_000


def messages_of_the_page() -> list[str]:
    """What the page says goes wrong, as it is written there; … stands for anything."""
    section = OWN_MODEL.read_text().partition("\n## What goes wrong\n")[2]
    return re.findall(r"^\| ``(.*)`` \|", section, re.MULTILINE)


def test_what_goes_wrong_is_told_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = list(faults(tmp_path))
    written = messages_of_the_page()
    assert len(told) == len(written)
    for message, one in zip(told, written, strict=True):
        pattern = re.escape(one).replace("…", ".*")
        assert re.search(pattern, message), f"the page says {one!r}, and the code {message!r}"


def faults(folder: Path) -> Iterator[str]:
    """What the code says in each case, in the order of the page."""
    yield told_by(lambda: registry.get("moth-names", ()))
    yield from broken_files(folder)
    if find_spec("onnx") is None:
        pytest.skip("onnx is not installed")
    export_species()
    yield told_by(lambda: declared(folder, "margin", "margn"))
    yield told_by(lambda: declared(folder, "[moth]", "[moths]"))
    yield told_by(lambda: run(declared(folder, "species.onnx", "specie.onnx")))
    yield str(programs.missing("onnx"))
    yield told_by(lambda: run(declared(folder, "size: 128", "size: 64")))
    yield told_by(lambda: run(declared(folder, "[dark, grey, bright]", "[dark, grey]")))
    file = folder / "dark_spots.py"
    file.write_text(code_after("`dark_spots.py`:"))
    spec = registry.imported("dark-spots", (file,))
    for changes in (
        {"score": NAN},
        {"score": 2.5},
        {"box": (0.2, 0.2, 0.4, 0.4)},
        {"classifications": [Classification(algorithm=spec.algorithms[1].ref, label="huge", score=1.0)]},
    ):
        yield told_by(lambda changes=changes: checked(spec, changes))  # type: ignore[misc]
    yield bound._about_change(spec, Bound("0" * 64, datetime.now(UTC) - timedelta(hours=1)))
    job = waiting_job(pipeline="moth-names", source_kinds=("file:cam-7",))
    for worker in (
        None,
        heard(pipelines=(), failing={"moth-names": "no CUDA"}),
        heard(pipelines=(), refused={"7": "it is bound to another digest"}),
        heard(pipelines=("moth-names",)),
    ):
        yield stalls.why_unserved(job, [worker] if worker else [])


def told_by(call: Callable[[], object]) -> str:
    with pytest.raises((errors.AntennaError, ValueError)) as caught:
        call()
    return str(caught.value)


def broken_files(folder: Path) -> Iterator[str]:
    places = [folder / name for name in ("lab.py", "json.py", "a.yaml", "b.yaml")]
    places[0].write_text("import os\n\nx = (\n")
    places[1].write_text(code_after("`dark_spots.py`:"))
    for place in places[2:]:
        place.write_text("slug: moth-names\ntakes: photographs\nprogram: a.pt2\nsize: 64\n")
    yield from (f"broken: {one}" for one in registry.broken(places))


def declared(folder: Path, old: str, new: str) -> interface.PipelineSpec:
    """The page's chain of models with a fault."""
    text = code_after("`moth_names.yaml`, beside it:")
    assert old in text
    file = folder / "moth_names.yaml"
    file.write_text(text.replace(old, new))
    return description.from_yaml(file)


def run(spec: interface.PipelineSpec) -> None:
    pipeline = interface.build(spec, {})
    pipeline.load("cpu")
    photograph = RawImage(image=1, uri="photo.jpg", data=captures.draw_capture(1, 1600, 1200, trap=0)[0])
    pipeline.infer([pipeline.prepare(photograph)])


def checked(spec: interface.PipelineSpec, changes: dict[str, Any]) -> None:
    found = {"box": (10.0, 10.0, 40.0, 40.0), "score": 0.5, "algorithm": spec.algorithms[0].ref, **changes}
    result = interface.ImageResult(width=1600, height=1200, detections=[interface.Detection(**found)])
    outcomes.checked(result, outcomes.declared_by(spec))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")
def test_a_yolo_file_becomes_boxes_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights, whose scores are next to nothing."""
    make = "from ultralytics import YOLO; YOLO('yolo11n.yaml').save('best.pt')"
    monkeypatch.setenv("ANTENNA_HOME", str(tmp_path / ".antenna"))
    monkeypatch.delenv("ANTENNA_PIPELINE_PATHS", raising=False)
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "photo.jpg").write_bytes(captures.draw_capture(1, 1600, 1200, trap=0)[0])
    section = OWN_MODEL.read_text().split("## I have a YOLO")[1].split("## Other kinds")[0]
    new, try_it = (line.strip() for line in section.splitlines() if line.strip().startswith("antenna pipelines"))
    for command in (new, f'{try_it} --config {{"min_score":0.0001}}'):
        words = [sys.executable, "-m", "antenna_orchestration.cli.main", *command.split()[1:]]
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    said = yaml.safe_load(textwrap.dedent(section.split("```yaml\n")[1].split("   ```")[0]))
    assert yaml.safe_load((tmp_path / "lab-yolo.yaml").read_text()) == said
    assert (tmp_path / "boxes" / "photo.boxes.jpg").stat().st_size > 10_000


def test_ones_own_exported_program_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code_after("`export_dark_cells.py`:"), str(OWN_MODEL), "exec"), {})
    (tmp_path / "dark_cells.yaml").write_text(code_after("`dark_cells.yaml`, beside it:"))
    spec = registry.imported("dark-cells", (tmp_path / "dark_cells.yaml",))
    pipeline = interface.build(spec, {"scores": "full"}, top_k=1)
    pipeline.load("cpu")
    photographs = [captures.draw_capture(seed, 1600, 1200, trap=0)[0] for seed in (1, 2, 3)]
    prepared = [pipeline.prepare(RawImage(image=1, uri="photo.jpg", data=data)) for data in photographs]
    for one, raw in zip(prepared, pipeline.infer(prepared), strict=True):
        result = pipeline.finish(one, raw)
        assert (result.width, result.height) == (1600, 1200)
        assert 0 < len(result.detections) <= 50
        for detection in result.detections:
            x1, y1, x2, y2 = detection.box
            assert (x2 - x1, y2 - y1) == pytest.approx((40, 40))
            assert detection.score > 0.1
            [said] = detection.classifications
            assert said.top_labels == [said.label]
            assert len(said.scores or b"") == 4


def test_the_other_descriptions_of_ones_own_models_are_read(tmp_path: Path) -> None:
    (tmp_path / "my_moths.yaml").write_text(code_after("any number of crops at once:"))
    (tmp_path / "lab_moths.py").write_text(code_after("## Your own weights in a published architecture"))
    mine, lab = (registry.get(slug, (tmp_path,)) for slug in ("my-moths", "lab-moths"))
    assert [one.key for one in mine.algorithms] == ["fasterrcnn_for_ami_moth_traps_2023", "my_moths"]
    assert [one.key for one in lab.algorithms][1:] == ["moth_nonmoth_classifier", "lab_moths"]
    assert mine.algorithms[1].labels_uri == str(tmp_path / "my_moths_v2.json")
