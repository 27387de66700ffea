"""The registry finds all pipelines, and refuses a user's faulty one with a clear message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import RawImage

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


def test_every_built_in_pipeline_describes_its_algorithms_uniquely() -> None:
    for spec in registry.all_pipelines(()).values():
        refs = [algorithm.ref for algorithm in spec.algorithms]
        assert len(set(refs)) == len(refs) > 0
        assert spec.algorithms[0].task == "localization"
        assert spec.merged_config({}) == dict(spec.default_config)


def test_a_file_of_ones_own_is_found_and_runs(folder: Path) -> None:
    (folder / "own_pipeline_a.py").write_text(OWN.format(slug="own-a"))
    spec = registry.get("own-a", [folder / "own_pipeline_a.py"])
    pipeline = interface.build(spec, {})
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///x", data=b"abc"))
    result = pipeline.finish(prepared, pipeline.infer([prepared])[0])
    assert (spec.name, result.width, result.height) == ("made from a helper", 3, 6)


def test_a_folder_gives_all_its_files_but_not_its_helpers(folder: Path) -> None:
    (folder / "own_pipeline_b.py").write_text(OWN.format(slug="own-b"))
    (folder / "own_pipeline_c.py").write_text(OWN.format(slug="own-c"))
    assert {"null", "own-b", "own-c"} <= set(registry.all_pipelines([folder]))


def test_a_slug_claimed_twice_is_refused_naming_both_places(folder: Path) -> None:
    (folder / "own_pipeline_d.py").write_text(OWN.format(slug="null"))
    with pytest.raises(errors.InvalidSetting, match=r"'null': one of .*pipelines\.null, one of .*own_pipeline_d\.py"):
        registry.all_pipelines([folder])


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("own_pipeline_e", "PIPELINES = 1/0", "ZeroDivisionError"),
        ("own_pipeline_f", "x = 1", "defines no PIPELINES"),
        ("own_pipeline_g", "PIPELINES = ['null']", "expected a PipelineSpec"),
        ("own_pipeline_h", OWN.format(slug="Not A Slug"), "is not a slug"),
        ("json", OWN.format(slug="own-json"), "a module 'json' exists already"),
    ],
)
def test_a_wrong_file_is_refused_by_name(folder: Path, name: str, text: str, complaint: str) -> None:
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(errors.InvalidSetting, match=complaint) as caught:
        registry.all_pipelines([folder])
    assert f"{name}.py" in str(caught.value)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSetting, match="no file or folder"):
        registry.all_pipelines([tmp_path / "nowhere"])


def test_entry_points_of_installed_packages_count(folder: Path) -> None:
    (folder / "own_pipeline_i.py").write_text(OWN.format(slug="own-i"))
    info = folder / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[antenna.pipelines]\nmine = own_pipeline_i:PIPELINES\n")
    sys.path.append(str(folder))
    registry._load.cache_clear()
    try:
        assert registry.get("own-i", ()).name == "made from a helper"
    finally:
        registry._load.cache_clear()


def test_reading_the_registry_imports_nothing_heavy() -> None:
    code = (
        "import sys; from antenna_orchestration.pipelines import registry; registry.all_pipelines(()); "
        "heavy = {'torch', 'torchvision', 'pandas', 'PIL', 'cv2', 'numpy'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_faulty_pipeline_of_the_tests_loads_and_passes_good_images() -> None:
    spec = registry.get("faulty", [FAULTY])
    pipeline = interface.build(spec, {"fault": "raise", "on_image": 7})
    pipeline.load("cpu")
    assert list(pipeline.infer([1, 2])) == [1, 2]
    with pytest.raises(RuntimeError, match="as its configuration asks"):
        pipeline.infer([1, 7])
