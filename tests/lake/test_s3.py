"""The lake and images on an S3 store, with the options that the settings give."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from antenna_orchestration import settings
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake.store import Lake, storage_options
from tests.lake.test_store import failed
from tests.submit.s3_store import CREDENTIALS, s3_store

JOB = JobId(7)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_store() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=found).mkdir("traps")
        yield found


@pytest.mark.parametrize("root", ["s3://traps/lake", "s3://traps/a [b] *c?"])
def test_the_way_of_a_job(endpoint: str, tmp_path: Path, root: str) -> None:
    own = settings.load(home=tmp_path, lake_uri=root, s3_endpoint_url=endpoint)
    lake = Lake(own.lake, storage_options=storage_options(own))
    lake.drop_parts(JOB)
    assert not lake.has_table("failed_images", JOB)
    assert not lake.has_part(JOB, "p1", ["failed_images"])
    lake.write_part(JOB, "p1", {"failed_images": failed(range(3))})
    assert lake.has_part(JOB, "p1", ["failed_images"])
    part = lake.read_part(JOB, "p1", "failed_images")
    lake.write_table("failed_images", JOB, Generation(1), [part, failed(range(3, 5))])
    lake.drop_parts(JOB)
    assert lake.read_part(JOB, "p1", "failed_images") is None
    assert lake.count_rows("failed_images", JOB) == 5
    assert lake.head("failed_images", JOB, 4).num_rows == 4
    lake.drop_generations("failed_images", JOB, [1])
    assert not lake.has_table("failed_images", JOB)


def test_an_empty_part_is_lost(endpoint: str, tmp_path: Path) -> None:
    own = settings.load(home=tmp_path, lake_uri="s3://traps/lake", s3_endpoint_url=endpoint)
    lake = Lake(own.lake, storage_options=storage_options(own))
    lake.write_bytes("_parts/job_id=7/p2/failed_images.parquet", b"")
    assert not lake.has_part(JOB, "p2", ["failed_images"])
    assert lake.read_part(JOB, "p2", "failed_images") is None
