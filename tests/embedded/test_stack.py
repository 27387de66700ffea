"""The whole stack as `antenna up` runs it: started, joined, stopped, and killed in every way."""

from __future__ import annotations

import json
import os
import signal
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import yaml

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import dagster_processes, environment, processes, stack, stores
from antenna_orchestration.embedded.events import Event
from antenna_orchestration.embedded.home import Home
from tests.embedded.tiny_antenna_up import DEFINITIONS
from tests.embedded.tiny_stack import REPOSITORY, gone, left, up
from tests.embedded.torn_files import tear
from tests.homes import temporary_folder


@pytest.fixture(scope="module")
def used_home(template: Path) -> Iterator[Path]:
    """One home for all of these tests, as a user has: each start meets what the one before left."""
    with temporary_folder() as folder:
        home = folder / ".antenna"
        with stores.embedded_stores(home, template=template):
            pass
        yield home


def forked(code_server: int) -> list[psutil.Process]:
    """The runs: copies of the process that a code server keeps for that."""
    server = psutil.Process(code_server)
    (fork_server,) = (child for child in server.children() if child.cmdline() == server.cmdline())
    return [run for run in fork_server.children() if run.cmdline() == server.cmdline()]


def run_status(home: Path, run: str) -> str:
    with stores.embedded_stores(home) as alone:
        url = alone.settings.dagster_pg_url.replace("+psycopg2", "")
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT status FROM runs WHERE run_id = %s", [run]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.long
def test_up_is_joined_refuses_a_second_and_stops_in_order(used_home: Path, tmp_path: Path) -> None:
    with up(used_home) as running:
        ready = running.until("ready")
        status = running.status
        assert status.ready
        assert status.front == running.process.pid
        assert status.ui in ready.text
        assert set(status.pids) == {"nats", "redis", "postgres", "code-server", "webserver", "daemon", "gateway"}
        assert all(psutil.pid_exists(pid) for pid in status.pids.values())
        assert status.ports["grpc"] < 32768
        assert status.gateway in ready.text
        with urllib.request.urlopen(f"{status.gateway}/livez", timeout=60) as answer:
            assert json.load(answer) == {"status": True}
        assert len(psutil.Process(status.pids["gateway"]).children()) == 2, "ANTENNA_GATEWAY_PROCESSES"

        # Another shell joins, with the file alone.
        env_file = used_home / "env"
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        joined = environment.read(Home(used_home))
        assert joined["ANTENNA_UI_URL"] == status.ui
        assert joined["ANTENNA_GATEWAY_URL"] == status.gateway
        assert joined["DAGSTER_HOME"] == str(used_home / "dagster")
        assert not {processes.STACK_VARIABLE, processes.HOME_VARIABLE} & set(joined)
        assert (used_home.parent / ".env").resolve() == env_file
        with psycopg.connect(settings.load(home=used_home).database_url) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM prepared").fetchone() == (True,)

        with up(used_home) as second:
            _, complaint = second.process.communicate()
            assert second.process.returncode == 1
        assert complaint.decode() == f"a stack already runs in {used_home}: stop that one first (Ctrl-C)\n"

        marker = tmp_path / "op"
        run = running.launch(marker)
        assert len(forked(status.pids["code-server"])) == 1
        running.process.send_signal(signal.SIGINT)
        running.until("stopped")
        assert running.process.wait() == 0
        assert "asking 1 active run to leave" in [event.text for event in running.events]
        gone(used_home)
    assert marker.read_text() == "interrupted, stopping=True", "collectors see that nobody canceled them"
    assert stack.status(used_home) is None
    assert run_status(used_home, run) != "CANCELED"


@pytest.mark.slow
def test_a_crashed_process_is_started_again_and_a_killed_front_leaves_nothing(used_home: Path, tmp_path: Path) -> None:
    with up(used_home) as running:
        running.until("ready")
        running.launch(tmp_path / "first")

        before = running.status.pids
        for name in ("nats", "postgres", "code-server"):
            os.kill(before[name], signal.SIGKILL)
            problem = running.until("problem", name)
            assert problem.text == f"{name} ended (killed by SIGKILL), starting it again"
            running.until("started", name)
        after = running.status.pids
        assert {name for name in before if before[name] != after[name]} >= {"nats", "postgres", "code-server"}
        # The queue works with the new code server; the first run is an orphan that landed at the supervisor.
        running.launch(tmp_path / "second", stubborn=True)

        running.process.kill()
        gone(used_home)
    assert stack.status(used_home) is None


@pytest.mark.slow
def test_runs_outlive_a_signal_to_the_fork_server_and_its_lost_socket(used_home: Path, tmp_path: Path) -> None:
    with up(used_home) as running:
        running.until("ready")
        running.launch(tmp_path / "first")
        (run,) = forked(running.status.pids["code-server"])
        fork_server = run.parent()
        assert fork_server is not None
        fork_server.send_signal(signal.SIGTERM)
        (socket,) = {Path(each.laddr) for each in fork_server.net_connections("unix") if "listener" in str(each.laddr)}
        # As a cleaner of temporary files does.
        socket.unlink()
        running.launch(tmp_path / "second")
        assert fork_server.is_running()
        assert forked(running.status.pids["code-server"]) == [run]
        assert "start slowly" in (used_home / "logs" / "code-server.log").read_text()
        running.process.send_signal(signal.SIGINT)
        running.until("stopped")
        gone(used_home)
    for marker in ("first", "second"):
        assert (tmp_path / marker).read_text() == "interrupted, stopping=True"


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing(used_home: Path, tmp_path: Path) -> None:
    with up(used_home) as running:
        running.until("ready")
        running.launch(tmp_path / "op", stubborn=True)
        os.kill(running.status.supervisor, signal.SIGKILL)
        failed = running.until("failed")
        assert failed.text == "the supervisor ended unexpectedly (SIGKILL)"
        assert running.process.wait() == 1
        gone(used_home)


@pytest.mark.long
def test_up_works_after_everything_was_killed_at_once(used_home: Path) -> None:
    with up(used_home, "--stores-only") as running:
        running.until("ready")
        with psycopg.connect(settings.load(home=used_home).database_url) as connection:
            connection.execute("DROP TABLE IF EXISTS kept")
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(running.process.pid, signal.SIGSTOP)  # not there to clean up
        everything = left(used_home)
        os.kill(running.status.supervisor, signal.SIGKILL)
        for process in everything:
            if process.is_running():
                process.kill()
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        gone(used_home)
    assert (used_home / "postgres/data/postmaster.pid").exists(), "as a power failure leaves it"
    torn = ("credentials.json", "env", "stack.json", "ports.json")
    for name in torn:
        tear(used_home / name, "empty")

    with up(used_home, "--stores-only") as running:
        running.until("ready")
        damaged = [event.text for event in running.events if "damaged" in event.text]
        assert [name for name in torn if any(f"{used_home}/{name} " in text for text in damaged)] == list(torn[:2])
        with psycopg.connect(settings.load(home=used_home).database_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        running.process.send_signal(signal.SIGTERM)
        running.until("stopped")
        assert running.process.wait() == 0


def test_in_the_background_it_is_ready_and_then_stops(used_home: Path) -> None:
    seen: list[Event] = []
    owned = stack.start_background(
        settings.load(home=used_home), dagster=False, on_event=seen.append, prepare_hook=f"{DEFINITIONS}:prepare"
    )
    status = stack.status(used_home)
    assert status is not None and status.ready
    assert owned.stop() == 0
    assert owned.stop() == 0
    gone(used_home)
    assert seen[-1].kind == "stopped"


@pytest.mark.long
def test_what_does_not_become_ready_says_why_and_leaves_nothing(used_home: Path) -> None:
    known = settings.load(home=used_home, ui_port=0, gateway_port=0)
    with pytest.raises(errors.InternalError, match=r"No module named 'tests.embedded.missing'.*log: .*prepare\.log"):
        stack.start_background(known, prepare_hook="tests.embedded.missing:prepare")
    gone(used_home)
    (used_home / "nats/jetstream").chmod(0o700)
    assert stack.status(used_home) is None


WORKERS = {"key": "antenna/role", "value": "worker", "limit": 4}


def test_options_of_slurm_make_the_instance_of_the_page(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs/howto/workers.md").read_text()
    told = yaml.safe_load(page[page.index("run_launcher:\n") :].split("```")[0])
    home = Home(tmp_path / ".antenna")
    home.create()
    options = "--partition=gpu --gres=gpu:1 --time=05:00:00"
    dagster_processes.write_home(home, grpc_port=1, slurm_options=settings.load(slurm_options=options).slurm_options)
    written = yaml.safe_load((home.dagster / "dagster.yaml").read_text())
    expected = yaml.safe_load(dagster_processes.INSTANCE.read_text())
    # Four that wait in Slurm's queue do not keep a fifth out of it.
    expected["concurrency"]["runs"]["tag_concurrency_limits"].remove(WORKERS)
    assert written == expected | told


def test_each_code_location_has_room_for_workers_of_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path / ".antenna")
    home.create()
    dagster_processes.write_home(home, grpc_port=1, elsewhere=["one=gpu-1:4000", "two=gpu-2:4000"])
    written = yaml.safe_load((home.dagster / "dagster.yaml").read_text())
    assert WORKERS | {"limit": 12} in written["concurrency"]["runs"]["tag_concurrency_limits"]


@pytest.mark.parametrize("options", ["-p gpu", "--comment='night", "gpu"])
def test_options_of_slurm_that_cannot_be_meant(options: str) -> None:
    with pytest.raises(errors.InvalidSetting, match="SLURM_OPTIONS"):
        settings.load(slurm_options=options)


def test_the_instance_is_one_file() -> None:
    assert (REPOSITORY / "dagster.yaml").read_text() == dagster_processes.INSTANCE.read_text()
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"] == {
        "module_name": dagster_processes.DEFINITIONS,
        "location_name": dagster_processes.LOCATION,
    }
