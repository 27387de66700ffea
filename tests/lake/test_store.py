"""Tables and parts on a disk and on a store that is none."""

import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.lake import schemas
from antenna_orchestration.lake.folder import storage_options
from antenna_orchestration.lake.store import Lake
from tests.lake.conftest import change, content_of, files

JOB = JobId(7)
FIRST, SECOND = Generation(1), Generation(2)
PART = "_parts/job_id=7/p1/failed_images.parquet"


def failed(images: range, reason: str = "404") -> pa.Table:
    rows = [{"image_id": image, "url": f"u{image}", "reason": reason, "attempts": 1} for image in images]
    return pa.Table.from_pylist(rows, schema=schemas.FAILED_IMAGES)


def images_of(table: pa.Table) -> list[int]:
    return table.column("image_id").to_pylist()


def test_a_table_comes_back_in_order(lake: Lake, root: str) -> None:
    assert not lake.has_table("failed_images", JOB)
    assert lake.read_table("failed_images", JOB).num_rows == 0
    assert lake.count_rows("failed_images", JOB) == 0
    tables = [failed(range(3)), failed(range(0)), failed(range(3, 5), "no image")]
    assert lake.write_table("failed_images", JOB, FIRST, tables) == 5
    assert lake.has_table("failed_images", JOB)
    assert lake.count_rows("failed_images", JOB) == 5
    assert images_of(lake.read_table("failed_images", JOB)) == [0, 1, 2, 3, 4]
    assert lake.value_counts("failed_images", JOB, "reason") == {"404": 3, "no image": 2}
    assert files(root) == ["failed_images/job_id=7/part-g1-00000.parquet"]


def test_tables_of_an_earlier_version_are_read_beside_new_ones(lake: Lake, root: str) -> None:
    new = pa.Table.from_pylist([{"image_id": 2, "detection_id": "2-0", "score": None}], schema=schemas.DETECTIONS)
    old = pa.Table.from_pylist([{"image_id": 1, "detection_id": "1-0", "score": 0.5}], schema=schemas.DETECTIONS)
    lake.write_file(
        "detections/job_id=7/part-g1-00000.parquet",
        lambda sink: pq.write_table(old.drop_columns(["inference_time"]), sink),
    )
    lake.write_table("detections", JOB, SECOND, [new])
    read = lake.read_table("detections", JOB)
    assert (images_of(read), read["score"].to_pylist()) == ([1, 2], [0.5, None])
    assert lake.head("detections", JOB, 5, ["inference_time", "image_id"]).column_names == [
        "inference_time",
        "image_id",
    ]


def test_a_folder_that_people_read_never_holds_a_draft(tmp_path: Path) -> None:
    folder = tmp_path / "merged/detections"
    seen: list[Path] = []

    def fill(sink: Any) -> None:
        sink.write(b"half")
        seen.extend(folder.iterdir())

    Lake(str(tmp_path)).write_file("merged/detections/one.parquet", fill)
    assert seen == []
    assert [path.name for path in folder.iterdir()] == ["one.parquet"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    Lake("~/lake").write_bytes("a", b"")
    assert (home / "lake/a").is_file()
    assert not list(elsewhere.iterdir())


def test_an_empty_table_has_a_file(lake: Lake) -> None:
    assert lake.write_table("failed_images", JOB, FIRST, []) == 0
    assert lake.has_table("failed_images", JOB)


def test_a_generation_replaces_its_own_files(root: str) -> None:
    small = Lake(root, max_file_bytes=200)
    small.write_table("failed_images", JOB, FIRST, [failed(range(20))])
    small.write_table("failed_images", JOB, SECOND, [failed(range(20, 22))])
    assert len(files(root)) > 3
    Lake(root).write_table("failed_images", JOB, FIRST, [failed(range(3))])
    assert images_of(small.read_table("failed_images", JOB)) == [0, 1, 2, 20, 21]


def test_generations_are_dropped_by_number(lake: Lake) -> None:
    for generation in (1, 2, 11):
        lake.write_table("failed_images", JOB, Generation(generation), [failed(range(generation, generation + 1))])
    lake.drop_generations("failed_images", JOB, {1, 5})
    assert sorted(images_of(lake.read_table("failed_images", JOB))) == [2, 11]
    lake.drop_tables_beyond("failed_images", JOB, Generation(11))
    assert images_of(lake.read_table("failed_images", JOB)) == [11]
    lake.drop_generations("failed_images", JOB, [11])
    lake.drop_generations("captures", JOB, [11])
    assert not lake.has_table("failed_images", JOB)


def test_one_large_table_is_cut(root: str) -> None:
    limit = 64 * 1024
    table = failed(range(50_000))
    assert Lake(root, max_file_bytes=limit).write_table("failed_images", JOB, FIRST, [table]) == table.num_rows
    found = [pq.read_table(pa.BufferReader(content_of(root, path))) for path in files(root)]
    assert len(found) > table.nbytes / limit / 2
    assert max(part.nbytes for part in found) < limit * 1.3
    assert [image for part in found for image in images_of(part)] == list(range(50_000))


def test_rows_larger_than_a_file_stand_alone(root: str) -> None:
    lake = Lake(root, max_file_bytes=10)
    lake.write_table("failed_images", JOB, FIRST, [failed(range(3))])
    assert len(files(root)) == 3
    assert images_of(lake.read_table("failed_images", JOB)) == [0, 1, 2]


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("error", [Interrupted, OSError])
def test_a_failed_table_leaves_no_file(lake: Lake, root: str, error: type[Exception]) -> None:
    def tables() -> Iterator[pa.Table]:
        yield failed(range(3))
        raise error("the second part is lost")

    with pytest.raises(errors.Unavailable if error is OSError else error):
        lake.write_table("failed_images", JOB, FIRST, tables())
    assert files(root) == []
    lake.write_table("failed_images", JOB, FIRST, [failed(range(5))])
    with pytest.raises((errors.Unavailable, Interrupted)):
        lake.write_table("failed_images", JOB, FIRST, tables())
    assert lake.count_rows("failed_images", JOB) == 5


# Head


def classifications(rows: int) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "image_id": pa.array(range(rows), pa.int64()),
        "detection_id": pa.array([f"{row}-0" for row in range(rows)]),
        "label": pa.array(["x" * 200] * rows),
        "scores": pa.array([secrets.token_bytes(64)] * rows, pa.binary()),
    }
    nothing = {field.name: pa.nulls(rows, field.type) for field in schemas.CLASSIFICATIONS}
    return pa.table(nothing | columns, schema=schemas.CLASSIFICATIONS)


def test_the_head_leaves_binary_columns_out(lake: Lake) -> None:
    shown = [name for name in schemas.CLASSIFICATIONS.names if name != "scores"]
    assert lake.head("classifications", JOB, 3).column_names == shown
    lake.write_table("classifications", JOB, FIRST, [classifications(2)])
    lake.write_table("classifications", JOB, SECOND, [classifications(5)])
    head = lake.head("classifications", JOB, 4)
    assert (head.column_names, images_of(head)) == (shown, [0, 1, 0, 1])
    chosen = lake.head("classifications", JOB, 1, columns=["image_id", "scores"])
    assert (chosen.column_names, chosen.num_rows) == (["image_id", "scores"], 1)
    assert lake.head("classifications", JOB, 0).num_rows == 0


def test_the_head_decodes_no_more_than_it_shows(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.write_table("classifications", JOB, FIRST, [classifications(100_000)])
    usual = pa.default_memory_pool()
    measured = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(measured)
    try:
        assert lake.head("classifications", JOB, 8).num_rows == 8
    finally:
        pa.set_memory_pool(usual)
    # The labels alone decode to 20 MB.
    assert measured.max_memory() < 8 * 2**20


# Parts


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped_page(content: bytes) -> bytes:
    return content[:60] + bytes(byte ^ 0xFF for byte in content[60:90]) + content[90:]


def broken_footer(content: bytes) -> bytes:
    length = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - length] + b"\xff" * length + content[-8:]


def endless_footer(content: bytes) -> bytes:
    return content[:-8] + b"\xff\xff\xff\x7f" + content[-4:]


def empty(_: bytes) -> bytes:
    return b""


def test_a_part_lives_until_it_is_dropped(lake: Lake, root: str) -> None:
    lake.drop_parts(JOB)
    assert lake.read_part(JOB, "p1", "failed_images") is None
    lake.write_part(JOB, "p1", {"failed_images": failed(range(3))})
    assert lake.read_part(JOB, "p1", "failed_images") == failed(range(3))
    assert lake.tables_of_part(JOB, "p1", ["failed_images"])
    assert not lake.tables_of_part(JOB, "p1", ["failed_images", "captures"])
    lake.write_bytes("_parts/job_id=70/kept", b"another job's")
    lake.drop_parts(JOB)
    assert not lake.tables_of_part(JOB, "p1", ["failed_images"])
    assert files(root) == ["_parts/job_id=70/kept"]


@pytest.mark.parametrize("damage", [cut, broken_footer, endless_footer, empty])
def test_a_damaged_part_is_lost(lake: Lake, root: str, damage: Callable[[bytes], bytes]) -> None:
    lake.write_part(JOB, "p1", {"failed_images": failed(range(300))})
    change(root, PART, damage(content_of(root, PART)))
    assert lake.read_part(JOB, "p1", "failed_images") is None
    assert not lake.tables_of_part(JOB, "p1", ["failed_images"])


def test_a_part_with_a_damaged_page_is_lost(lake: Lake, root: str) -> None:
    lake.write_part(JOB, "p1", {"failed_images": failed(range(300))})
    change(root, PART, flipped_page(content_of(root, PART)))
    assert lake.read_part(JOB, "p1", "failed_images") is None


def test_a_footer_longer_than_the_first_look(lake: Lake, root: str) -> None:
    long = schemas.FAILED_IMAGES.with_metadata({"note": secrets.token_hex(100_000)})
    lake.write_part(JOB, "p1", {"failed_images": failed(range(3)).cast(long)})
    assert lake.tables_of_part(JOB, "p1", ["failed_images"])


def test_a_part_that_cannot_be_read_is_not_lost(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    # A folder in the file's place: an OSError for anyone, root included.
    (tmp_path / PART).mkdir(parents=True)
    with pytest.raises(errors.Unavailable):
        lake.read_part(JOB, "p1", "failed_images")
    with pytest.raises(errors.Unavailable):
        lake.tables_of_part(JOB, "p1", ["failed_images"])


# EmbeddedStores that fail


def read_whole(lake: Lake, file: str) -> bytes:
    with lake.reading_table("failed_images", JOB, file) as version:
        return version.file.read()


CALLS: dict[str, Callable[[Lake], object]] = {
    "write_part": lambda lake: lake.write_part(JOB, "p1", {"failed_images": failed(range(3))}),
    "read_part": lambda lake: lake.read_part(JOB, "p1", "failed_images"),
    "tables_of_part": lambda lake: lake.tables_of_part(JOB, "p1", ["failed_images"]),
    "parts": lambda lake: lake.parts(JOB),
    "drop_part": lambda lake: lake.drop_part(JOB, "p1"),
    "drop": lambda lake: lake.drop(["a"]),
    "drop_folder": lambda lake: lake.drop_folder("a"),
    "read_bytes": lambda lake: lake.read_bytes("a"),
    "has_file": lambda lake: lake.has_file("a/b"),
    "files_below": lambda lake: lake.files_below("a"),
    "jobs_with_parts": lambda lake: lake.jobs_with_parts(),
    "has_table": lambda lake: lake.has_table("failed_images", JOB),
    "write_table": lambda lake: lake.write_table("failed_images", JOB, FIRST, [failed(range(3))]),
    "drop_tables_beyond": lambda lake: lake.drop_tables_beyond("failed_images", JOB, FIRST),
    "drop_generations": lambda lake: lake.drop_generations("failed_images", JOB, [1]),
    "batches": lambda lake: list(lake.batches("failed_images", JOB)),
    "reading_version": lambda lake: lake.reading_version("a.parquet").__enter__(),
    "fetch": lambda lake: lake.fetch("a.parquet", Path("/dev/null")),
    "read_table": lambda lake: lake.read_table("failed_images", JOB),
    "head": lambda lake: lake.head("failed_images", JOB, 3),
    "value_counts": lambda lake: lake.value_counts("failed_images", JOB, "reason"),
    "count_rows": lambda lake: lake.count_rows("failed_images", JOB),
    "files_of": lambda lake: lake.files_of("failed_images", JOB),
    "reading_table": lambda lake: read_whole(lake, "part-g1-0.parquet"),
    "write_current": lambda lake: lake.write_current(),
    "write_bytes": lambda lake: lake.write_bytes("a", b"b"),
    "write_file": lambda lake: lake.write_file("a", lambda sink: sink.write(b"b")),
    "write_files": lambda lake: lake.write_files({"a": Path(__file__), "b": Path(__file__)}),
    "patterns": lambda lake: lake.patterns("failed_images", [JOB]),
    "names": lambda lake: lake.names("failed_images"),
    "jobs_with_table": lambda lake: lake.jobs_with_table("failed_images"),
    "constant": lambda lake: lake.constant("failed_images", JOB, "project"),
    "batches_of_file": lambda lake: list(lake.batches_of_file("a")),
    "metadata_of_file": lambda lake: lake.metadata_of_file("a"),
}


def test_every_method_that_reaches_the_store_is_called() -> None:
    public = {name for name in vars(Lake) if not name.startswith("_")}
    # A bucket has no drafts to look for, what DuckDB reads is DuckDB's to report, and texts reach nothing.
    assert public - {"table", "drop_parts", "lost_drafts", "open_to", "current", "pattern", "below"} == set(CALLS)


@pytest.fixture(scope="module")
def deaf_lake() -> Lake:
    """A lake on an S3 store that nobody runs: botocore's errors, as s3fs lets them pass."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "key": "k",
        "secret": "s",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    return Lake("s3://bucket/lake", storage_options=options)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_store_that_is_down_is_unavailable(deaf_lake: Lake, call: Callable[[Lake], object]) -> None:
    with pytest.raises(errors.Unavailable, match="s3://bucket/lake"):
        call(deaf_lake)


def test_parts_on_a_store_that_is_down_stay_behind(deaf_lake: Lake, caplog: pytest.LogCaptureFixture) -> None:
    deaf_lake.drop_parts(JOB)
    assert "stay behind" in caplog.text


@pytest.mark.parametrize("call", ["write_part", "write_table", "write_bytes"])
def test_a_disk_that_cannot_be_written_is_unavailable(tmp_path: Path, call: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.Unavailable):
        CALLS[call](Lake(str(tmp_path / "file")))


@pytest.mark.parametrize("call", ["drop_generations", "count_rows", "head"])
def test_a_file_that_is_a_folder_is_unavailable(tmp_path: Path, call: str) -> None:
    (tmp_path / "failed_images/job_id=7/part-g1-00000.parquet").mkdir(parents=True)
    with pytest.raises(errors.Unavailable):
        CALLS[call](Lake(str(tmp_path)))


# Options


def test_options_are_for_s3_alone(tmp_path: Path) -> None:
    own = settings.load(home=tmp_path, s3_endpoint_url="http://minio:9000", s3_anonymous=True)
    options = {"endpoint_url": "http://minio:9000", "anon": True}
    assert storage_options(own) == {}
    assert storage_options(own, "s3://images/a.jpg") == options
    assert storage_options(own.model_copy(update={"lake_uri": "s3://bucket/lake"})) == options
    assert storage_options(own, "file:///a.jpg") == {}
