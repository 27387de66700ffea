"""The registry finds all pipelines, and refuses a user's faulty one with a clear message."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pipelines import descriptions, interface, labels, registry, sources
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.pipelines.sources import Source

FAULTY = Path(__file__).with_name("faulty.py")

OWN = """
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec
from _helper import NAME

PIPELINES = [
    PipelineSpec(slug="{slug}", name=NAME, version="1", description="", algorithms=(), factory=f"{{__name__}}:Own")
]

class Own(Pipeline):
    def prepare(self, image): return len(image.data)
    def infer(self, batch): return [2 * size for size in batch]
    def finish(self, prepared, raw): return ImageResult(width=prepared, height=raw, detections=[])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for pipeline files; their changes to `sys.path` and `sys.modules` are undone afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "_helper.py").write_text("NAME = 'made from a helper'")
    return tmp_path


def test_the_default_pipeline_is_there_and_can_be_built() -> None:
    spec = registry.get(registry.DEFAULT_PIPELINE, ())
    assert interface.build(spec, {}).spec is spec


def test_an_unknown_slug_is_answered_with_the_known_ones() -> None:
    with pytest.raises(errors.UnknownPipeline, match=r"no pipeline 'moths'; there are: .*null"):
        registry.get("moths", ())


TOO_LONG = "(AlgorithmSpec(key='a', version='1', name='a', task='classification', labels=('m' * 501,)),)"


@pytest.mark.parametrize(
    ("field", "wrong", "complaint"),
    [
        ("algorithms=()", "algorithms=(), batch_size=0", "own: batch_size is 1 to 10,000, not 0"),
        ("algorithms=()", "algorithms=(), batch_size=10**30", "own: batch_size is 1 to 10,000, not 1000"),
        ("algorithms=()", f"algorithms={TOO_LONG}", "own: label 'mmm.* has 501 characters; the limit is 500"),
        ('description=""', r"description='a\0b'", r"own: 'a\\x00b' has a character NUL"),
    ],
)
def test_what_neither_catalog_nor_worker_can_take_is_broken(
    folder: Path, field: str, wrong: str, complaint: str
) -> None:
    file = folder / "untakeable.py"
    file.write_text(OWN.format(slug="own").replace(field, wrong))
    [broken] = registry.broken([file])
    assert re.search(complaint, broken.reason)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("names.yaml", b"names: {0: a, 0: b}", "line 1: '0' is there twice"),
        ("names.json", b'{"a":' * 5000 + b"1" + b"}" * 5000, "recursion"),
        ("names.txt", b"moth\nK\xe4fer\n", "save it as UTF-8"),
    ],
)
def test_a_wrong_file_of_labels_is_told_in_a_line(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InternalError, match=complaint):
        labels.read_labels(tmp_path / name)


def test_a_broken_yaml_file_is_named_once(folder: Path) -> None:
    file = folder / "own.yaml"
    file.write_text("slug: x\ndetektor: {}\n")
    [broken] = registry.broken([file])
    assert str(broken).count(str(file)) == 1


def test_every_built_in_pipeline_describes_its_algorithms_uniquely() -> None:
    for spec in registry.all_pipelines(()).values():
        refs = [algorithm.ref for algorithm in spec.algorithms]
        assert len(set(refs)) == len(refs) > 0
        assert spec.algorithms[0].task == "localization"
        assert spec.merged_config({}) == dict(spec.default_config)


def test_a_file_of_ones_own_is_found_and_runs(folder: Path) -> None:
    (folder / "own_pipeline_a.py").write_text(OWN.format(slug="own-a"))
    described = registry.get("own-a", [folder / "own_pipeline_a.py"])
    assert "own_pipeline_a" not in sys.modules
    spec = registry.imported("own-a", [folder / "own_pipeline_a.py"])
    assert replace(spec, recipe=None) == described
    pipeline = interface.build(spec, {})
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///x", data=b"abc"))
    result = pipeline.finish(prepared, pipeline.infer([prepared])[0])
    assert (spec.name, result.width, result.height) == ("made from a helper", 3, 6)


def test_a_description_says_where_it_and_its_version_are(folder: Path) -> None:
    file = folder / "own_pipeline_a.py"
    file.write_text(OWN.format(slug="own-a"))
    origin = registry.get("own-a", [file]).origin
    assert (origin.kind, origin.name, origin.files) == ("file", str(file), (str(folder / "_helper.py"), str(file)))
    assert 'version="1"' in file.read_text().splitlines()[(origin.version_line or 0) - 1]


def test_a_folder_gives_all_its_files_but_not_its_helpers(folder: Path) -> None:
    (folder / "own_pipeline_b.py").write_text(OWN.format(slug="own-b"))
    (folder / "own_pipeline_c.py").write_text(OWN.format(slug="own-c"))
    assert {"null", "own-b", "own-c"} <= set(registry.all_pipelines([folder]))


def test_a_slug_claimed_twice_leaves_the_second_out(folder: Path) -> None:
    (folder / "own_pipeline_d.py").write_text(OWN.format(slug="null"))
    (folder / "own_pipeline_e.py").write_text(OWN.format(slug="own-e"))
    (folder / "own_pipeline_f.py").write_text(OWN.format(slug="own-e"))
    found = registry.read([folder])
    assert found.pipelines["null"].origin.is_built_in
    assert [Path(one.origin).name for one in found.broken] == ["own_pipeline_d.py", "own_pipeline_f.py"]
    assert [one.reason for one in found.broken] == [
        "its slug 'null' is that of a pipeline of this project",
        f"its slug 'own-e' is that of {folder / 'own_pipeline_e.py'}",
    ]


BROKEN = [
    ("PIPELINES = 1/0", 1, "ZeroDivisionError: division by zero"),
    ("x = 1\n\nPIPELINES = [", 3, "SyntaxError: '[' was never closed"),
    ("import sys\nsys.exit('bye')", 2, "SystemExit: bye"),
    ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    ("import os\nprint('hello')\nos._exit(3)", None, "it ended with status 3"),
    ("import os\nos.kill(os.getpid(), 9)", None, "killed by SIGKILL"),
    ("import no_such_package", 1, "ModuleNotFoundError: No module named 'no_such_package'"),
    ("x = 1", None, "it defines no PIPELINES list"),
    ("PIPELINES = ['null']", None, "expected a PipelineSpec"),
    (OWN.format(slug="Not A Slug"), None, "is not a slug"),
    (OWN.format(slug="own-x").replace(":Own", ":Gone"), None, "the factory 'own_broken_10:Gone', and there is none"),
    (OWN.format(slug="own-x").replace("{__name__}:Own", "no_such.module:Own"), None, "'no_such.module:Own', and there"),
    (OWN.format(slug="own-x").replace('description=""', 'description="", default_config={"a": {1: object()}}'), None,
     "its description: "),
]  # fmt: skip


def test_broken_files_stop_nobody_and_are_listed(folder: Path) -> None:
    """P3, P4, P15: each of them stopped every pipeline, and some the process that looked."""
    for number, (text, _, _) in enumerate(BROKEN):
        (folder / f"own_broken_{number:02}.py").write_text(text)
    (folder / "json.py").write_text(OWN.format(slug="own-json"))
    (folder / "own_sound.py").write_text(OWN.format(slug="own-sound"))
    (folder / "own_wrong.yaml").write_text("slug: own-wrong\ntakes: crop\n")
    found = registry.read([folder, folder / "nowhere"])
    assert {"null", registry.DEFAULT_PIPELINE, "own-sound"} <= set(found.pipelines)
    by_name = {Path(one.origin).name: one for one in found.broken}
    for number, (_, line, reason) in enumerate(BROKEN):
        one = by_name.pop(f"own_broken_{number:02}.py")
        assert (one.line, reason in one.reason) == (line, True), one
    assert "a module 'json' exists already" in by_name.pop("json.py").reason
    assert "unknown field `takes`" in by_name.pop("own_wrong.yaml").reason
    assert "there is no such file or folder" in by_name.pop("nowhere").reason
    assert not by_name
    with pytest.raises(errors.UnknownPipeline, match=r"broken: .*own_broken_01\.py, line 3: SyntaxError"):
        registry.get("own-x", [folder, folder / "nowhere"])


@pytest.mark.long
def test_a_file_that_hangs_is_given_up(folder: Path) -> None:
    (folder / "own_hangs.py").write_text("import threading\nthreading.Event().wait()")
    (folder / "own_sound.py").write_text(OWN.format(slug="own-sound"))
    found = [one for one in sources.find([folder]) if isinstance(one, Source)]
    answers = dict(descriptions.of(found, patience=30.0))
    (hanging, sound) = answers.values()
    assert hanging.broken is not None and "takes longer than 30 s" in hanging.broken.reason
    assert [spec.slug for spec in sound.specs] == ["own-sound"]


def test_what_changes_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P1, P5: this process went on with what it read first."""
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    file = folder / "own_changes.py"
    file.write_text("PIPELINES = [")
    assert len(registry.broken([folder])) == 1
    file.write_text(OWN.format(slug="own-changes"))
    assert registry.get("own-changes", [folder]).name == "made from a helper"
    (folder / "_helper.py").write_text("NAME = 'made anew'")
    assert registry.get("own-changes", [folder]).name == "made anew"
    (folder / "own_added.py").write_text(OWN.format(slug="own-added"))
    assert "own-added" in registry.all_pipelines([folder])
    file.unlink()
    assert "own-changes" not in registry.all_pipelines([folder])


def test_nothing_is_read_again_that_did_not_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    (folder / "own_same.py").write_text(OWN.format(slug="own-same"))
    long_ago = 1_700_000_000
    for file in folder.iterdir():
        os.utime(file, (long_ago, long_ago))
    assert registry.read([folder]) is registry.read([folder])


def test_entry_points_of_installed_packages_count(folder: Path) -> None:
    (folder / "own_pipeline_i.py").write_text(OWN.format(slug="own-i"))
    info = folder / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[antenna.pipelines]\nmine = own_pipeline_i:PIPELINES\ngone = own_gone:PIPELINES\n"
    )
    sys.path.append(str(folder))
    found = registry.read([folder / "_helper.py"])
    assert found.pipelines["own-i"].origin.kind == "package"
    assert found.pipelines["own-i"].origin.files == (str(folder / "own_pipeline_i.py"),)
    assert str(found.broken[0]) == (
        "entry point gone = own_gone:PIPELINES: ModuleNotFoundError: No module named 'own_gone'"
    )


def test_reading_the_registry_imports_nothing_heavy() -> None:
    code = (
        "import sys; from antenna_orchestration.pipelines import registry; registry.all_pipelines(()); "
        "heavy = {'torch', 'torchvision', 'pandas', 'PIL', 'cv2', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_faulty_pipeline_of_the_tests_loads_and_passes_good_images() -> None:
    spec = registry.imported("faulty", [FAULTY])
    pipeline = interface.build(spec, {"fault": "raise", "on_image": 7})
    pipeline.load("cpu")
    assert list(pipeline.infer([1, 2])) == [1, 2]
    with pytest.raises(RuntimeError, match="as its configuration asks"):
        pipeline.infer([1, 7])
