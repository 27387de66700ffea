"""What a user does to a machine: kill -9, Ctrl-C. Every image is still counted once, and nobody has to help."""

import json
from pathlib import Path

import psutil
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

SLOWLY = '{"delay_ms": 100}'


def each_image_once(shown: dict[str, object], total: int) -> None:
    assert shown["done"] == shown["total"] == total
    table = pyarrow.dataset.dataset(f"{shown['lake']}/detections/job_id={shown['job_id']}").to_table()
    assert len(set(table.column("detection_id").to_pylist())) == table.num_rows == shown["detections"]
    assert len(set(table.column("image_id").to_pylist())) == total


def under_way(running: RunningStack, job: int) -> None:
    wait_until(lambda: running.job(job)["done"] > 0, description="the first image is done", timeout=90)


def processes(running: RunningStack) -> list[psutil.Process]:
    """All processes of this stack; a developer's own and those of other tests have another home."""
    return [
        process
        for process in psutil.process_iter(["environ", "cmdline"])
        if (process.info["environ"] or {}).get("ANTENNA_HOME") == str(running.home)
    ]


def worker_process(running: RunningStack) -> psutil.Process:
    """The process that holds the leases: the parent of the stack's device process."""
    for process in processes(running):
        if "antenna_orchestration.worker.device.process" in (process.info["cmdline"] or []):
            parent = process.parent()
            assert parent is not None
            return parent
    raise AssertionError("no worker of this stack runs")


def kill_unfinished(running: RunningStack, job: int, process: psutil.Process) -> None:
    """Kill while there is work left. The process is stopped first, so that what is looked at cannot move on."""
    process.suspend()
    try:
        shown = running.job(job)
        assert shown["status"] == "RUNNING" and shown["done"] < shown["total"], shown
    except BaseException:
        process.resume()
        raise
    process.kill()


@pytest.mark.slow
def test_the_collecting_run_is_killed(running: RunningStack, tmp_path: Path) -> None:
    job = running.submit(blank_images(tmp_path / "trap", 200), "--pipeline", "null", "--config", SLOWLY)
    under_way(running, job)
    killed = running.run_of(job)
    kill_unfinished(running, job, psutil.Process(killed["pid"]))
    each_image_once(running.wait_for(job), 200)
    assert "relaunched" in actions(running, job), "nobody took the killed run's job back"
    assert running.run_of(job)["runId"] != killed["runId"]


@pytest.mark.slow
def test_the_worker_is_killed(running: RunningStack, tmp_path: Path) -> None:
    job = running.submit(blank_images(tmp_path / "trap", 200), "--pipeline", "null", "--config", SLOWLY)
    under_way(running, job)
    kill_unfinished(running, job, worker_process(running))
    each_image_once(running.wait_for(job), 200)


def actions(running: RunningStack, job: int) -> list[str]:
    """What happened to the job, a word a line of its story."""
    lines = running.antenna("jobs", "logs", str(job), "--json").stdout.splitlines()
    return [json.loads(line)["action"] for line in lines]


def images_in_parts(lake: Path, job: int) -> int:
    """Images done so far, as far as a stopped stack can tell: the parts go when the job is finished."""
    parts = lake.glob(f"_parts/job_id={job}/*/detections.parquet")
    return len({image for part in parts for image in pq.read_table(part).column("image_id").to_pylist()})


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_at_half_cancels_nobody(own_stack_process: RunningStack, tmp_path: Path) -> None:
    stack = own_stack_process
    stack.up()
    job = stack.submit(blank_images(tmp_path / "trap", 2000), "--pipeline", "null", "--config", '{"delay_ms": 10}')
    wait_until(lambda: stack.job(job)["done"] > 500, description="a quarter is done", timeout=120)
    lake = Path(stack.job(job)["lake"])
    stack.down()
    assert not processes(stack)
    assert 0 < images_in_parts(lake, job) < 2000
    stack.up()
    each_image_once(stack.wait_for(job), 2000)
