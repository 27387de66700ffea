"""A pipeline's digest changes with its code, weights, labels and requirements, and with nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pipelines import identity, registry, sources
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
from tests.homes import temporary_folder

CODE = """
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

PIPELINES = [
    PipelineSpec(
        slug="lab", name="Lab", version="1", description="", factory=f"{__name__}:Lab", requirements=("einops",),
        algorithms=(AlgorithmSpec(key="k", version="1", name="K", task="classification", labels=("a", "b"),
                                  uri="WEIGHTS"),),
    )
]

class Lab(Pipeline):
    def load(self, device):
        import _network
    def prepare(self, image): return image
    def infer(self, batch): return batch
    def finish(self, prepared, raw): return ImageResult(width=1, height=1, detections=[])
"""

DECLARED = """
slug: lab-program
takes: photographs
program: weights.pt2
size: 64
labels: [a, b]
"""


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(sys, "path", list(sys.path))


def write_lab(folder: Path) -> tuple[PipelineSpec, PipelineSpec]:
    """A pipeline of Python code and a declared one; what each is now."""
    for name, text in {
        "lab.py": CODE.replace("WEIGHTS", str(folder / "weights.pth")),
        "_network.py": "LAYERS = 3\n",
        "weights.pth": "weights",
        "lab.yaml": DECLARED,
        "weights.pt2": "program",
    }.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    found = registry.all_pipelines([folder / "lab.py", folder / "lab.yaml"])
    return found["lab"], found["lab-program"]


def changed(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "of_code", "of_declared"),
    [
        pytest.param(changed("lab.py", "return batch", "return list(batch)"), True, False, id="code"),
        pytest.param(changed("_network.py", "3", "4"), True, False, id="a helper imported in load"),
        pytest.param(changed("weights.pth", "weights", "trained on"), True, False, id="weights"),
        pytest.param(changed("lab.py", '("a", "b")', '("b", "a")'), True, False, id="labels"),
        pytest.param(changed("lab.py", "einops", "einops>=1"), True, False, id="requirements"),
        pytest.param(changed("weights.pt2", "program", "trained on"), False, True, id="a program"),
        pytest.param(changed("lab.yaml", "64", "128"), False, True, id="an input's size"),
        pytest.param(changed("lab.yaml", "[a, b]", "[b, a]"), False, True, id="declared labels"),
        pytest.param(changed("lab.yaml", "size", "description: Moths.\nsize"), False, False, id="a description"),
        pytest.param(changed("lab.yaml", "lab-program", "lab-program-b"), False, True, id="an algorithm's key"),
        pytest.param(lambda folder: (folder / "other.py").write_text("x = 1"), False, False, id="another file"),
        pytest.param(lambda folder: os.utime(folder / "weights.pth"), False, False, id="only the time"),
    ],
)
def test_a_digest_changes_with_what_decides_the_answers(
    tmp_path: Path, change: Callable[[Path], object], of_code: bool, of_declared: bool
) -> None:
    before = [identity.digest_of(spec) for spec in write_lab(tmp_path)]
    assert all(len(digest) == 64 for digest in before)
    change(tmp_path)
    code, declared = (
        next(spec for spec in registry.all_pipelines([tmp_path / name]).values() if not spec.origin.is_built_in)
        for name in ("lab.py", "lab.yaml")
    )
    assert [identity.digest_of(code) != before[0], identity.digest_of(declared) != before[1]] == [of_code, of_declared]


def test_slug_version_and_name_are_not_what_a_pipeline_is(tmp_path: Path) -> None:
    """P13: two slugs that run the same give the same, and two that do not, do not."""
    for spec in write_lab(tmp_path):
        other = replace(spec, slug="other", name="Other", version="2", default_config={"x": 1})
        assert identity.digest_of(other) == identity.digest_of(spec)


def test_the_place_of_the_files_does_not_matter(tmp_path: Path) -> None:
    digests = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        digests.append([identity.digest_of(spec) for spec in write_lab(tmp_path / place)][1])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("how", ["import helper", "import_module('helper')", "importlib.import_module('helper.x')"])
def test_modules_that_are_imported_in_any_way_are_code(tmp_path: Path, how: str) -> None:
    (tmp_path / "helper.py").write_text("x = 1")
    (tmp_path / "lab.py").write_text(f"def load():\n    {how}\n")
    files = sources.code_of(sources.Source(kind="file", name=str(tmp_path / "lab.py"))).files
    assert [file.name for file in files] == ["helper.py", "lab.py"]


def lab_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package, and a file that imports one of the same content beside it; its folder."""
    site = tmp_path / "site"
    package = site / "own6_package"
    for name, text in {
        "own6_package/__init__.py": "",
        "own6_package/lab.py": CODE.replace('"lab"', '"lab-pkg"').replace("__name__", "'own6_package.lab'")
        .replace('uri="WEIGHTS"', "").replace("import _network", "pass"),
        "own6_package/labels/moths.txt": "a\nb\n",
        "own6_package/fast.abi3.so": "compiled",
        "own6-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: own6\nVersion: 1\n",
        "own6-1.dist-info/entry_points.txt": "[antenna.pipelines]\nlab = own6_package.lab:PIPELINES\n",
    }.items():  # fmt: skip
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    monkeypatch.syspath_prepend(str(site))
    return package


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("labels/moths.txt", True),
        ("fast.abi3.so", True),
        ("added.csv", True),
        ("linked/far.txt", True),
        (".cache/moths.txt", False),
        ("__pycache__/lab.cpython-311.pyc", False),
    ],
)
def test_all_that_a_package_ships_is_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, counts: bool
) -> None:
    """A changed file of labels within a package kept its digest; this process notices it as the next one would."""
    package = lab_package(tmp_path, monkeypatch)
    (tmp_path / "elsewhere").mkdir()
    (package / "linked").symlink_to(tmp_path / "elsewhere")
    (package / "again").symlink_to(package)
    before = identity.digest_of(registry.get("lab-pkg", ()))
    assert len(before) == 64
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text("b\na\n")
    after = identity.digest_of(registry.get("lab-pkg", ()))
    assert (after != before) is counts


def test_a_package_beside_a_file_counts_with_all_that_it_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = lab_package(tmp_path, monkeypatch)
    file = package.parent / "lab.py"
    file.write_text("import own6_package\n")
    code = sources.code_of(sources.Source(kind="file", name=str(file)))
    assert {one.name for one in code.files} == {"lab.py", "__init__.py", "moths.txt", "fast.abi3.so"}
    assert code.packages == [package]


def test_a_package_of_too_many_files_is_broken_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = lab_package(tmp_path, monkeypatch)
    monkeypatch.setattr(identity, "MOST_FILES", 3)
    with pytest.raises(errors.InvalidSetting, match=f"{package} has more than 3 files"):
        sources.code_of(sources.Source(kind="package", name="lab = own6_package.lab:PIPELINES"))


def test_names_of_a_declared_pipeline_do_not_count(tmp_path: Path) -> None:
    """Neither its file's, nor its own, which those of its algorithms are made of."""
    text = "slug: lab-x\nname: A\ndetector:\n  {runtime: onnx, file: a.onnx, labels: a.txt, input: {size: 64},"
    text += " output: {format: yolo}}\n"
    (tmp_path / "a.onnx").write_text("model")
    (tmp_path / "a.txt").write_text("moth")
    digests = []
    for name, content in (("a.yaml", text), ("b.yml", text), ("c.yaml", text.replace("name: A", "name: B"))):
        (tmp_path / name).write_text(content)
        digests.append(identity.digest_of(registry.get("lab-x", [tmp_path / name])))
    (tmp_path / "a.txt").write_text("fly")
    other = identity.digest_of(registry.get("lab-x", [tmp_path / "a.yaml"]))
    assert len(set(digests)) == 1 and other not in digests


def test_what_tools_leave_in_a_folder_does_not_count(tmp_path: Path) -> None:
    spec = replace(write_lab(tmp_path)[1], recipe={"folder": str(tmp_path / "model")})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    before = identity.digest_of(spec)
    for name in (".cache/huggingface/config.json.metadata", "__pycache__/x.cpython-312.pyc", ".DS_Store"):
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_text("x")
    assert identity.digest_of(spec) == before
    (tmp_path / "model" / "config.json").write_text('{"a": 1}')
    assert identity.digest_of(spec) != before


def test_a_missing_file_leaves_the_digest_unknown(tmp_path: Path) -> None:
    code, declared = write_lab(tmp_path)
    (tmp_path / "weights.pth").unlink()
    assert identity.digest_of(code) == identity.UNKNOWN
    assert identity.missing_files(code) == [str(tmp_path / "weights.pth")]
    assert identity.missing_files(declared) == []
    [algorithm] = code.algorithms
    named = replace(code, algorithms=(replace(algorithm, uri=f"{algorithm.uri}#sha256={'0' * 64}"),))
    assert identity.digest_of(named) != identity.UNKNOWN


def test_a_description_and_its_import_have_one_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    for spec in write_lab(tmp_path):
        whole = registry.imported(spec.slug, [tmp_path / "lab.py", tmp_path / "lab.yaml"])
        assert identity.digest_of(whole) == identity.digest_of(spec)


def test_files_in_a_jobs_configuration_count_by_their_content(tmp_path: Path) -> None:
    """P13: other weights in the configuration counted as processed."""
    digest = identity.digest_of(registry.get("null", ()))
    file = tmp_path / "weights.pth"
    file.write_text("one")
    config = {"weights": str(file), "darker_by": 40}
    first = identity.with_files_of(digest, config)
    assert identity.with_files_of(digest, config | {"darker_by": 30}) == first != digest
    file.write_text("another")
    assert identity.with_files_of(digest, config) not in (first, digest)
    assert identity.with_files_of(digest, {"darker_by": 40, "place": "/no/such/file"}) == digest


BUILT_IN = {
    ("light_trap_insects", "2"): "b52ed859fcd0",
    ("light_trap_network", "1"): "4c61ecb5692c",
    ("light_trap_blobs", "1"): "28e329372ff6",
    ("panama_moths_2023", "1"): "cb891e4a4bf9",
    ("panama_moths_2024", "1"): "8ddc6846d26e",
    ("quebec_vermont_moths_2023", "1"): "6c67fcbdbf5c",
    ("uk_denmark_moths_2023", "1"): "085a53ffd896",
    ("costa_rica_moths_turing_2024", "1"): "e69b69f781d6",
    ("anguilla_moths_turing_2024", "1"): "6f98b6c77037",
    ("kenya-uganda_moths_turing_2024", "1"): "38472e996ba8",
    ("global_moths_2024", "1"): "c4620927a739",
    ("moth_binary", "1"): "e2bf2a971a00",
    ("insect_orders_2025", "1"): "784cfab36753",
    ("null", "2"): "e3db8a3bef3e",
}
"""Changed answers need a new version, and so does a changed digest: new workers would leave old jobs alone. Our own
code is not in the digests."""


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """A user who may not read what root may."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_files_that_may_not_be_read_are_not_known() -> None:
    """A job whose settings named one ended each worker that saw its announcement."""
    with temporary_folder() as folder:
        (folder / "hidden").mkdir()
        weights, hidden = folder / "weights.pt", folder / "hidden" / "weights.pt"
        for file in (weights, hidden):
            file.write_text("weights")
        spec = replace(write_lab(folder)[0], algorithms=())
        of_hidden = replace(
            spec, algorithms=(AlgorithmSpec(key="k", version="1", name="K", task="t", uri=str(hidden)),)
        )
        folder.chmod(0o755)
        weights.chmod(0)
        hidden.parent.chmod(0)
        with as_somebody_else():
            assert identity.with_files_of("1" * 64, {"weights": str(weights)}) == identity.UNKNOWN
            assert identity.unreadable_files({"weights": str(weights), "other": "text"}) == [str(weights)]
            assert identity.with_files_of("1" * 64, {"weights": str(hidden)}) == "1" * 64
            assert identity.digest_of(of_hidden) == identity.UNKNOWN
            assert identity.missing_files(of_hidden) == [str(hidden)]
        hidden.parent.chmod(0o755)


@pytest.mark.parametrize("text", ["~nobody-has-this-name", "/" + "a" * 300, "/", "/proc/kcore", "~/\0", "x" * 5000])
def test_texts_that_are_no_files_stand_for_themselves(text: str) -> None:
    """Some ended in errors, and `/` had the whole disk read."""
    assert identity.with_files_of("1" * 64, {"text": text}) == identity.with_files_of("1" * 64, {"text": text})


def test_built_in_pipelines_keep_their_digests_for_a_version() -> None:
    here = {(spec.slug, spec.version): identity.digest_of(spec)[:12] for spec in registry.all_pipelines(()).values()}
    assert here == BUILT_IN
