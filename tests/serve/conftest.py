from collections.abc import Iterator

import pytest

from tests.serve.pipeline_service import ROOT, PipelineService, serving

QUEUE = 8


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipelineService]:
    """A service with the null pipeline and one that breaks as it is told to."""
    with serving(
        tmp_path_factory.mktemp("serve"), "--pipelines", "null, faulty", "--queue", str(QUEUE),
        ANTENNA_PIPELINE_PATHS=str(ROOT / "tests/pipelines/faulty.py"), ANTENNA_TASK_TIMEOUT="8",
    ) as started:  # fmt: skip
        started.ready()
        yield started
