"""Pipelines through the lake's store: what was pushed arrives whole, and nothing else does."""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from antenna_orchestration import errors
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import identity, packing, registry
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.processing import pulled, pushed

CODE = """
from pathlib import Path
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

WEIGHTS = Path(__file__).parent / "weights" / "lab.pth"
PIPELINES = [
    PipelineSpec(
        slug="pushed-code", name="Lab", version="1", description="", factory=f"{__name__}:Lab",
        algorithms=(AlgorithmSpec(key="k", version="1", name="K", task="classification", uri=str(WEIGHTS)),),
    )
]

class Lab(Pipeline):
    def load(self, device):
        import _pushed_helper
    def prepare(self, image): return image
    def infer(self, batch): return batch
    def finish(self, prepared, raw): return ImageResult(width=1, height=1, detections=[])
"""

DECLARED = "slug: pushed-declared\ntakes: photographs\nprogram: ../programs/lab.pt2\nsize: 64\n"


@pytest.fixture(autouse=True)
def own_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A laboratory's folder with a pipeline in Python and a declared one."""
    folder = tmp_path / "lab"
    for name, text in {
        "code/pushed_code.py": CODE,
        "code/_pushed_helper.py": "x = 1\n",
        "code/unrelated.py": "y = 1\n",
        "code/weights/lab.pth": "weights",
        "declared/lab.yaml": DECLARED,
        "programs/lab.pt2": "program",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def specs_in(folder: Path) -> tuple[PipelineSpec, PipelineSpec]:
    found = registry.all_pipelines([folder / "code" / "pushed_code.py", folder / "declared" / "lab.yaml"])
    return found["pushed-code"], found["pushed-declared"]


def test_what_was_pushed_has_its_digest_on_the_next_machine(lab: Path, tmp_path: Path) -> None:
    lake, there = Lake(str(tmp_path / "lake")), tmp_path / "pulled"
    for spec, entry in zip(specs_in(lab), ("pushed_code.py", "declared/lab.yaml"), strict=True):
        pack = packing.pack(spec, pushed_by="ana")
        assert [pushed.push(lake, pack), pushed.push(lake, pack)] == [True, False]
        manifest, root = pushed.pull(lake, identity.digest_of(spec), there)
        assert (manifest.slug, manifest.entry, manifest.pushed_by) == (spec.slug, entry, "ana")
        assert not (root / "unrelated.py").exists()
        arrived = registry.all_pipelines([root / entry])[spec.slug]
        assert identity.digest_of(arrived) == identity.digest_of(spec)
        assert all(path.is_relative_to(root) for path in identity.local_files_of(arrived))
        assert pushed.pull(lake, manifest.digest, there) == (manifest, root)
    assert [one.slug for one in pushed.pushed(lake)] == ["pushed-code", "pushed-declared"]


def test_a_damaged_file_here_is_fetched_again(lab: Path, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(specs_in(lab)[0])
    pushed.push(lake, pack)
    _, root = pushed.pull(lake, pack.manifest.digest, tmp_path / "pulled")
    (root / "weights/lab.pth").write_text("torn")
    (root / "added.py").write_text("import os")
    (tmp_path / "elsewhere").mkdir()
    (root / "numpy").symlink_to(tmp_path / "elsewhere")
    _, root = pushed.pull(lake, pack.manifest.digest, tmp_path / "pulled")
    assert (root / "weights/lab.pth").read_text() == "weights"
    assert not (root / "added.py").exists() and not (root / "numpy").exists()


def altered(lake: Lake, digest: str, **changes: object) -> None:
    path = Path(lake.uri) / pushed.PACKS / f"{digest}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "attack",
    [
        "file",
        "code",
        "added code",
        "outside",
        "document",
        "kind",
        "torn",
        "upper case",
        "a dot",
        "entry",
        "entry above",
        "entry of others",
        "no entry",
        "huge",
        "deep",
        "more than a disk",
        "less than nothing",
        "a file and a folder",
        "a secret",
    ],
)
def test_nothing_arrives_that_was_changed_in_the_store(lab: Path, tmp_path: Path, attack: str) -> None:
    """Who can write into the store cannot make a worker run anything but what the digest says."""
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(specs_in(lab)[0])
    pushed.push(lake, pack)
    manifest = pack.manifest
    files = [msgspec.to_builtins(one) for one in manifest.files]
    evil = b"import os\nos.system('true')\n"
    sha256 = "0f7d0c3a" * 8
    (Path(lake.uri) / pushed.FILES / sha256).write_bytes(evil)
    match attack:
        case "file":
            (Path(lake.uri) / pushed.FILES / files[0]["sha256"]).write_bytes(evil)
        case "code":
            altered(lake, manifest.digest, files=[one | {"sha256": sha256} for one in files])
        case "added code":
            altered(lake, manifest.digest, files=[*files, {"path": "numpy.py", "sha256": sha256, "size": 1}])
        case "outside":
            altered(lake, manifest.digest, files=[*files, {"path": "../../x.txt", "sha256": sha256, "size": 1}])
        case "document":
            document = manifest.document | {"code": [*manifest.document["code"], ["numpy.py", sha256]]}
            altered(lake, manifest.digest, document=document)
        case "kind":
            altered(lake, manifest.digest, slug="../x")
        case "upper case" | "a dot":
            name = {"upper case": "numpy.PY", "a dot": "numpy.pyc."}[attack]
            altered(lake, manifest.digest, files=[*files, {"path": name, "sha256": sha256, "size": 1}])
        case "entry" | "entry above":
            (tmp_path / "evil.py").write_bytes(evil)
            entry = {"entry": str(tmp_path / "evil.py"), "entry above": "../../../evil.py"}[attack]
            altered(lake, manifest.digest, entry=entry)
        case "entry of others":
            altered(lake, manifest.digest, kind="package", entry="x = antigravity:fly")
        case "no entry":
            altered(lake, manifest.digest, kind="package", entry="x")
        case "more than a disk" | "less than nothing":
            size = {"more than a disk": packing.MOST_BYTES_OF_FILES, "less than nothing": -1}[attack]
            altered(lake, manifest.digest, files=[*files, {"path": "a.bin", "sha256": sha256, "size": size}])
        case "a file and a folder":
            both = [{"path": path, "sha256": files[0]["sha256"], "size": 1} for path in ("x", "x/y")]
            altered(lake, manifest.digest, files=[*files, *both])
        case "a secret":
            # As an earlier release pushed it: all of it is as its digest says.
            document = manifest.document | {"requirements": ["x @ https://ana:s3cr3t@example.org/x.whl"]}
            manifest = msgspec.structs.replace(
                manifest, document=document, digest=identity.digest_of_document(document)
            )
            packs = Path(lake.uri) / pushed.PACKS
            (packs / f"{manifest.digest}.json").write_bytes(msgspec.json.encode(manifest))
        case "huge":
            altered(lake, manifest.digest, pushed_by="x" * packing.MOST_BYTES)
        case "deep":
            deep = '{"x":' * 50_000 + "1" + "}" * 50_000
            (Path(lake.uri) / pushed.PACKS / f"{manifest.digest}.json").write_text(f'{{"document": {deep}}}')
        case _:
            (Path(lake.uri) / pushed.PACKS / f"{manifest.digest}.json").write_text("{")
    with pytest.raises(errors.InvalidInput):
        pushed.pull(lake, manifest.digest, tmp_path / "pulled")
    assert not [path for path in (tmp_path / "pulled").rglob("*") if path.is_file()]


def test_two_who_push_the_same_at_once_store_it_whole(lab: Path, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(specs_in(lab)[0])
    together = threading.Barrier(4)

    def push(_: int) -> bool:
        together.wait()
        return pushed.push(Lake(lake.uri), pack)

    with ThreadPoolExecutor(4) as threads:
        assert any(threads.map(push, range(4)))
    assert [one.digest for one in pushed.pushed(lake)] == [pack.manifest.digest]
    _, root = pushed.pull(lake, pack.manifest.digest, tmp_path / "pulled")
    assert (root / "weights/lab.pth").read_text() == "weights"


def test_a_slug_of_this_project_is_nobody_elses(lab: Path) -> None:
    """A file that calls itself as a built-in pipeline is broken, so that it is neither submitted nor pushed."""
    file = lab / "code/pushed_code.py"
    file.write_text(CODE.replace("pushed-code", "light_trap_insects"))
    found = registry.read([file])
    assert found.pipelines["light_trap_insects"].origin.is_built_in
    assert [one.reason for one in found.broken] == [
        "its slug 'light_trap_insects' is that of a pipeline of this project"
    ]


def test_nothing_lies_beside_the_code_that_is_not_of_it(lab: Path, tmp_path: Path) -> None:
    """Code that looks whether a file is there finds what its author had, and nothing of others."""
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(specs_in(lab)[0])
    pushed.push(lake, pack)
    files = [msgspec.to_builtins(one) for one in pack.manifest.files]
    altered(lake, pack.manifest.digest, files=[*files, files[-1] | {"path": "cache.pkl"}])
    with pytest.raises(errors.InvalidInput, match=r"cache\.pkl is not of pipeline pushed-code"):
        pulled.ready(lake, pack.manifest.digest, tmp_path / "home")


def test_a_digest_is_no_path(tmp_path: Path) -> None:
    """Who queues a job chooses what stands there; folders of other things are neither read nor deleted."""
    (tmp_path / "home" / "pulled").mkdir(parents=True)
    (tmp_path / "home" / "mine").mkdir()
    for digest in ("../mine", str(tmp_path / "home" / "mine"), "", "A" * 64):
        with pytest.raises(errors.InvalidInput, match="not a digest"):
            pulled.ready(Lake(str(tmp_path / "lake")), digest, tmp_path / "home")
    assert (tmp_path / "home" / "mine").exists()


def test_a_home_behind_a_link_takes_pipelines(lab: Path, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    for spec in specs_in(lab):
        pushed.push(lake, packing.pack(spec))
        assert pulled.ready(lake, identity.digest_of(spec), tmp_path / "home").slug == spec.slug


def test_what_cannot_travel_is_refused_in_one_line(lab: Path, tmp_path: Path) -> None:
    code, declared = specs_in(lab)
    with pytest.raises(errors.InvalidInput, match="built in"):
        packing.pack(registry.get("null"))
    (lab / "programs/lab.pt2").unlink()
    with pytest.raises(errors.InvalidInput, match=r"not on this machine: .*lab\.pt2"):
        packing.pack(declared)
    with pytest.raises(errors.NotFound, match="antenna pipelines push"):
        pushed.pull(Lake(str(tmp_path / "lake")), identity.digest_of(code), tmp_path / "pulled")


def test_a_pulled_pipeline_is_described_as_it_was(lab: Path, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    for spec in specs_in(lab):
        pulled.check_travels(packing.pack(spec))
        pushed.push(lake, packing.pack(spec))
        arrived = pulled.ready(lake, identity.digest_of(spec), tmp_path / "home")
        assert (arrived.slug, arrived.version, arrived.algorithms[0].ref) == (
            spec.slug, spec.version, spec.algorithms[0].ref,
        )  # fmt: skip
        assert arrived.origin.name.startswith(str(tmp_path / "home"))


def installed(tmp_path: Path, files: dict[str, str], entry: str) -> Path:
    """A package as pip leaves it, with one entry point; the folder that it is in."""
    site = tmp_path / "site"
    info = "antenna_pushed-1.0.dist-info"
    metadata = "Metadata-Version: 2.1\nName: antenna-pushed\nVersion: 1.0\n"
    points = f"[antenna.pipelines]\nlab = {entry}\n"
    for name, text in {f"{info}/METADATA": metadata, f"{info}/entry_points.txt": points, **files}.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    sys.path.append(str(site))
    return site


IN_PACKAGE = CODE.replace("pushed-code", "pushed-pkg")


@pytest.mark.parametrize(
    ("files", "entry", "has"),
    [
        pytest.param(
            {"pushed_package/__init__.py": "", "pushed_package/pipelines.py": IN_PACKAGE,
             "pushed_package/weights/lab.pth": "weights", "pushed_package/moths.txt": "a"},
            "pushed_package.pipelines:PIPELINES",
            "pushed_package/moths.txt",
            id="a package with a file of labels",
        ),
        pytest.param(
            {"pushed_module.py": IN_PACKAGE, "weights/lab.pth": "weights", "other_module.py": "", "other.txt": ""},
            "pushed_module:PIPELINES",
            "weights/lab.pth",
            id="one module",
        ),
        pytest.param(
            {"pushed_space/lab/pipelines.py": IN_PACKAGE, "pushed_space/lab/weights/lab.pth": "weights"},
            "pushed_space.lab.pipelines:PIPELINES",
            "pushed_space/lab/weights/lab.pth",
            id="without an __init__",
        ),
    ],
)  # fmt: skip
def test_a_pulled_package_comes_before_what_is_installed(
    lab: Path, tmp_path: Path, files: dict[str, str], entry: str, has: str
) -> None:
    """As an installed package is pushed: its entry point, with all that it ships and nothing beside it."""
    site = installed(tmp_path, files, entry)
    spec = registry.get("pushed-pkg", [lab / "code/unrelated.py"])
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(spec)
    assert has in pack.sources and not [name for name in pack.sources if "other" in name or "dist-info" in name]
    pulled.check_travels(pack)
    pushed.push(lake, pack)
    sys.path.remove(str(site))
    arrived = pulled.ready(lake, identity.digest_of(spec), tmp_path / "home")
    assert arrived.origin.kind == "package"
    assert all(file.startswith(str(tmp_path / "home")) for file in arrived.origin.files)


def test_compiled_code_is_not_packed(lab: Path, tmp_path: Path) -> None:
    files = {"pushed_package/__init__.py": IN_PACKAGE, "pushed_package/fast.so": "x"}
    installed(tmp_path, {**files, "pushed_package/weights/lab.pth": "x"}, "pushed_package:PIPELINES")
    with pytest.raises(errors.InvalidInput, match=r"fast\.so is compiled code"):
        packing.pack(registry.get("pushed-pkg", [lab / "code/unrelated.py"]))


def test_no_file_is_fetched_beyond_the_size_that_its_pack_says(lab: Path, tmp_path: Path) -> None:
    """A file that was swollen in the store filled the disk of the worker that fetched it."""
    lake = Lake(str(tmp_path / "lake"))
    pack = packing.pack(specs_in(lab)[0])
    pushed.push(lake, pack)
    [weights] = [one for one in pack.manifest.files if one.path.endswith("lab.pth")]
    name = f"{pushed.FILES}/{weights.sha256}"
    (Path(lake.uri) / name).write_bytes(b"weights" + b"0" * 2**20)
    lake.fetch(name, tmp_path / "fetched", most=weights.size)
    assert (tmp_path / "fetched").read_bytes() == b"weights"
    lake.fetch(name, tmp_path / "fetched")
    assert (tmp_path / "fetched").stat().st_size == 7 + 2**20
    _, root = pushed.pull(lake, pack.manifest.digest, tmp_path / "pulled")
    assert (root / weights.path).read_text() == "weights"


def test_weights_behind_an_absolute_path_do_not_travel(lab: Path, tmp_path: Path) -> None:
    file = lab / "code/pushed_code.py"
    file.write_text(
        CODE.replace('Path(__file__).parent / "weights" / "lab.pth"', f'Path("{lab}/code/weights/lab.pth")')
    )
    spec = registry.get("pushed-code", [file])
    with pytest.raises(errors.InvalidInput, match=r"lab\.pth\) relative to the file"):
        pulled.check_travels(packing.pack(spec))
