"""All acts on runs and jobs, in any order that hypothesis finds: whatever was done, the job can be brought to its end.

Each act is checked against the rule of docs/howto/runs.md, as far as it says what the job is right afterwards.
"""

import itertools
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from antenna_orchestration import errors, settings
from antenna_orchestration.domain.job import ACTIVE, JobStatus
from antenna_orchestration.processing import cancel, retry
from antenna_orchestration.resources import interruptible
from tests.definitions.runs_by_hand import RunsByHand, runs_by_hand

IMAGES = 6
MOST_RUNS = 6

_numbers = itertools.count()


class ActsInAnyOrder(RuleBasedStateMachine):
    """One job, the daemon, a worker, and a person with a mouse."""

    wanted: settings.Settings
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        # Runs in the run queue, and all that Dagster knows of.
        self.waiting: list[str] = []
        self.known: list[str] = []

    @initialize()
    def begin(self) -> None:
        number = next(_numbers)
        context = runs_by_hand(self.wanted, self.folder / str(number), f"acts-{number}", IMAGES)
        self.runs: RunsByHand = self.stack.enter_context(context)
        self.tick()

    @rule()
    def tick(self) -> None:
        self._add(self.runs.tick())

    def _add(self, runs: list[str]) -> None:
        self.waiting += runs
        self.known += runs

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def dequeue(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(run)
        self.runs.begin(run)

    @rule(images=st.integers(1, 4))
    def work(self, images: int) -> None:
        self.runs.work(images)

    @precondition(lambda self: self.waiting or self.runs.at_work)
    @rule(force=st.booleans(), data=st.data())
    def terminate(self, force: bool, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from([*self.waiting, *self.runs.at_work]))
        others = {*self.waiting, *self.runs.at_work} - {run}
        before = self.runs.job()
        self.runs.terminate(run, force=force)
        self.waiting = [one for one in self.waiting if one != run]
        after, pending = self.runs.job(), self.runs.counts().pending
        if before.status in ACTIVE and (others or not pending):
            assert after.status is not JobStatus.CANCELED, "it was to go on"
        elif before.status in ACTIVE and before.run_id == run:
            assert after.status is JobStatus.CANCELED, "its only run was terminated"

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.known))
        was_canceled = self.runs.job().status is JobStatus.CANCELED
        self.runs.delete(run)
        self.known.remove(run)
        self.waiting = [one for one in self.waiting if one != run]
        assert (self.runs.job().status is JobStatus.CANCELED) == was_canceled, "deleting says nothing of the job"

    @precondition(lambda self: 0 < len(self.known) < MOST_RUNS)
    @rule(data=st.data())
    def execute_again(self, data: st.DataObject) -> None:
        self._add([self.runs.launch(parent=data.draw(st.sampled_from(self.known)))])

    @precondition(lambda self: len(self.known) < MOST_RUNS)
    @rule()
    def launch(self) -> None:
        self._add([self.runs.launch()])

    @rule()
    def retry(self) -> None:
        try:
            self.runs.do(lambda services: retry.retry(services, self.runs.job_id))
        except errors.Conflict:
            assert not self.runs.job().status.is_terminal

    @rule()
    def cancel(self) -> None:
        if self.runs.do(lambda services: cancel.cancel(services, self.runs.job_id, reason="a person")):
            assert self.runs.job().status is JobStatus.CANCELED

    def teardown(self) -> None:
        with self.stack:
            if hasattr(self, "runs"):
                self._end()

    def _end(self) -> None:
        """The person has gone, and the daemon does the rest; a canceled job is retried once more."""
        for run in self.waiting:
            self.runs.begin(run)
        self.runs.bring_to_its_end()
        if self.runs.job().status is JobStatus.CANCELED:
            self.runs.do(lambda services: retry.retry(services, self.runs.job_id))
            self.runs.bring_to_its_end()
        self.runs.check_every_image_once()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_job_ends_well_after_acts_in_any_order(
    wanted: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruptible, "STATUS_EVERY", 0.2)
    ActsInAnyOrder.wanted, ActsInAnyOrder.folder = wanted, tmp_path
    run_state_machine_as_test(
        ActsInAnyOrder,
        settings=hypothesis_settings(
            max_examples=12,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
