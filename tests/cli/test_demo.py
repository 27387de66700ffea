"""`antenna demo`: from nothing, again, and beside a stack that runs."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from antenna_orchestration.embedded import stack
from antenna_orchestration.pipelines import registry
from tests.cli.shells import ANTENNA
from tests.homes import temporary_folder
from tests.stack.antenna_up import RunningStack


def run_demo(home: Path, *, images: int) -> dict[str, Any]:
    """The demo's outcome."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("ANTENNA_", "DAGSTER_"))}
    done = subprocess.run(
        [*ANTENNA, "demo", "--images", str(images), "--json"],
        env=outside | {"ANTENNA_HOME": str(home), "ANTENNA_UI_PORT": "0", "ANTENNA_GATEWAY_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def check(outcome: dict[str, Any], *, images: int) -> None:
    """Every image is accounted for, and insects were found."""
    assert outcome["complete"] is True
    assert (outcome["status"], outcome["total"], outcome["done"], outcome["failed"]) == ("SUCCESS", images, images, 0)
    assert outcome["pipeline"] == registry.DEFAULT_PIPELINE
    assert outcome["insects_drawn"] > 0
    assert outcome["insects_found"] + outcome["extra_detections"] == outcome["detections"]
    assert outcome["insects_found"] > outcome["insects_drawn"] / 2
    captures = pd.read_parquet(f"{outcome['lake']}/captures", filters=[("job_id", "==", outcome["job_id"])])
    assert (captures["status"] == "done").sum() == images
    assert captures["detections"].sum() == outcome["detections"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_demo_from_nothing() -> None:
    with temporary_folder() as folder:
        check(run_demo(folder / ".antenna", images=3), images=3)
        assert stack.status(folder / ".antenna") is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_demo_again_and_beside_a_running_stack(template: Path) -> None:
    with temporary_folder() as folder:
        first = run_demo(folder / ".antenna", images=3)
        second = run_demo(folder / ".antenna", images=3)
        assert second["job_id"] != first["job_id"]
        check(second, images=3)
    with temporary_folder() as folder:
        running = RunningStack(folder / ".antenna", template=template)
        running.up()
        try:
            check(run_demo(folder / ".antenna", images=3), images=3)
            still = stack.status(folder / ".antenna")
            assert still is not None
            assert still.ready
        finally:
            running.down()
