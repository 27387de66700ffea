"""The lake and images on an S3 store, with the options that the settings give."""

import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.answers.kept_downloads import Kept
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake.folder import Folder, storage_options
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from tests.lake.test_store import failed
from tests.submission.s3_store import CREDENTIALS, s3_store

JOB = JobId(7)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_store() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=found).mkdir("traps")
        yield found


@pytest.mark.long
@pytest.mark.parametrize("root", ["s3://traps/lake", "s3://traps/a [b] *c?"])
def test_the_way_of_a_job(endpoint: str, tmp_path: Path, root: str) -> None:
    own = settings.load(home=tmp_path, lake_uri=root, s3_endpoint_url=endpoint)
    lake = Lake(own.lake, storage_options=storage_options(own))
    lake.drop_parts(JOB)
    assert not lake.has_table("failed_images", JOB)
    assert not lake.tables_of_part(JOB, "p1", ["failed_images"])
    lake.write_part(JOB, "p1", {"failed_images": failed(range(3))})
    assert lake.tables_of_part(JOB, "p1", ["failed_images"])
    part = lake.read_part(JOB, "p1", "failed_images")
    lake.write_table("failed_images", JOB, Generation(1), [part, failed(range(3, 5))])
    lake.drop_parts(JOB)
    assert lake.read_part(JOB, "p1", "failed_images") is None
    assert lake.count_rows("failed_images", JOB) == 5
    assert lake.head("failed_images", JOB, 4).num_rows == 4
    lake.drop_generations("failed_images", JOB, [1])
    assert not lake.has_table("failed_images", JOB)


def test_no_version_of_a_file_goes_on_as_another(endpoint: str) -> None:
    folder = Folder("s3://traps/versions", storage_options={"endpoint_url": endpoint})
    folder.write("x", lambda sink: sink.write(b"old"))
    with pytest.raises(errors.Unavailable), folder.reading_version("x") as before:
        folder.write("x", lambda sink: sink.write(b"new"))
        with folder.reading_version("x") as after:
            assert (after.file.read(), after.size) == (b"new", 3) and after.tag != before.tag
        before.file.read()


def test_a_folder_is_copied_to_a_bucket_and_back(endpoint: str, tmp_path: Path) -> None:
    options = {"endpoint_url": endpoint}
    here, bucket = Folder(str(tmp_path / "a [b]")), Folder("s3://traps/copy 1", storage_options=options)
    contents = {"detections/job_id=1/part-0.parquet": b"x" * 100, "é/*?.txt": b"", "c": b"y" * 10}
    for path, content in contents.items():
        with here.writing(path) as file:
            file.write(content)
    assert bucket.files() == {}
    bucket.copy_from(here, list(contents))
    assert bucket.files() == {path: len(content) for path, content in contents.items()}
    back = Folder(str(tmp_path / "back"))
    back.copy_from(bucket, [*contents, "gone"], may_vanish=True)
    assert back.files() == bucket.files()
    with back.reading("c") as file:
        assert file.read() == b"y" * 10
    with pytest.raises(errors.Unavailable):
        back.copy_from(bucket, ["gone"])
    bucket.remove([*contents, "gone"])
    assert bucket.files() == {}


def test_an_empty_part_is_lost(endpoint: str, tmp_path: Path) -> None:
    own = settings.load(home=tmp_path, lake_uri="s3://traps/lake", s3_endpoint_url=endpoint)
    lake = Lake(own.lake, storage_options=storage_options(own))
    lake.write_bytes("_parts/job_id=7/p2/failed_images.parquet", b"")
    assert not lake.tables_of_part(JOB, "p2", ["failed_images"])
    assert lake.read_part(JOB, "p2", "failed_images") is None


def test_files_for_downloads_are_kept_in_a_bucket(endpoint: str) -> None:
    lake = Lake("s3://traps/a [b] downloads", storage_options={"endpoint_url": endpoint})
    made = [Kept.of(Scope(job=JOB), name, state) for name, state in (("a.csv", 1), ("a.csv", 2), ("b.csv", 1))]
    for most, kept in zip((100, 100, 10), made, strict=True):
        assert not kept_downloads.is_there(lake, kept)
        room = kept_downloads.Room(most)
        kept_downloads.make(lake, kept, iter([b"x" * 10]), room=room, stop=threading.Event())
        with lake.reading_version(kept.path) as version:
            assert (version.file.read(), version.size) == (b"x" * 10, 10)
    # The first is of an earlier state; there is no room for the second, but it was just made.
    assert [kept_downloads.is_there(lake, kept) for kept in made] == [False, True, True]
    below = lake.below("downloads/job_id=7/so-far-1")
    below.write_table("failed_images", JOB, Generation(1), [failed(range(3))])
    assert below.count_rows("failed_images", JOB) == 3 and kept_downloads.jobs_so_far(lake) == {JOB}
    kept_downloads.drop_so_far(lake, JOB)
    assert kept_downloads.jobs_so_far(lake) == set()
