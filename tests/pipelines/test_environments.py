"""What a pipeline needs beside this project is installed where only its own processes see it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pipelines import environments


def write_wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n")
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that stands for the index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "antenna_test_net", "1.0", "antenna_test_base>=2")
    write_wheel(folder, "antenna_test_base", "2.1", "numpy")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    return folder


def test_only_what_is_missing_is_installed_beside(wheels: Path, tmp_path: Path) -> None:
    made = environments.prepared(["antenna_test_net", "numpy>=2"], tmp_path / "environments")
    assert made is not None
    names = {path.name for path in made.iterdir() if path.is_dir() and "." not in path.name}
    assert names == {"antenna_test_net", "antenna_test_base"}
    code = "import antenna_test_base, antenna_test_net, numpy; print(antenna_test_base.VERSION, numpy.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(made)}, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[0] == "2.1" and str(tmp_path) not in said[1]
    with pytest.raises(ModuleNotFoundError):
        __import__("antenna_test_net")


def test_it_is_made_once_and_again_for_other_requirements(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "environments"
    first = environments.prepared(["antenna_test_net"], folder)
    other = environments.prepared(["antenna_test_base"], folder)
    assert environments.prepared(["numpy"], folder) is None
    assert environments.prepared([], folder) is None
    # Nothing is asked of uv for what is there.
    monkeypatch.setattr(environments, "_uv", None)
    assert environments.prepared(["antenna_test_net"], folder) == first != other


@pytest.mark.parametrize("wrong", ["no-such-package-anywhere", "--index-url=http://127.0.0.1:9", "numpy ???", ""])
def test_what_cannot_be_installed_is_one_line_and_leaves_nothing(wheels: Path, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(errors.InternalError, match="requirement") as caught:
        environments.prepared([wrong], tmp_path / "environments")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "environments").iterdir())


@pytest.mark.parametrize(
    "wrong", ["/tmp/x", "./x", "x.whl", "x @ file:///tmp/x", "x @ ./x", "x\n--index-url=y", "-r x", "git+https://h/x"]
)
def test_files_of_this_machine_and_options_are_no_requirements(wrong: str, tmp_path: Path) -> None:
    """A digest holds the line, and not what lies there."""
    with pytest.raises(errors.InternalError, match="is no requirement of another machine"):
        environments.prepared([wrong], tmp_path / "environments")
