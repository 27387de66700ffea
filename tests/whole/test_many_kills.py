"""Fifty jobs, while a process drawn by chance is killed again and again."""

from __future__ import annotations

import asyncio
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.recoveries import Recovery
from tests.waiting import lasts
from tests.whole.machine import PARTS, Machine
from tests.whole.seeds import SEED

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(3000)]

JOBS = 50
IMAGES = 20
KILLS = 15


def test_fifty_jobs_outlive_random_kills(machine: Machine) -> None:
    dice = random.Random(f"kills {SEED}")
    machine.up()
    images = machine.images(IMAGES)
    config = json.dumps({"delay_ms": 20})

    def submit(_: int) -> None:
        machine.repeat("submit", str(images), "--pipeline", "null", "--reprocess", "--config", config)

    story: list[str] = []
    try:
        with ThreadPoolExecutor(2) as pool:
            submitted = pool.map(submit, range(JOBS))
            for _ in range(KILLS):
                asyncio.run(lasts(dice.uniform(2, 10)))
                name = dice.choice(PARTS)
                if machine.has(name):
                    story.append(name)
                    machine.kill(name)
                    machine.up_again_if_ended(name)
            struck = time.monotonic()
            assert len(list(submitted)) == JOBS
        jobs = _jobs(machine)
        assert len(jobs) >= JOBS
        ended = [machine.ends(job) for job in jobs]
        clean = machine.is_clean(*jobs[-3:])
    except BaseException as error:
        raise AssertionError(f"CHAOS_SEED={SEED}: killed {', '.join(story)}\n{error}") from error
    fault = f"{JOBS} jobs and {len(story)} kills, seed {SEED}: from the last kill"
    machine.recoveries.append(Recovery(fault, max(ended) - struck, clean=clean - struck))


def _jobs(machine: Machine) -> list[int]:
    with machine.catalog() as connection:
        return [job for (job,) in connection.execute("SELECT job_id FROM jobs ORDER BY job_id")]
