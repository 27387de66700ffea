"""What a pipeline needs beside this project is installed where only its own processes see it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pipelines import environments, requirements


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


@pytest.mark.long
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
    with pytest.raises(errors.AntennaError, match="requirement") as caught:
        environments.prepared([wrong], tmp_path / "environments")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "environments").glob("*"))


@pytest.mark.parametrize(
    "wrong",
    [
        "/tmp/x", "./x", "x.whl", "x @ file:///tmp/x", "x @ ./x", "-r x", "git+https://h/x",
        "x --index-url=y", "x -r y", "x @ https://h/x --index-url=y", "x; --index-url y",
        "x @ https://${HOME}.h/x", "x @ https:///x", "x @ https://[", "x @ https://h/x.whl#egg=x --index-url",
        *(f"x==1{end}--index-url=y" for end in "\n\r\v\f\x00\x1c\x85\u2028\u2029"), "x\t==1", "x==1\u202e", "x" * 1001,
    ],
)  # fmt: skip
def test_files_of_this_machine_and_options_are_no_requirements(wrong: str, tmp_path: Path) -> None:
    """A digest holds the line, and not what lies there."""
    with pytest.raises(errors.InvalidInput, match="is not a requirement of another machine") as caught:
        environments.prepared(["numpy>=2", wrong], tmp_path / "environments")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "wrong",
    [
        "x @ https://ana:s3cr3t@h/x.whl",
        "x @ git+https://ghp_s3cr3t@github.com/lab/x@v1",
        "x @ git+ssh://git:s3cr3t@github.com/lab/x",
        "x @ https://h/x.whl?X-Amz-Signature=s3cr3t",
        "x @ https://h/x.whl#token=s3cr3t&sha256=00",
    ],
)
def test_a_requirement_with_a_secret_is_refused_without_telling_it(wrong: str) -> None:
    """It was stored in clear, where whoever may read the lake reads it."""
    with pytest.raises(errors.InvalidInput, match=r"has a login or a signature.*~/\.netrc") as caught:
        requirements.check([wrong])
    assert "s3cr3t" not in str(caught.value) and "\n" not in str(caught.value)


def test_requirements_that_travel_and_those_that_say_what_will_run() -> None:
    commit = "0" * 40
    pinned = [
        "x==1.0",
        "x[a,b] == 1.0 ; python_version > '3'",
        f"x @ git+https://h/x@{commit}",
        f"x @ git+ssh://git@h/x@{commit}#subdirectory=y",
        "x @ https://h/x-1-py3-none-any.whl#sha256=00",
    ]
    loose = ["x", "x>=1,<2", "x==1.*", "x @ git+https://h/x", "x @ https://h/x.zip"]
    requirements.check([*pinned, *loose])
    assert requirements.unpinned([*pinned, *loose]) == loose
    with pytest.raises(errors.InvalidInput, match="201 requirements; the limit is 200"):
        requirements.check(["x"] * 201)
