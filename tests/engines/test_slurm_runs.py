"""Runs of workers as jobs of a real Slurm, from the UI: launched, watched, terminated, executed again, lost.

And workers that a person submits, by the script of the page.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.slurm_cluster import SlurmCluster
from tests.homes import temporary_folder
from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PAGE = (Path(__file__).parents[2] / "docs/howto/workers.md").read_text()

SLOW = '{"delay_ms": 200}'

LAUNCH = """mutation ($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
TERMINATE = """mutation ($run: String!, $how: TerminateRunPolicy) {
    terminateRun(runId: $run, terminatePolicy: $how) { __typename
    ... on PythonError { message } ... on TerminateRunFailure { message } } }"""
AGAIN = """mutation ($run: String!) {
    launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
RUN = """query ($run: ID!) { runOrError(runId: $run) { ... on Run { status tags { key value }
    eventConnection { events { ... on MessageEvent { message } ... on LogsCapturedEvent { fileKey } } } } } }"""
LOGS = """query ($key: [String!]!) { capturedLogs(logKey: $key) { stderr } }"""


@pytest.fixture(scope="module")
def stack(slurm: SlurmCluster, template: Path) -> Iterator[RunningStack]:
    """A stack that starts no worker by itself."""
    with temporary_folder() as folder:
        made = RunningStack(folder / ".antenna", template=template)
        made.environment |= slurm.environment
        made.environment |= {"ANTENNA_AUTOSCALE": "0", "ANTENNA_SLURM_OPTIONS": "--gres=gpu:1 --cpus-per-task=1"}
        try:
            made.start()
            made.wait_until_ready(timeout=400)
            yield made
        finally:
            made.down()


def launch(stack: RunningStack) -> str:
    """Launch `inference_worker` as the launchpad does; its run."""
    selector = {"repositoryLocationName": "antenna", "repositoryName": "__repository__", "jobName": "inference_worker"}
    answer = stack.graphql(LAUNCH, parameters={"selector": selector, "runConfigData": "{}"})["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def shown(stack: RunningStack, run: str) -> dict[str, Any]:
    """What the UI shows of a run."""
    found: dict[str, Any] = stack.graphql(RUN, run=run)["runOrError"]
    return {**found, "tags": {tag["key"]: tag["value"] for tag in found["tags"]}}


def said(run: dict[str, Any]) -> str:
    """The messages of a run's events."""
    return " ".join(one.get("message") or "" for one in run["eventConnection"]["events"])


def reaches(stack: RunningStack, run: str, *statuses: str) -> dict[str, Any]:
    """Wait until a run has one of these statuses; what the UI shows then."""

    def there() -> dict[str, Any] | None:
        found = shown(stack, run)
        return found if found["status"] in statuses else None

    return wait_until(there, description=f"run {run} is {statuses}", timeout=180, poll=0.5)


def terminate(stack: RunningStack, run: str, *, how: str = "SAFE_TERMINATE") -> None:
    answer = stack.graphql(TERMINATE, run=run, how=how)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer


def test_runs_of_workers_are_slurm_jobs_from_launch_to_end(
    stack: RunningStack, slurm: SlurmCluster, tmp_path: Path
) -> None:
    runs = [launch(stack) for _ in range(3)]
    wait_until(
        lambda: sorted(slurm.jobs().values()) == ["PENDING", "RUNNING", "RUNNING"], description="two of three run"
    )
    jobs = {run: shown(stack, run)["tags"]["antenna/slurm-job"] for run in runs}
    assert set(jobs.values()) == set(slurm.jobs())

    # A run whose job waits in Slurm's queue is STARTING: the UI offers to mark it as canceled, and the job goes, too.
    waiting = next(run for run, job in jobs.items() if slurm.jobs()[job] == "PENDING")
    assert shown(stack, waiting)["status"] == "STARTING"
    terminate(stack, waiting, how="MARK_AS_CANCELED_IMMEDIATELY")
    wait_until(lambda: slurm.jobs("all")[jobs[waiting]] == "CANCELLED", description="its job is canceled", poll=0.5)
    assert shown(stack, waiting)["status"] == "CANCELED"

    # A job that a person cancels there ends its run, too, if not at once.
    vanished = launch(stack)
    job = wait_until(lambda: shown(stack, vanished)["tags"].get("antenna/slurm-job"), description="submitted", poll=0.5)
    slurm.call("scancel", job)

    # Collectors run where they always did, and the job is done by the workers on Slurm.
    work = stack.submit(blank_images(tmp_path / "images", 300), "--pipeline", "null", "--config", SLOW)

    def at_work() -> list[dict[str, Any]]:
        return [one for one in json.loads(stack.antenna("workers", "--json").stdout) if one["done"]]

    wait_until(lambda: len(at_work()) == 2, description="both work", timeout=180, poll=0.5)
    ending = str(at_work()[0]["run_id"])

    # Terminate drains one that works, and what it had goes to the other one.
    terminate(stack, ending)
    over = reaches(stack, ending, "CANCELED", "FAILURE", "SUCCESS")
    assert over["status"] == "CANCELED"
    wait_until(lambda: jobs[ending] not in slurm.jobs(), description="its Slurm job is over", timeout=60)

    # Executed again, it is another Slurm job; its output is in the UI.
    answer = stack.graphql(AGAIN, run=ending)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    again = str(answer["run"]["runId"])
    number = reaches(stack, again, "STARTED")["tags"]["antenna/slurm-job"]
    assert number not in jobs.values()
    assert slurm.jobs()[number] == "RUNNING"

    def captured() -> list[str]:
        return [one["fileKey"] for one in shown(stack, again)["eventConnection"]["events"] if one.get("fileKey")]

    key = wait_until(captured, description="its output is captured", poll=0.5)[0]
    wait_until(
        lambda: stack.graphql(LOGS, key=[again, "compute_logs", key])["capturedLogs"]["stderr"],
        description="its log is shown", poll=0.5,
    )  # fmt: skip
    assert stack.wait_for(work, timeout=300)["done"] == 300

    assert "its Slurm job ended before the run began" in said(reaches(stack, vanished, "FAILURE"))

    # A controller that is dead ends no run; a process that is killed does.
    slurm.kill_controller()
    slurm.start_controller()
    process = re.search(r"pid: (\d+)", said(shown(stack, again)))
    assert process, "the run says which process it is"
    os.kill(int(process[1]), signal.SIGKILL)
    lost = said(reaches(stack, again, "FAILURE"))
    # Whoever looks first: the sensor on this machine, or Dagster, which asks Slurm.
    assert any(why in lost for why in ("its process is gone", "Slurm job", "not been heard")), lost
    remaining = next(run for run in jobs if run not in (waiting, ending))
    assert shown(stack, remaining)["status"] == "STARTED"
    terminate(stack, remaining)
    assert reaches(stack, remaining, "CANCELED")
    wait_until(lambda: not slurm.jobs(), description="the cluster is free")


def test_the_script_of_the_page_runs_workers(stack: RunningStack, slurm: SlurmCluster, tmp_path: Path) -> None:
    script = PAGE.split("`antenna-workers.sh`:\n\n```bash\n")[1].split("```")[0]
    assert "srun antenna worker --device cuda " in script
    (tmp_path / "antenna-workers.sh").write_text(script.replace("--device cuda", "--device cpu"))
    (tmp_path / "antenna").mkdir()
    (tmp_path / "antenna/.venv").symlink_to(sys.prefix)
    (tmp_path / ".config/antenna").mkdir(parents=True)
    url = stack.joined()["ANTENNA_WORKER_NATS_URL"]
    settings = f"ANTENNA_WORKER_NATS_URL='{url}'\nANTENNA_WORKER_REACHES='file:*'\nANTENNA_TASK_ACK_WAIT=2\n"
    (tmp_path / ".config/antenna/worker").write_text(settings)
    # A machine of two cores has no room for eight workers with eight cores each.
    smaller = ["--array=0-1", "--cpus-per-task=1", "--mem=1G", f"--chdir={tmp_path}"]
    array = slurm.call(
        "env", f"HOME={tmp_path}", "sbatch", "--parsable", *smaller, f"{tmp_path}/antenna-workers.sh"
    ).strip()  # fmt: skip
    try:
        # One that is told to leave while it still starts is ended by the signal.
        wait_until(
            lambda: len(json.loads(stack.antenna("workers", "--json").stdout)) == 2,
            description="both are heard",
            timeout=120,
        )
        job = stack.submit(blank_images(tmp_path / "images", 200), "--pipeline", "null", "--config", SLOW)
        assert stack.wait_for(job, timeout=300)["done"] == 200
    finally:
        slurm.call("scancel", "--signal=TERM", array)
    wait_until(
        lambda: not [job for job in slurm.jobs() if job.startswith(f"{array}_")], description="both have left"
    )  # fmt: skip
    ended = slurm.call("squeue", "--noheader", "--states=all", f"--jobs={array}", "--format=%T").split()
    assert ended == ["COMPLETED", "COMPLETED"]


def test_runs_on_slurm_outlive_a_restart_of_the_stack(stack: RunningStack, slurm: SlurmCluster) -> None:
    """They were ended at each start, those that wait in Slurm's queue among them."""
    working = [launch(stack) for _ in range(2)]
    for run in working:
        reaches(stack, run, "STARTED")
    waiting, canceled = launch(stack), launch(stack)
    wait_until(lambda: len(slurm.jobs("PENDING")) == 2, description="two wait in Slurm's queue")
    job = wait_until(lambda: shown(stack, canceled)["tags"].get("antenna/slurm-job"), description="submitted", poll=0.5)
    stack.down()
    slurm.call("scancel", job)
    stack.start()
    stack.wait_until_ready(timeout=400)
    assert "its Slurm job ended before the run began" in said(reaches(stack, canceled, "FAILURE"))
    assert shown(stack, waiting)["status"] == "STARTING"
    assert [shown(stack, run)["status"] for run in working] == ["STARTED"] * 2
    # One that is killed is still ended, and the one that waits takes its place.
    process = re.search(r"pid: (\d+)", said(shown(stack, working[0])))
    assert process, "the run says which process it is"
    os.kill(int(process[1]), signal.SIGKILL)
    reaches(stack, working[0], "FAILURE")
    reaches(stack, waiting, "STARTED")
    for run in (working[1], waiting):
        terminate(stack, run)
        assert reaches(stack, run, "CANCELED")
    wait_until(lambda: not slurm.jobs(), description="the cluster is free")
