"""A home that was moved goes on where it is; a copy never writes to its original."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import credentials, environment, postgres_server, stack, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.supervisor import StackStatus
from tests.homes import temporary_folder


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """The path of another home that does not exist yet."""
    with temporary_folder() as folder:
        yield folder / ".antenna"


def rows(known: settings.Settings) -> list[tuple[str]]:
    with psycopg.connect(known.database_url) as connection:
        return connection.execute("SELECT * FROM kept ORDER BY 1").fetchall()


def write_row(known: settings.Settings, text: str) -> None:
    with psycopg.connect(known.database_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [text])


def copied(original: Path, copy: Path, *options: str) -> None:
    subprocess.run(["cp", *(options or ["-a"]), original, copy], check=True)


@pytest.mark.long
def test_a_moved_home_follows_with_lake_ports_and_passwords(home: Path, elsewhere: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template) as first:
        write_row(first.settings, "before")
        before = first.settings
    home.rename(elsewhere)
    moved = settings.load(home=elsewhere)
    assert moved.lake == str(elsewhere / "lake")
    with pytest.raises(errors.InvalidSetting, match=f"{elsewhere} was moved or copied from {home}: run `antenna up`"):
        moved.require("database_url")
    with pytest.raises(errors.InvalidSetting, match="was moved or copied from"):
        environment.export_lines(Home(elsewhere))

    with stores.embedded_stores(elsewhere) as second:
        assert second.settings == before.model_copy(update={"home": elsewhere, "lake_uri": str(elsewhere / "lake")})
        assert rows(second.settings) == [("before",)]
        assert settings.load(home=elsewhere) == second.settings, "another shell joins"


@pytest.mark.long
def test_a_copy_of_a_running_home_leaves_the_original_alone(home: Path, elsewhere: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template) as first:
        write_row(first.settings, "both")
        server = psutil.Process(first.pid("postgres"))
        with psycopg.connect(first.admin_database_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        copied(home, elsewhere, "-r")
        assert not settings.load(home=elsewhere).database_url, "the file names the original's servers"

        with stores.embedded_stores(elsewhere) as second:
            write_row(second.settings, "copy")
            write_row(first.settings, "original")
            assert rows(second.settings) == [("both",), ("copy",)]
            assert rows(first.settings) == [("both",), ("original",)]
            assert server.is_running()
            assert second.settings.lake == str(elsewhere / "lake")
            assert second.settings.secret_key == first.settings.secret_key
        ours, theirs = credentials.load(Home(elsewhere)), credentials.load(Home(home))
        same = {name for name, value in dataclasses.asdict(ours).items() if value == getattr(theirs, name)}
        assert same == {"secret_key"}

    said: list[str] = []
    stores.plan(settings.load(home=elsewhere), report=said.append, dagster=False)
    assert not said, "said once"


def test_a_start_says_whether_its_home_was_moved_or_copied(home: Path, elsewhere: Path) -> None:
    environment.write(Home(home), _planned(home).variables)
    said: list[str] = []
    copied(home, elsewhere)
    stores.plan(settings.load(home=elsewhere), report=said.append, dagster=False)
    shutil.rmtree(elsewhere)
    home.rename(elsewhere)
    stores.plan(settings.load(home=elsewhere), report=said.append, dagster=False)
    assert said == [
        f"this home is a copy of {home}: it has passwords and ports of its own from now on",
        f"this home was moved here from {home}: its data are used where they are now",
    ]


def _planned(home: Path, **known: str) -> stores.Plan:
    return stores.plan(settings.load(home=home, **known), dagster=False)


def test_a_copy_that_would_share_a_lake_is_refused(home: Path, elsewhere: Path, tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    environment.write(Home(home), _planned(home, lake_uri=lake).variables)
    copied(home, elsewhere)
    for _ in range(2):
        shared = f"{elsewhere} is a copy of {home}, whose ANTENNA_LAKE_URI it would use, too .*: set ANTENNA_LAKE_URI"
        with pytest.raises(errors.InternalError, match=shared):
            _planned(elsewhere)
    assert _planned(elsewhere, lake_uri=str(tmp_path / "other")).settings.lake == str(tmp_path / "other")
    assert _planned(home).settings.lake == lake


def test_a_copy_that_links_into_the_original_is_refused(home: Path, elsewhere: Path, tmp_path: Path) -> None:
    Home(home).create()
    (tmp_path / "lake").mkdir()
    (home / "lake").symlink_to(tmp_path / "lake")
    environment.write(Home(home), _planned(home).variables)
    copied(home, elsewhere)
    with pytest.raises(errors.InternalError, match=rf"lake is the same in both \({tmp_path}/lake\): stop the original"):
        _planned(elsewhere)


def test_a_copy_made_of_hard_links_is_refused(home: Path) -> None:
    environment.write(Home(home), _planned(home).variables)
    control = home / "postgres/data/global/pg_control"
    control.parent.mkdir(parents=True)
    control.touch()
    # On the same file system, as hard links are.
    copy = home.with_name("copy")
    copied(home, copy, "-al")
    with pytest.raises(errors.InternalError, match=f"{control.relative_to(home)} is the same in both"):
        _planned(copy)


@pytest.mark.long
def test_a_cluster_outside_of_its_home_has_one_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user's cluster lies in the home")
    first, second = (tmp_path / name / ".antenna" for name in ("first", "second"))
    for path in (first, second):
        path.parent.mkdir(mode=0o700)
    with temporary_folder() as folder:
        monkeypatch.setattr(postgres_server, "PRIVATE_HOMES", folder / "clusters")
        with stores.embedded_stores(first) as original:
            write_row(original.settings, "original")
        copied(first, second)
        with (
            pytest.raises(
                errors.InternalError, match=f"is a copy of {first}, and postgres is the same in both .{folder}"
            ),
            stores.embedded_stores(second),
        ):
            pass
        # Moved away meanwhile, so that nothing of it is found where it was.
        moved = first.rename(first.with_name("moved"))
        with stores.embedded_stores(moved):
            pass
        theirs = f"to which {second}/postgres leads, is that of {moved}: copy it"
        with pytest.raises(errors.InternalError, match=theirs), stores.embedded_stores(second):
            pass

        # As the message says.
        copied((moved / "postgres").resolve(), folder / "clusters" / "copy")
        (second / "postgres").unlink()
        (second / "postgres").symlink_to(folder / "clusters" / "copy")
        with stores.embedded_stores(second) as copy, stores.embedded_stores(moved) as original:
            write_row(copy.settings, "copy")
            assert rows(copy.settings) == [("copy",), ("original",)]
            assert rows(original.settings) == [("original",)]


def test_the_status_file_of_a_copy_is_not_believed(home: Path, elsewhere: Path) -> None:
    """The supervisor in the file runs: the original's."""
    Home(elsewhere).create()
    argv = [sys.executable, "-c", "input()", "antenna_orchestration.embedded.supervisor", str(home)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as supervisor:
        written = StackStatus(
            home=str(home),
            stack="",
            front=1,
            supervisor=supervisor.pid,
            ready=True,
            ui="",
            gateway="",
            lake="",
            ports={},
            pids={},
        )
        Home(home).create()
        for each in (home, elsewhere):
            Home(each).status_file.write_text(json.dumps(dataclasses.asdict(written)))
        assert stack.status(home) == written
        assert stack.status(elsewhere) is None
        supervisor.kill()
