"""A pytest plugin for repositories of own pipelines: fixtures that hand out their pipelines and their photographs.

pytest loads it wherever this project is installed, so it imports nothing but pytest until a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from antenna_orchestration.pipelines.interface import PipelineSpec
    from antenna_orchestration.testing import Photograph

LOCK = "pipelines.lock"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and the lines of pytest's own file."""
    parser.addini(
        "antenna_pipelines",
        "files and folders with pipelines to test; without it those of installed packages and ANTENNA_PIPELINE_PATHS",
        type="paths",
        default=[],
    )
    parser.addini("antenna_photographs", "files and folders with photographs; drawn ones without", "paths", default=[])
    parser.getgroup("antenna").addoption(
        "--antenna-lock",
        action="store_true",
        help=f"add new versions of the pipelines to {LOCK} beside pytest's own file",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes the fixture `pipeline` once for each own pipeline, the broken ones among them."""
    if "pipeline" not in metafunc.fixturenames or not _is_ours(metafunc):
        return
    known, broken = _pipelines(metafunc.config)
    names = [*known, *broken]
    if not names:
        raise pytest.UsageError(
            "no pipelines to test: name their files as `antenna_pipelines` in pytest's own file, or install the "
            "package whose entry point names them"
        )
    metafunc.parametrize("pipeline", names, indirect=True)


@pytest.fixture(scope="session")
def antenna_pipelines(request: pytest.FixtureRequest) -> Mapping[str, PipelineSpec]:
    """The own pipelines by slug, imported; without the broken ones."""
    known, _ = _pipelines(request.config)
    return {slug: _imported(slug, request.config) for slug in known}


@pytest.fixture
def pipeline(request: pytest.FixtureRequest) -> PipelineSpec:
    """Each own pipeline in turn. A broken one fails its test with file, line and error."""
    _, broken = _pipelines(request.config)
    if request.param in broken:
        pytest.fail(broken[request.param], pytrace=False)
    return _imported(request.param, request.config)


@pytest.fixture(scope="session")
def photographs(request: pytest.FixtureRequest) -> list[Photograph]:
    """The photographs that `antenna_photographs` names, else three that are drawn."""
    from antenna_orchestration.testing import photographs as of_people

    return of_people.read(request.config.getini("antenna_photographs") or None)


@pytest.fixture(scope="session")
def pipelines_lock(request: pytest.FixtureRequest, antenna_pipelines: Mapping[str, PipelineSpec]) -> Path:
    """The path of `pipelines.lock`, to hand to `check_pipeline`. With --antenna-lock, new versions are added first."""
    from antenna_orchestration import errors
    from antenna_orchestration.testing import write_lock

    path = request.config.rootpath / LOCK
    if request.config.getoption("--antenna-lock"):
        try:
            write_lock(path, antenna_pipelines.values())
        except errors.InvalidInput as error:
            pytest.fail(str(error), pytrace=False)
    return path


def _is_ours(metafunc: pytest.Metafunc) -> bool:
    """Whether `pipeline` is the fixture of this plugin, and neither another one of that name nor parametrized."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs.get("argnames", ())
        if "pipeline" in (names.replace(",", " ").split() if isinstance(names, str) else names):
            return False
    found = metafunc._arg2fixturedefs.get("pipeline") or ()
    return bool(found) and found[-1].func.__module__ == __name__


def _paths(config: pytest.Config) -> list[Path] | None:
    return config.getini("antenna_pipelines") or None


def _pipelines(config: pytest.Config) -> tuple[list[str], dict[str, str]]:
    """Slugs of the own pipelines, and what is broken by its file's name."""
    from antenna_orchestration.pipelines import registry

    paths = _paths(config)
    found = registry.read(paths)
    own = [spec for spec in found.pipelines.values() if not spec.origin.is_built_in]
    if paths is not None:
        # Other people's packages are not to be tested here.
        own = [spec for spec in own if spec.origin.kind == "file"]
    return [spec.slug for spec in own], {Path(one.origin).name: str(one) for one in found.broken}


def _imported(slug: str, config: pytest.Config) -> PipelineSpec:
    from antenna_orchestration.pipelines import registry

    return registry.imported(slug, _paths(config))
