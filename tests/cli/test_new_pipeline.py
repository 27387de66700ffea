"""`antenna pipelines new` writes files that can be read and run, from what a model's file tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from antenna_orchestration import errors
from antenna_orchestration.cli.beginning import Kind
from antenna_orchestration.pipelines import registry
from antenna_orchestration.pipelines.declared import beginnings
from antenna_orchestration.pipelines.declared.beginnings import Asked
from antenna_orchestration.testing import check_pipeline
from tests.cli.shells import Shell
from tests.pipelines.declared_models import SmallClassifier, SmallYolo, has_onnx, seeded, write


@pytest.fixture
def here(lonely: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where the shell is, with models in another."""
    (tmp_path / "models").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def made(lonely: Shell, *words: str) -> None:
    ended = lonely(*words)
    assert ended.code == 0, ended.err


def written(here: Path, name: str) -> dict[str, object]:
    read: dict[str, object] = yaml.safe_load((here / name).read_text())
    return read


def test_the_kinds_are_those_that_are_written() -> None:
    assert [str(kind) for kind in Kind] == list(beginnings.KINDS)


@pytest.mark.long
def test_a_python_file_runs_as_it_is_written(lonely: Shell, here: Path) -> None:
    done = lonely("pipelines", "new", "dark-things", "--from", "python")
    assert done.out == "dark_things.py is written\n", done.err
    assert "antenna pipelines try dark_things.py" in done.err
    spec = registry.imported("dark-things", [here / "dark_things.py"])
    assert check_pipeline(spec).pipeline == "dark-things"
    lonely("pipelines", "new", "dark-things", "--from", "python").refused(4, "exists already")


@has_onnx
def test_an_onnx_detector_says_most_of_it_itself(lonely: Shell, here: Path) -> None:
    import onnx

    path = here.parent / "models" / "best.onnx"
    write(seeded(SmallYolo()), path, torch.rand(2, 3, 160, 160))
    model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = "names", "{0: 'moth', 1: 'beetle', 2: 'fly'}"
    onnx.save(model, path)
    made(lonely, "pipelines", "new", "lab-yolo", "../models/best.onnx", "--from", "onnx")
    detector = written(here, "lab-yolo.yaml")["detector"]
    assert isinstance(detector, dict)
    assert (detector["file"], detector["labels"]) == ("../models/best.onnx", ["moth", "beetle", "fly"])
    assert detector["output"]["format"] == "yolo"
    assert registry.get("lab-yolo", [here / "lab-yolo.yaml"]).algorithms[1].labels == ("moth", "beetle", "fly")


@has_onnx
def test_an_onnx_classifier_gets_crops_of_the_shipped_detector(lonely: Shell, here: Path) -> None:
    write(seeded(SmallClassifier(), 1), here.parent / "models" / "names.onnx", torch.rand(2, 3, 64, 64))
    (here / "labels.txt").write_text("a\nb\nc\nd\n")
    made(lonely, "pipelines", "new", "lab-names", "../models/names.onnx", "--from", "onnx", "--labels", "labels.txt")
    assert written(here, "lab-names.yaml")["detector"] == {"pipeline": "light_trap_insects"}
    whole = ("pipelines", "new", "lab-whole", "../models/names.onnx", "--from", "onnx", "--labels", "labels.txt")
    made(lonely, *whole, "--detector", "none")
    assert "detector" not in written(here, "lab-whole.yaml")


def test_other_kinds_are_read_as_they_are_written(lonely: Shell, here: Path) -> None:
    for name in ("best.pt", "best-cls.pt", "weights.pth", "program.pt2", "program.pt"):
        (here.parent / "models" / name).write_bytes(b"weights")
    folders = {"ForImageClassification": "classifier", "ForObjectDetection": "detector"}
    for kind, folder in folders.items():
        (here.parent / "models" / folder).mkdir()
        (here.parent / "models" / folder / "config.json").write_text(json.dumps({"architectures": [f"ViT{kind}"]}))
    for slug, kind, file, *more in (
        ("a", "yolo", "best.pt"),
        ("b", "yolo", "best-cls.pt", "--detector", "none"),
        ("c", "timm", "weights.pth", "--model", "efficientnet_b0"),
        ("d", "pt2", "program.pt2"),
        ("e", "torchscript", "program.pt"),
        ("f", "hf", "classifier"),
        ("g", "hf", "detector"),
    ):
        made(lonely, "pipelines", "new", f"new-{slug}", f"../models/{file}", "--from", kind, *more)
        found = registry.read([here / f"new-{slug}.yaml"])
        assert f"new-{slug}" in found.pipelines, found.broken


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("null", "--from", "python"), "there is a pipeline null already"),
        (("Not A Slug", "--from", "python"), "is not a slug"),
        (("x", "--from", "yolo"), "name the model's file"),
        (("x", "--from", "hf"), "name the model's folder"),
        (("x", "nowhere.pt", "--from", "yolo"), "there is no such file"),
        (("x", "model.pt", "--from", "python"), "python takes no model"),
        (("x", "model.pt", "--from", "timm"), "--model"),
        (("x", "model.pt", "--from", "timm", "--model", "resnet18", "--labels", "no.txt"), "no.txt"),
        (("x", "model.pt", "--from", "yolo", "--detector", "none", "--labels"), "requires an argument"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    lonely: Shell, here: Path, words: tuple[str, ...], complaint: str
) -> None:
    (here / "model.pt").write_bytes(b"weights")
    done = lonely("pipelines", "new", *words)
    assert done.code != 0 and done.out == ""
    assert complaint in done.err
    assert [path.name for path in here.iterdir()] == ["model.pt"]


def test_an_onnx_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    with pytest.raises(errors.InvalidInput, match="ONNX"):
        beginnings.of("onnx", Asked(slug="x", file="no.onnx", path=tmp_path / "no.onnx"))
