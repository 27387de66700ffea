"""docker/try: on a real engine where there is one; where not, it says what to install."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.docker.composition import DOCKER


def _try(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(DOCKER / "try"), *options]
    return subprocess.run(argv, check=False, capture_output=True, text=True, env={**os.environ, **environment})


def test_without_an_engine_it_says_what_to_install(tmp_path: Path) -> None:
    done = _try(PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (3, "")
    [line] = done.stdout.splitlines()
    assert line.startswith("missing")
    assert "install Docker Engine and Compose, or podman to build the images alone" in line


def test_an_engine_that_does_not_answer_is_named_with_the_remedy(tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    done = _try(PATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (3, "")
    [line] = done.stdout.splitlines()
    assert "its daemon does not answer: start it, or name it by DOCKER_HOST" in line


def test_its_pictures_can_be_read(tmp_path: Path) -> None:
    runpy.run_path(str(DOCKER / "try"))["draw"](tmp_path / "drawn", 3)
    pictures = sorted((tmp_path / "drawn").iterdir())
    assert len(pictures) == 3
    for number, path in enumerate(pictures):
        with Image.open(path) as picture:
            assert (picture.size, picture.getpixel((0, 0))) == ((64, 48), (number, 0, 128))


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_images_run_and_a_job_survives_on_a_real_engine() -> None:
    """Ten minutes where nothing is built yet. Needs no registry of images; images that it makes stay as a cache."""
    done = _try("--local-base", "--stand-ins", "--torch-backend", "none")
    if done.returncode == 3:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("ok ")] == []
