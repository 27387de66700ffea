"""A whole machine under faults drawn by chance, for ten minutes or as long as one likes. What fails prints its seed:

CHAOS_SEED=1234 CHAOS_SECONDS=3600 .venv/bin/python -m pytest tests/whole/test_soak.py
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.recoveries import Recovery
from tests.waiting import lasts, wait_until
from tests.whole.machine import PARTS, PATIENCE, Machine
from tests.whole.seeds import SEED
from tests.whole.test_disk import lose_the_parts, lose_the_queue, truncate_the_queue
from tests.whole.test_ui import delete_the_partition, delete_the_run, set_sensor, wipe_the_assets

SECONDS = float(os.environ.get("CHAOS_SECONDS", "600"))

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 1800)]


@dataclass
class Round:
    """Some jobs, and what befalls them."""

    machine: Machine
    dice: random.Random
    jobs: list[int]
    story: list[str] = field(default_factory=list)
    deleted: set[int] = field(default_factory=set)

    @property
    def job(self) -> int:
        """One of them."""
        return self.dice.choice(self.jobs)

    def kill(self) -> None:
        name = self.dice.choice(PARTS)
        self.story.append(f"kill {name}")
        self._kill(name)

    def kill_two(self) -> None:
        names = self.dice.sample(PARTS, 2)
        self.story.append(f"kill {' and '.join(names)}")
        self._kill(*names)

    def _kill(self, *names: str) -> None:
        there = [name for name in names if self.machine.has(name)]
        self.machine.kill(*there)
        self.machine.up_again_if_ended(*there)

    def stop(self) -> None:
        name, seconds = self.dice.choice(PARTS), self.dice.uniform(3, 40)
        self.story.append(f"stop {name} for {seconds:.0f} s")
        if not self.machine.has(name):
            return
        go_on = self.machine.stop(name)
        try:
            asyncio.run(lasts(seconds))
        finally:
            go_on()
        self.machine.up_again_if_ended()

    def power_loss(self) -> None:
        self.story.append("power loss")
        self.machine.power_loss()
        self.machine.up()

    def power_loss_and_damage(self) -> None:
        damage = self.dice.choice([truncate_the_queue, lose_the_queue, lose_the_parts])
        self.story.append(f"power loss, {damage.__name__}")
        self.machine.power_loss()
        if damage is not lose_the_parts or (self.machine.home / "lake" / "_parts").exists():
            damage(self.machine)
        self.machine.up()

    def restart(self) -> None:
        self.story.append("Ctrl-C and up")
        self.machine.down()
        self.machine.up()

    def terminate(self) -> None:
        """Send a run its SIGTERM, which leaves its job to the sensor."""
        self.story.append("SIGTERM to the collector")
        if self.machine.has("collector"):
            self.machine.part("collector").send_signal(signal.SIGTERM)

    def cancel_and_retry(self) -> None:
        job = self.job
        self.story.append(f"cancel and retry {job}")
        self.machine.antenna("jobs", "cancel", str(job), check=False)
        if self.machine.progress(job).status == "CANCELED":
            self.machine.repeat("jobs", "retry", str(job))

    def delete(self) -> None:
        deed = self.dice.choice([delete_the_partition, delete_the_run, wipe_the_assets])
        job = self.job
        self.story.append(f"{deed.__name__} of {job}")
        self._ui(lambda: deed(self.machine, job))
        if deed is delete_the_run:
            # Which cancels it, if it runs: somebody did not want it any more.
            self.deleted.add(job)

    def sensors_off(self) -> None:
        name = self.dice.choice(SENSORS)
        self.story.append(f"{name} off for a while")
        self._ui(lambda: set_sensor(self.machine, name, on=False))
        asyncio.run(lasts(self.dice.uniform(5, 20)))
        self._ui(lambda: set_sensor(self.machine, name, on=True))

    def _ui(self, click: Callable[[], None]) -> None:
        """Click until the page answers: the webserver may be starting."""

        def done() -> bool:
            try:
                click()
            except (OSError, AssertionError):
                return False
            return True

        wait_until(done, description=f"the UI did it: {self.story[-1]}", timeout=120, poll=1.0)


SENSORS = ("queued_jobs", "worker_autoscaler", "job_run_status")

FAULTS: tuple[Callable[[Round], None], ...] = (
    Round.kill,
    Round.kill,
    Round.kill_two,
    Round.stop,
    Round.power_loss,
    Round.power_loss_and_damage,
    Round.restart,
    Round.terminate,
    Round.cancel_and_retry,
    Round.delete,
    Round.sensors_off,
)


def test_a_machine_under_faults_by_chance(machine: Machine) -> None:
    dice = random.Random(SEED)
    end = time.monotonic() + SECONDS
    rounds = 0
    story: list[str] = []
    machine.up()
    try:
        while time.monotonic() < end:
            sizes = [dice.randint(5, 200) for _ in range(dice.randint(1, 3))]
            story.append(f"jobs of {sizes} images")
            this = Round(machine, dice, [_submit(machine, size, dice.choice((0, 20, 100))) for size in sizes], story)
            for fault in dice.choices(FAULTS, k=dice.randint(1, 3)):
                asyncio.run(lasts(dice.uniform(0, 6)))
                fault(this)
            since = time.monotonic()
            for job in this.deleted:
                over = machine.until(job, lambda now: now.is_over, description="is over", timeout=PATIENCE)
                if over.status == "CANCELED":
                    machine.repeat("jobs", "retry", str(job))
            ended = [machine.ends(job) for job in this.jobs]
            clean = machine.is_clean(*this.jobs)
            story.append(f"over after {max(ended) - since:.0f} s, clean after {clean - since:.0f} s")
            rounds += 1
    except BaseException as error:
        said = "\n".join(story)
        raise AssertionError(f"CHAOS_SEED={SEED}\n{said}\n{error}") from error
    machine.recoveries.append(Recovery(f"soak of {SECONDS:.0f} s: {rounds} rounds, seed {SEED}", 0.0, clean=0.0))


def _submit(machine: Machine, images: int, delay_ms: int) -> int:
    config = json.dumps({"delay_ms": delay_ms})
    folder = machine.images(images)
    typed = machine.repeat("submit", str(folder), "--pipeline", "null", "--config", config, "--json")
    return int(json.loads(typed.stdout)["job_id"])
