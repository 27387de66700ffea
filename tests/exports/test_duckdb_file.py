"""`duckdb`: one file that opens without the lake, and whose check finds what is broken."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import duckdb
import pytest

from antenna_orchestration import errors
from antenna_orchestration.exports import duckdb_file
from tests.ecology.nights_by_hand import capture, detection
from tests.exports.materials import DUSK, POND, material_of
from tests.small_disks import filled, small_disk


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of two nights, the second without a catch, whose lake is gone."""
    folder = tmp_path_factory.mktemp("duckdb")
    captures = [
        capture(
            number, DUSK.replace(day=12 + number // 3, minute=number), zone=POND.zone, url=f"file:///card/{number}.jpg"
        )
        for number in range(1, 5)
    ]
    captures[1] |= {"status": "failed", "reason": 'it\'s "gone"'}
    material = material_of(folder / "lake", captures, [detection(1, 0, "Autographa gamma", 0.96875)])
    written = duckdb_file.write(material, folder / "results.duckdb")
    assert written.counts == {
        "observations": 1,
        "photographs": 4,
        "nights": 2,
        "counts": 1,
        "tracks": 1,
        "deployments": 1,
    }
    shutil.rmtree(folder / "lake")
    return folder / "results.duckdb"


def test_a_full_disk_is_named_and_not_the_lake(tmp_path: Path) -> None:
    material = material_of(tmp_path / "lake", [capture(1, DUSK, zone=POND.zone)])
    with small_disk(tmp_path / "disk", megabytes=1) as disk, filled(disk):
        out = disk / "results.duckdb"
        with pytest.raises(OSError, match="No space left on device") as failed:
            duckdb_file.write(material, out)
        assert failed.value.filename == str(out)


def test_a_full_folder_for_temporary_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", megabytes=1) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        material = material_of(tmp_path / "lake", [capture(1, DUSK, zone=POND.zone)])
        with filled(disk), pytest.raises(errors.Unavailable) as failed, material.session() as session:
            session.execute("SET memory_limit = '20MB'")
            session.execute("CREATE TABLE many AS SELECT md5(n::VARCHAR) AS n FROM range(2000000) t(n)")
    assert str(failed.value) == (
        f"no space is left for temporary files in {disk}: free some, or name another folder with TMPDIR"
    )


def test_a_file_opens_without_the_lake_and_explains_itself(made: Path) -> None:
    assert duckdb_file.check(made).faults == []
    with duckdb.connect(str(made), read_only=True) as session:
        assert session.sql("SELECT night::VARCHAR, taxon, photographs, max_n FROM catch ORDER BY ALL").fetchall() == [
            ("2026-06-12", "Autographa gamma", 1, 1),
            ("2026-06-13", "Autographa gamma", 2, 0),
        ]
        assert session.sql("SELECT reason FROM photographs WHERE status = 'failed'").fetchall() == [('it\'s "gone"',)]
        assert session.sql("SELECT latitude, nights FROM deployments").fetchall() == [(POND.latitude, 2)]
        silent = session.sql(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL AND NOT internal "
            "AND table_name NOT IN ('about', 'catch', 'taxa')"
        )
        assert silent.fetchall() == []
        assert "reviewer" not in session.sql("FROM observations").columns


@pytest.mark.parametrize(
    ("breaking", "fault"),
    [
        ("DROP TABLE tracks", "it lacks tracks"),
        ("ALTER TABLE nights DROP zone", "nights: its columns are not those of the format: zone"),
        (
            "INSERT INTO observations FROM observations",
            "observations: observation_id is there once; 1 row such as 1-1-0",
        ),
        ("UPDATE observations SET image_id = 99", "observations: each is of a photograph"),
        ("INSERT INTO photographs FROM photographs LIMIT 1", "photographs: each is there once for a pipeline"),
        ("UPDATE nights SET failed = 7", "nights: photographs are done or failed"),
        ("DELETE FROM photographs WHERE image_id = 4", "nights: found is the number of photographs"),
        ("UPDATE counts SET night = DATE '2026-06-20'", "counts: each is of a night"),
    ],
)
def test_a_broken_file_of_duckdb_is_found(made: Path, tmp_path: Path, breaking: str, fault: str) -> None:
    file = Path(shutil.copy(made, tmp_path / "results.duckdb"))
    with duckdb.connect(str(file)) as session:
        session.execute(breaking)
    assert duckdb_file.check(file).faults[0].startswith(fault)


def test_what_is_no_file_of_duckdb_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "a.duckdb").write_bytes(b"SQLite format 3")
    assert "is not a DuckDB file that opens" in duckdb_file.check(tmp_path / "a.duckdb").faults[0]
