"""A backup of a stack at work, restored into a new one, as an operator does both."""

import json
from pathlib import Path

import pytest

from tests.stack.antenna_up import RunningStack, blank_images
from tests.stack.test_kills import each_image_once, under_way


@pytest.mark.slow
def test_an_unfinished_job_goes_on_in_the_restored_stack(
    running: RunningStack, own_stack_process: RunningStack, tmp_path: Path
) -> None:
    over = running.submit(blank_images(tmp_path / "over", 20), "--pipeline", "null")
    running.wait_for(over)
    shown, story = running.job(over), running.antenna("jobs", "logs", str(over)).stdout
    slowly = '{"delay_ms": 300}'
    job = running.submit(blank_images(tmp_path / "trap", 120), "--pipeline", "null", "--config", slowly)
    under_way(running, job)
    copy = tmp_path / "copy"
    made = json.loads(running.antenna("backup", str(copy), "--json").stdout)
    # It may be over by now, on a busy machine.
    running.antenna("jobs", "cancel", str(job), check=False)

    refused = running.antenna("restore", str(copy), check=False)
    assert refused.returncode == 4 and "the catalog is not empty" in refused.stderr

    fresh = own_stack_process
    fresh.up()
    # Its worker reaches the files of the other stack's job: the same host.
    assert json.loads(fresh.antenna("restore", str(copy), "--json").stdout) == made
    assert {**fresh.job(over), "lake": ""} == {**shown, "lake": ""}
    assert fresh.antenna("jobs", "logs", str(over)).stdout == story
    assert fresh.job(job)["done"] < 120
    each_image_once(fresh.wait_for(job), 120)
    assert "Restored from a backup" in fresh.antenna("jobs", "logs", str(job)).stdout
