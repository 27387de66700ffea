"""The main job as a user sees it: the command line, the Dagster instance, `dagster job execute`."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest
import requests

from tests.stack.antenna_up import RunningStack, blank_images
from tests.waiting import wait_until

pytestmark = pytest.mark.long

ASSETS = ("manifest", "image_tasks", "captures", "detections", "classifications", "failed_images", "job_report",
          "observations", "tracks", "nights", "counts")  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return blank_images(tmp_path / "trap", 40)


def images_in(lake: str, job: int, table: str) -> list[int]:
    folder = f"{lake}/{table}/job_id={job}"
    return list(pyarrow.dataset.dataset(folder).to_table(columns=["image_id"]).column("image_id").to_pylist())


def test_submit_and_wait(running: RunningStack, images: Path) -> None:
    done = running.antenna("submit", str(images), "--pipeline", "null", "--wait", "--json")
    shown = json.loads(done.stdout)
    assert (shown["status"], shown["total"], shown["done"], shown["failed"]) == ("SUCCESS", 40, 40, 0)
    assert shown["detections"] == len(images_in(shown["lake"], shown["job_id"], "detections"))
    assert len(set(images_in(shown["lake"], shown["job_id"], "captures"))) == 40

    key = f"job-{shown['job_id']}"
    run = running.run_over(shown["job_id"])
    assert run["status"] == "SUCCESS"
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    assert tags["antenna/progress"] == "40/40, done" and tags["antenna/role"] == "collector-small"
    lines = [event["message"] for event in run["eventConnection"]["events"] if event]
    assert len(lines) < 200, "events are milestones, not images"
    materialized = running.graphql(
        """query ($keys: [AssetKeyInput!], $partitions: [String!]) { assetNodes(assetKeys: $keys) {
               assetMaterializations(partitions: $partitions) { assetKey { path } metadataEntries { label } } } }""",
        keys=[{"path": [name]} for name in ASSETS],
        partitions=[key],
    )["assetNodes"]
    assert all(node["assetMaterializations"] for node in materialized)

    again = json.loads(running.antenna("submit", str(images), "--pipeline", "null", "--wait", "--json").stdout)
    assert (again["status"], again["total"], again["skipped"]) == ("SUCCESS", 0, 40)


def test_the_ui_answers_its_own_pages_alone(running: RunningStack) -> None:
    """S1: any page, and a picture in a text that is shown, could launch, end and wipe."""
    ui = running.joined()["ANTENNA_UI_URL"]
    mutation = "mutation { setAutoMaterializePaused(paused: false) }"
    as_json = {"Content-Type": "application/json"}

    def asked(method: str, url: str = f"{ui}/graphql", **options: Any) -> requests.Response:
        return requests.request(method, url, timeout=60, **options)

    paused = "{ instance { autoMaterializePaused } }"
    before = running.graphql(paused)
    assert asked("GET", params={"query": mutation}).status_code == 405
    assert asked("GET", params={"query": mutation}, headers={"Accept": "image/*"}).status_code == 405
    assert asked("POST", params={"query": mutation}).status_code == 415
    assert asked("POST", json={"query": mutation}, headers={"Origin": "https://evil.example"}).status_code == 403
    refused = asked("POST", json={"query": mutation}, headers={"Host": "evil.example"})
    assert (refused.status_code, refused.text) == (
        403,
        "this UI does not answer as 'evil.example': name the host in ANTENNA_UI_HOSTS\n",
    )
    assert running.graphql(paused) == before
    assert asked("POST", data=json.dumps({"query": paused}), headers={**as_json, "Origin": ui}).json()["data"] == before
    page = asked("GET", f"{ui}/jobs")
    assert page.headers["X-Frame-Options"] == "SAMEORIGIN"
    # Dagster's policy and ours; the browser applies both.
    assert "script-src" in page.headers["Content-Security-Policy"]
    assert "img-src 'self' data: blob:" in page.headers["Content-Security-Policy"]


def test_terminating_the_run_cancels_the_job_and_frees_the_queue(running: RunningStack, images: Path) -> None:
    job = running.submit(images, "--pipeline", "null", "--reprocess", "--config", '{"delay_ms": 2000}')
    run = running.run_of(job)
    answer = running.graphql("mutation ($run: String!) { terminateRun(runId: $run) { __typename } }", run=run["runId"])
    assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess"
    shown = running.wait_for(job, "CANCELED")
    assert shown["status_reason"] == "the run was terminated"

    def is_free() -> bool:
        # What a worker was at when the job was canceled still arrives: a late result, which the health check clears.
        health = json.loads(running.antenna("health", "--json").stdout)
        leftovers = next(result for result in health["checks"] if result["name"] == "leftovers")
        return not [line for line in leftovers["details"] if f"job {job}," in line]

    wait_until(is_free, description="nothing of the job is left on the queue", poll=0.5)


@pytest.mark.slow
def test_a_run_terminated_by_force_and_executed_again_at_once_goes_on(running: RunningStack, images: Path) -> None:
    """As from the UI: from the failure on, so without the asset that publishes."""
    job = running.submit(images, "--pipeline", "null", "--reprocess", "--config", '{"delay_ms": 1000}')
    wait_until(lambda: running.job(job)["done"] > 0, description="the first image is done")
    run = running.run_of(job)["runId"]
    terminated = running.graphql(
        """mutation ($run: String!) { terminateRun(runId: $run, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) {
               __typename } }""",
        run=run,
    )
    assert terminated["terminateRun"]["__typename"] == "TerminateRunSuccess"
    again = running.graphql(
        """mutation ($how: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $how) { __typename } }""",
        how={"parentRunId": run, "strategy": "FROM_FAILURE"},
    )
    assert again["launchRunReexecution"]["__typename"] == "LaunchRunSuccess"
    # For a moment it is canceled: until the second run has taken it up.
    wait_until(lambda: running.job(job)["status"] == "SUCCESS", description=f"job {job} is done", timeout=120)
    shown = running.job(job)
    found = images_in(shown["lake"], job, "detections")
    assert shown["done"] == len(found) == len(set(found)) == 40


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_every_dagster_job_runs_from_the_command_line(running: RunningStack, images: Path, tmp_path: Path) -> None:
    running.execute("jobs_health_check")
    running.execute("prune_history")

    config = tmp_path / "submit.yaml"
    wanted = {"sources": [str(images)], "pipeline": "null", "reprocess": True, "name": "from the command line"}
    config.write_text(json.dumps({"ops": {"submit": {"config": wanted}}}))
    running.execute("submit_job", "-c", str(config))
    job = json.loads(running.antenna("jobs", "list", "--json").stdout)[0]["job_id"]
    imported = ("env", "PYTHONPROFILEIMPORTTIME=1")
    ran = running.execute("process_job", "--tags", json.dumps({"dagster/partition": f"job-{job}"}), prefix=imported)
    assert running.wait_for(job)["done"] == 40
    # A second of CPU and 40 MB, which nothing in a run but the last step may cost (see `lake.arrow`).
    before, _, rest = ran.stderr.partition('Started execution of step "derived_tables"')
    assert re.search(r"\| +pyarrow$", before, re.MULTILINE)
    assert not re.search(r"\| +pandas$", before, re.MULTILINE)
    assert re.search(r"\| +pandas$", rest, re.MULTILINE)

    config.write_text(json.dumps({"ops": {"work": {"config": {"exit_when_idle": 1.0, "pipelines": ["null"]}}}}))
    running.execute("inference_worker", "-c", str(config))

    wanted["sources"] = ["/no/such/folder"]
    config.write_text(json.dumps({"ops": {"submit": {"config": wanted}}}))
    refused = running.execute("submit_job", "-c", str(config), check=False)
    assert refused.returncode == 1 and "/no/such/folder" in refused.stderr
    unknown = running.execute("process_job", "--tags", '{"dagster/partition": "job-999999"}', check=False)
    assert unknown.returncode == 1


@pytest.mark.slow
def test_right_after_submit_the_partition_is_there(running: RunningStack, images: Path) -> None:
    job = running.submit(images, "--pipeline", "null", "--reprocess")
    running.execute("process_job", "--tags", json.dumps({"dagster/partition": f"job-{job}"}))
    assert running.wait_for(job)["done"] == 40
