"""Small files of a home that were torn, as a power loss may tear them, and what the next start makes of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import environment, stack, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.postgres_server import PostgresServer
from tests.cli.shells import Shell
from tests.embedded.torn_files import KINDS, tear

pytestmark = pytest.mark.long

SMALL_FILES = (
    "credentials.json",
    "ports.json",
    "env",
    "nats/nats.conf",
    "nats/roles.conf",
    "redis/redis.conf",
    "postgres/superuser",
    "postgres/data/PG_VERSION",
    "postgres/data/base/1/PG_VERSION",
    "postgres/data/postgresql.conf",
    "postgres/data/pg_hba.conf",
    "postgres/data/postmaster.pid",
)


def answer_of(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT answer FROM kept").fetchone()


@pytest.mark.parametrize("kind", KINDS)
def test_data_survive_that_every_small_file_is_torn(home: Path, template: Path, kind: str) -> None:
    with stores.embedded_stores(home, template=template) as first:
        with psycopg.connect(first.settings.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        before = first.settings
        first.kill("postgres")
    for name in SMALL_FILES:
        tear(home / name, kind)

    with stores.embedded_stores(home) as second:
        assert answer_of(second.settings.database_url) == (42,)
        assert second.settings.database_url != before.database_url, "the passwords of before are lost"
        assert settings.load(home=home).database_url == second.settings.database_url
    with stores.embedded_stores(home) as third:
        assert third.settings.database_url == second.settings.database_url
    assert not list(home.rglob("*.new"))


def test_a_start_that_lost_power_at_once_is_begun_again(home: Path) -> None:
    """Passwords without content, half of initdb's work, and not a cluster yet."""
    Home(home).create()
    tear(Home(home).credentials_file, "empty")
    for unfinished in ("data", "data.new/base"):
        (home / "postgres" / unfinished).mkdir(parents=True)
    (home / "postgres").chmod(0o711)
    with stores.embedded_stores(home) as begun, psycopg.connect(begun.settings.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not (home / "postgres/data.new").exists()


def test_part_of_a_cluster_is_not_replaced_by_an_empty_one(home: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template):
        pass
    (home / "postgres/data/global/pg_control").unlink()
    part = r"postgres/data is a part of a PostgreSQL cluster \(global/pg_control is missing\): restore it"
    with pytest.raises(errors.InternalError, match=part), stores.embedded_stores(home):
        pass
    assert (home / "postgres/data/base").exists()


def test_a_lake_whose_catalog_is_gone_is_not_written_to(home: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template):
        pass
    shutil.rmtree(home / "postgres")
    (home / "lake/manifest/job_id=1").mkdir(parents=True)
    gone = f"{home}/lake/manifest/job_id=1 is a table of an earlier job, but the catalog, {home}/postgres/data, is gone"
    with pytest.raises(errors.InternalError, match=gone), stores.embedded_stores(home):
        pass
    (home / "lake").rename(home / "lake of before")
    with stores.embedded_stores(home) as fresh, psycopg.connect(fresh.settings.database_url):
        pass


def test_it_is_said_what_was_made_anew(home: Path) -> None:
    Home(home).create()
    for name in ("credentials.json", "env"):
        tear(home / name, "rubbish")
    said: list[str] = []
    stores.plan(settings.load(home=home), report=said.append, dagster=False)
    assert said == [
        f"{home}/env is damaged: it is written again; "
        "a lake that only an earlier `antenna up` was told has to be told again",
        f"{home}/credentials.json was damaged: passwords and keys are made anew, data are kept",
    ]
    stores.plan(settings.load(home=home), report=said.append, dagster=False)
    assert len(said) == 3, "the caller of `plan` writes the env file"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", ["jobs list", "env"])
def test_a_command_explains_a_torn_env_file(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, kind: str
) -> None:
    Home(home).create()
    environment.write(Home(home), stores.plan(settings.load(home=home)).variables)
    tear(home / "env", kind)
    tear(home / "stack.json", kind)
    antenna = Shell({"ANTENNA_HOME": str(home)}, monkeypatch, capsys)
    antenna(*command.split()).refused(2, f"{home}/env is damaged: run `antenna up`")
    assert stack.status(home) is None


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_text("before")
    # The kernel refuses more than four bytes, as a full disk does.
    program = (
        "import pathlib, resource, signal, sys\n"
        "from antenna_orchestration import kernel\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))\n"
        "kernel.replace_file(pathlib.Path(sys.argv[1]), 'after it')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, file], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("kept", "before")]


def test_a_cluster_that_became_root_s_is_handed_back(home: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template):
        pass
    cluster = PostgresServer(home=Home(home), port=1, credentials=None).data  # type: ignore[arg-type]
    owner = cluster.stat().st_uid
    _copied_without_owners(cluster)
    with stores.embedded_stores(home) as again, psycopg.connect(again.settings.database_url):
        assert cluster.stat().st_uid == owner


def _copied_without_owners(folder: Path) -> None:
    original = folder.rename(folder.with_name("original"))
    subprocess.run(["cp", "-r", original, folder], check=True)
    shutil.rmtree(original)
