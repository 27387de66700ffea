"""A whole machine under faults drawn by chance, for ten minutes or as long as one likes. What fails prints its seed:

CHAOS_SEED=1234 CHAOS_SECONDS=3600 .venv/bin/python -m pytest tests/whole/test_soak.py
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from tests.chaos.wall_clock import Jumper, jumping
from tests.recoveries import Recovery
from tests.small_disks import no_room_for
from tests.waiting import lasts, wait_until
from tests.whole.machine import PARTS, PATIENCE, Machine
from tests.whole.seeds import SEED
from tests.whole.test_disk import lose_the_parts, lose_the_queue, truncate_the_queue
from tests.whole.test_ports import strangers_at, tells_who_took
from tests.whole.test_ui import delete_the_partition, delete_the_run, set_sensor, wipe_the_assets

SECONDS = float(os.environ.get("CHAOS_SECONDS", "600"))

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(2 * SECONDS + 1800)]


@dataclass
class Round:
    """Some jobs, and what befalls them."""

    machine: Machine
    dice: random.Random
    clock: Jumper | None
    jobs: list[int]
    story: list[str] = field(default_factory=list)
    unwanted: set[int] = field(default_factory=set)
    """Jobs that may be canceled, because somebody did not want a run of theirs any more."""

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

    def kill_the_supervisor(self) -> None:
        self.story.append("kill supervisor, and up")
        self._kill("supervisor")

    def power_loss_and_strangers(self) -> None:
        """Somebody else has the ports for as long as the machine takes to start."""
        names = self.dice.sample(("ui", "gateway", "postgres", "nats", "redis", "grpc"), self.dice.randint(1, 3))
        self.story.append(f"power loss, strangers at the ports of {' and '.join(names)}")
        ports = self.machine.status().ports
        self.machine.power_loss()
        with strangers_at(ports[name] for name in names):
            self.machine.up()
        tells_who_took(self.machine, ports, names)

    def no_room(self) -> None:
        """A disk that is full for one process, which needs no rights; processes that fork others are left out."""
        name, seconds = self.dice.choice(("nats", "collector")), self.dice.uniform(3, 20)
        self.story.append(f"no room for {name} for {seconds:.0f} s")
        if not self.machine.has(name):
            return
        try:
            with no_room_for(self.machine.part(name).pid):
                asyncio.run(lasts(seconds))
        except psutil.NoSuchProcess:
            self.story.append("which has ended")

    def clock_jumps(self) -> None:
        """Forward if it is right, and else back."""
        hours = self.dice.choice((1, 2))
        if self.clock is None:
            self.story.append(f"no clock that could jump by {hours} h: there is no C compiler")
            return
        ahead = 0 if self.clock.seconds else hours
        self.story.append(f"the clock jumps, and is {ahead} h ahead")
        self.clock.jump(ahead * 3600)

    def restart(self) -> None:
        self.story.append("Ctrl-C and up")
        self.machine.down()
        self.machine.up()

    def terminate(self) -> None:
        """Send a run its SIGTERM, which leaves its job to the sensor."""
        self.story.append("SIGTERM to the collector")
        if self.machine.has("collector"):
            self.machine.part("collector").send_signal(signal.SIGTERM)

    def terminate_in_the_ui(self) -> None:
        """*Terminate* on the newest run of a job, perhaps by force: it cancels the job if it is its only one."""
        job, force = self.job, self.dice.choice((False, True))
        self.story.append(f"terminate the run of {job}{' by force' if force else ''}")
        self.unwanted.add(job)

        def click() -> None:
            for run in self.machine.runs_of(job, over=False)[:1]:
                self.machine.terminate(run, force=force)

        self._ui(click)

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
            self.unwanted.add(job)

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
    Round.kill_the_supervisor,
    Round.power_loss_and_strangers,
    Round.no_room,
    Round.clock_jumps,
    Round.restart,
    Round.terminate,
    Round.terminate_in_the_ui,
    Round.cancel_and_retry,
    Round.delete,
    Round.sensors_off,
)


@pytest.fixture
def clock() -> Iterator[Jumper | None]:
    """A clock that can be moved, where one can be made; what is drawn is the same without."""
    if shutil.which("cc") is None:
        yield None
        return
    with jumping() as made:
        yield made


def test_a_machine_under_faults_by_chance(machine: Machine, clock: Jumper | None) -> None:
    if clock:
        machine.environment |= clock.environment_of_a_stack
    dice = random.Random(SEED)
    end = time.monotonic() + SECONDS
    rounds = 0
    story: list[str] = []
    machine.up()
    try:
        while time.monotonic() < end:
            sizes = [dice.randint(5, 200) for _ in range(dice.randint(1, 3))]
            story.append(f"jobs of {sizes} images")
            this = Round(
                machine, dice, clock, [_submit(machine, size, dice.choice((0, 20, 100))) for size in sizes], story
            )
            for fault in dice.choices(FAULTS, k=dice.randint(1, 3)):
                asyncio.run(lasts(dice.uniform(0, 6)))
                fault(this)
            since = time.monotonic()
            for job in this.unwanted:
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
