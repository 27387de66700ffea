"""Five bad pipelines beside the default one in a whole stack: its job is done, and theirs say what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antenna_orchestration.synthetic import captures
from tests.stack.antenna_up import RunningStack
from tests.waiting import wait_until
from tests.worker import bad_pipelines
from tests.worker.bad_pipelines import BROKEN, CRASHING, HANGING, LEAKING, LYING

PHOTOGRAPHS = 8


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_five_bad_pipelines_cost_the_default_one_no_image(own_stack_process: RunningStack, tmp_path: Path) -> None:
    running = own_stack_process
    lab, trap = tmp_path / "lab", tmp_path / "trap"
    lab.mkdir()
    trap.mkdir()
    for number in range(PHOTOGRAPHS):
        (trap / f"2026061200{number:02d}00.jpg").write_bytes(captures.draw_capture(number, 640, 480)[0])
    for one in bad_pipelines.ALL:
        one.write(lab)
    running.environment |= {
        "ANTENNA_PIPELINE_PATHS": str(lab),
        # No second worker, which would serve the default pipeline alone.
        "ANTENNA_AUTOSCALE_MAX_WORKERS": "1",
        "ANTENNA_WORKER_IDLE_EXIT": "600",
        "ANTENNA_TASK_TIMEOUT": "30",
        "ANTENNA_WORKER_PROCESSES": "5",
        "ANTENNA_WORKER_PROCESS_MB": "600",
        "ANTENNA_DEVICE": "cpu",
    }
    running.up()
    bad = {one.slug: running.submit(trap, "--pipeline", one.slug) for one in bad_pipelines.ALL}
    default = running.submit(trap)
    shown = running.wait_for(default, timeout=600)
    assert (shown["done"], shown["failed"]) == (PHOTOGRAPHS, 0)

    # Those that give results are over; each image of the one that lies failed with what it said.
    assert running.wait_for(bad[LEAKING.slug], timeout=600)["done"] == PHOTOGRAPHS
    lied = running.wait_for(bad[LYING.slug], "FAILURE", timeout=600)
    assert lied["failed"] == PHOTOGRAPHS
    told = {
        BROKEN.slug: "No module named 'a_package_that_is_not_installed'",
        CRASHING.slug: "killed by SIGSEGV",
        HANGING.slug: "no progress for 30 s",
        LYING.slug: "score is nan",
    }
    for slug, reason in told.items():
        wait_until(
            lambda slug=slug, reason=reason: reason in _log(running, bad[slug]),  # type: ignore[misc]
            description=f"the log of the job of {slug} tells {reason!r}",
            timeout=600,
            poll=2.0,
        )
    for slug in (BROKEN.slug, CRASHING.slug, HANGING.slug):
        wait_until(
            lambda slug=slug: told[slug] in _failing(running).get(slug, ""),  # type: ignore[misc]
            description=f"antenna workers tells why {slug} is not served",
            timeout=600,
            poll=2.0,
        )


def _log(running: RunningStack, job: int) -> str:
    return " ".join(running.antenna("jobs", "logs", str(job)).stdout.split())


def _failing(running: RunningStack) -> dict[str, str]:
    """What `antenna workers` says of pipelines that are not served, over all workers."""
    workers = json.loads(running.antenna("workers", "--json").stdout)
    return {slug: reason for worker in workers for slug, reason in (worker.get("failing") or {}).items()}
