"""What runs save by being forked: imports, and processes that copy what they write."""

import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest
from dagster._core.execution.compute_logs import mirror_stream_to_file
from dagster._core.storage import local_compute_log_manager
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager

from antenna_orchestration import settings
from antenna_orchestration.embedded import compute_logs, dagster_instance
from antenna_orchestration.embedded.dagster_instance import Instance

pytestmark = pytest.mark.long


def written(logs: LocalComputeLogManager, key: str) -> tuple[str, int]:
    """What is written while output is captured, as a page of Dagster shows it; and this process' children meanwhile."""
    before = len(psutil.Process().children())
    with logs.capture_logs([key]):
        subprocess.run([sys.executable, "-c", "print('from outside')"], check=True, stdout=sys.__stdout__)
        processes = len(psutil.Process().children()) - before
    assert logs.is_capture_complete([key])
    data = logs.get_log_data([key])
    return (data.stdout or b"").decode(), processes


@pytest.mark.parametrize(("forked", "unchanged", "processes"), [(True, False, 0), (True, True, 4), (False, False, 4)])
def test_the_output_of_runs_is_kept_without_further_processes(
    instance: Instance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *,
    forked: bool,
    unchanged: bool,
    processes: int,
) -> None:
    monkeypatch.setattr(local_compute_log_manager, "mirror_stream_to_file", mirror_stream_to_file)
    if forked:
        compute_logs.copy_nothing()
    monkeypatch.setattr(settings, "get", lambda: settings.load(dagster_unchanged=unchanged))
    logs = instance.compute_log_manager
    assert isinstance(logs, LocalComputeLogManager)
    with capfd.disabled():
        assert written(logs, f"{forked} {unchanged}") == ("from outside\n", processes)


def test_a_forked_run_asks_for_its_partition_once(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dagster_instance, "IS_FORKED_RUN", True)
    monkeypatch.setattr(dagster_instance, "_there", set())
    assert not instance.has_dynamic_partition("jobs", "job-1")
    instance.add_dynamic_partitions("jobs", ["job-1"])
    assert instance.has_dynamic_partition("jobs", "job-1")
    instance.delete_dynamic_partition("jobs", "job-1")
    assert instance.has_dynamic_partition("jobs", "job-1"), "the run goes on with what it has"
    monkeypatch.setattr(dagster_instance, "_there", set())
    monkeypatch.setattr(dagster_instance, "IS_FORKED_RUN", False)
    instance.add_dynamic_partitions("jobs", ["job-1"])
    assert instance.has_dynamic_partition("jobs", "job-1")
    instance.delete_dynamic_partition("jobs", "job-1")
    assert not instance.has_dynamic_partition("jobs", "job-1"), "the webserver and the daemon live on"


def test_what_was_imported_before_the_fork_is_walked_no_more(tmp_path: Path) -> None:
    code = """
        import gc, os
        import antenna_orchestration.definitions
        from antenna_orchestration.embedded.code_server import run_imports
        # As the code server does.
        if not os.fork():
            from antenna_orchestration.embedded.code_server import fork_server
            print(len(gc.get_objects()), gc.get_freeze_count(), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0
    """
    left, kept = map(int, said_by(code, tmp_path).split())
    assert left < 1_000 and kept > 200_000


def test_stores_that_are_made_at_first_use_are_imported_before_the_fork(tmp_path: Path) -> None:
    code = """
        import sys
        from functools import cached_property
        import antenna_orchestration.definitions
        from antenna_orchestration.embedded.code_server import run_imports, fork_server
        from antenna_orchestration import settings
        from antenna_orchestration.processing.services import _MadeAtFirstUse
        before = set(sys.modules)
        made = _MadeAtFirstUse(settings.load())
        names = [name for name, value in vars(_MadeAtFirstUse).items() if isinstance(value, cached_property)]
        for name in names:
            getattr(made, name)
        print(len(names), sorted(set(sys.modules) - before))
    """
    assert said_by(code, tmp_path).split(maxsplit=1) == ["3", "[]\n"]


def said_by(code: str, folder: Path) -> str:
    """What another interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={"ANTENNA_HOME": str(folder), "ANTENNA_REDIS_URL": "redis://localhost:1", "HOME": str(folder)},
    )
    return done.stdout
