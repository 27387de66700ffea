"""Workers as jobs of a real Slurm: started for a backlog, taken back, drained, preempted, killed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.slurm_cluster import SlurmCluster
from tests.homes import temporary_folder
from tests.stack.antenna_up import ANTENNA, RunningStack, blank_images
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SLOW = '{"delay_ms": 200}'
"""The null pipeline, which then takes 0.2 s for an image."""


def pools(stack: RunningStack, folder: Path, **changes: Any) -> str:
    """A file with one pool of the cluster, whose workers need a GPU each."""
    environment = stack.environment | {"ANTENNA_HOME": str(stack.home)}
    names = ("ANTENNA_HOME", "ANTENNA_TASK_ACK_WAIT", "PYTHONPATH")
    exports = "\n".join(f"export {name}={shlex.quote(environment[name])}" for name in names if name in environment)
    setup = f"env > {shlex.quote(str(folder))}/handed-$SLURM_JOB_ID\n{exports}\nexport OMP_NUM_THREADS=1"
    pool = {
        "kind": "slurm", "most": 4, "setup": setup,
        "options": ["--gres=gpu:1", "--cpus-per-task=1", f"--output={folder}/worker-%j.log", "--signal=TERM@45"],
        "worker": [*ANTENNA, "worker"], "reaches": ["http", "s3:*", "file:*"], "finish_within_minutes": 0.5,
        "cold_start_seconds": 5, "idle_exit_seconds": 3, "cool_down_seconds": 1, "overhead": 1,
        "seconds_per_image": 0.2,
    }  # fmt: skip
    file = folder / "pools.yaml"
    file.write_text(f"cluster: {json.dumps(pool | changes)}\n")
    return str(file)


@pytest.fixture(scope="module")
def stack(slurm: SlurmCluster, template: Path) -> Iterator[RunningStack]:
    """A stack whose only workers are those of the cluster."""
    with temporary_folder() as folder:
        made = RunningStack(folder / ".antenna", template=template)
        made.environment |= slurm.environment
        made.environment |= {"ANTENNA_WORKER_POOLS": pools(made, folder)}
        try:
            made.start()
            made.wait_until_ready(timeout=400)
            yield made
        finally:
            made.down()


def heard(stack: RunningStack) -> list[dict[str, Any]]:
    """The workers that are there."""
    return list(json.loads(stack.antenna("workers", "--json").stdout))


def at_work(stack: RunningStack, slurm: SlurmCluster, folder: Path) -> tuple[int, str]:
    """Submit a job to a free cluster, and wait until a worker has its pipeline; the job, and the worker's Slurm job."""
    wait_until(lambda: not slurm.jobs(), description="the cluster is free", timeout=120)
    job = stack.submit(blank_images(folder / "images", 300), "--pipeline", "null", "--config", SLOW)

    def number() -> str | None:
        logs = {number: stack.home.parent / f"worker-{number}.log" for number in slurm.jobs("RUNNING")}
        ready = (number for number, log in logs.items() if log.exists() and "null loaded" in log.read_text())
        return next(ready, None)

    # The pool rests a while if an earlier test ended its workers.
    return job, str(wait_until(number, description="a worker works", timeout=300))


def test_workers_rise_with_the_backlog_and_fall_to_none(
    stack: RunningStack, slurm: SlurmCluster, tmp_path: Path
) -> None:
    job = stack.submit(blank_images(tmp_path / "images", 400), "--pipeline", "null", "--config", SLOW)
    # 80 s of work in half a minute take more workers than there are GPUs: the others wait in Slurm's queue.
    wait_until(lambda: "PENDING" in slurm.jobs().values(), description="a job waits for a GPU", timeout=120)
    wait_until(lambda: len(heard(stack)) == 2, description="two workers are heard", timeout=120)
    assert {one["worker"].rpartition("-")[0] for one in heard(stack)} == {"cluster"}
    shown = stack.antenna("scale", "--dry-run").stdout
    assert "cluster" in shown
    assert (done := stack.wait_for(job, timeout=300))["done"] == 400, done
    wait_until(lambda: not slurm.jobs(), description="the cluster is free", timeout=120)
    handed = [file.read_text() for file in stack.home.parent.glob("handed-*")]
    assert handed, "the jobs said what sbatch handed to them"
    assert not [text for text in handed if "ANTENNA_" in text or "DAGSTER_" in text]
    starts = slurm.call("squeue", "--noheader", "--states=all", "--format=%T").split()
    assert "CANCELLED" in starts, "a start that waited was taken back when it was of no use any more"
    assert not set(starts) & {"FAILED", "TIMEOUT", "NODE_FAIL"}, starts


def test_a_node_that_dies_costs_no_image(stack: RunningStack, slurm: SlurmCluster, tmp_path: Path) -> None:
    """Daemon, step and worker are killed together; Slurm lets its job fail or requeues it, and the pool goes on."""
    job = stack.submit(blank_images(tmp_path / "images", 300), "--pipeline", "null", "--config", SLOW)

    def both_work() -> bool:
        return len([one for one in heard(stack) if one["done"]]) == 2

    wait_until(both_work, description="both workers have done an image", timeout=120)
    slurm.kill_node("n0")
    assert stack.wait_for(job, timeout=300)["done"] == 300
    slurm.start_node("n0")
    wait_until(lambda: slurm.states().count("idle") >= 1, description="the node is back", timeout=120)


def test_a_worker_that_is_signalled_hands_back_what_it_has(
    stack: RunningStack, slurm: SlurmCluster, tmp_path: Path
) -> None:
    """By a person, or by preemption."""
    job, number = at_work(stack, slurm, tmp_path)
    slurm.call("scancel", "--signal=TERM", number)
    wait_until(lambda: number not in slurm.jobs(), description="its job is over", timeout=60)
    assert slurm.jobs("all")[number] == "COMPLETED"
    assert stack.wait_for(job, timeout=300)["done"] == 300


def test_a_requeued_worker_begins_anew(stack: RunningStack, slurm: SlurmCluster, tmp_path: Path) -> None:
    """As by preemption with `PreemptMode=REQUEUE`: the job is ended, and waits in the queue again."""
    job, number = at_work(stack, slurm, tmp_path)
    slurm.call("scontrol", "requeue", number)
    assert (done := stack.wait_for(job, timeout=400))["done"] == 300, done
    assert "Restarts=1" in slurm.call("scontrol", "show", "job", number)


def test_a_time_limit_drains_a_worker(stack: RunningStack, slurm: SlurmCluster, tmp_path: Path) -> None:
    """SIGTERM comes 45 s before the end of a minute."""
    job, number = at_work(stack, slurm, tmp_path)
    slurm.call("scontrol", "update", f"JobId={number}", "TimeLimit=1")
    wait_until(lambda: number not in slurm.jobs(), description="its job is over", timeout=120)
    assert slurm.jobs("all")[number] == "COMPLETED"
    assert stack.wait_for(job, timeout=300)["done"] == 300


def test_workers_go_on_while_the_controller_is_dead(stack: RunningStack, slurm: SlurmCluster, tmp_path: Path) -> None:
    job, _ = at_work(stack, slurm, tmp_path)
    slurm.kill_controller()
    before = int(stack.job(job)["done"])
    wait_until(lambda: int(stack.job(job)["done"]) > before, description="images are done", timeout=120)
    assert stack.antenna("scale", "--dry-run").returncode == 0, "a Slurm that does not answer is not an error"
    slurm.start_controller()
    assert stack.wait_for(job, timeout=300)["done"] == 300
    wait_until(lambda: not slurm.jobs(), description="the cluster is free", timeout=120)
