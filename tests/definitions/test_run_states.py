"""Which runs are taken for dead, and who ends them."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import kernel, settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.processing.run_heartbeat import beating
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.resources import run_states
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.lost_runs import lost_runs
from antenna_orchestration.sensors.worker_autoscaler import worker_autoscaler
from tests.processing.jobs_by_hand import make_job
from tests.waiting import wait_until

T = TypeVar("T")

GONE = " ".join([kernel.this_process().split()[0], "1", *kernel.this_process().split()[2:]])
"""A process of this machine that has ended."""
ELSEWHERE = "17 4711 pid:[1] another-machine"


def ask(wanted: settings.Settings, act: Callable[[Services], Awaitable[T]]) -> T:
    async def main() -> T:
        async with opened(wanted) as services:
            return await act(services)

    return asyncio.run(main())


def started(instance: dg.DagsterInstance, job: str, *, process: str, since: float = 0.0) -> dg.DagsterRun:
    """A run that has been STARTED for `since` seconds."""
    definition = build_definitions().resolve_job_def(job)
    run = instance.create_run_for_job(definition, status=dg.DagsterRunStatus.STARTING, tags={tags.PROCESS: process})
    instance.handle_new_event(_begin(run, time.time() - since))
    return run


def _begin(run: dg.DagsterRun, at: float) -> dg.EventLogEntry:
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name)
    return dg.EventLogEntry(
        error_info=None, level=20, user_message="", run_id=run.run_id, timestamp=at, job_name=run.job_name,
        dagster_event=event,
    )  # fmt: skip


def tick(instance: dg.DagsterInstance, cursor: str | None = None) -> str | None:
    """One tick of the sensor; its cursor."""
    with dg.build_sensor_context(
        instance=instance, resources={"stores": Stores()}, definitions=build_definitions(), cursor=cursor
    ) as context:
        result = lost_runs(context)
    assert isinstance(result, dg.SensorResult), result
    return result.cursor


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.mark.parametrize(
    ("process", "silent_for", "since", "dead"),
    [
        (GONE, 0.0, 1.0, True),
        (GONE, None, 1.0, True),
        (kernel.this_process(), 0.0, 1000.0, False),
        (kernel.this_process(), 50.0, 1000.0, True),
        (ELSEWHERE, 40.0, 1000.0, False),
        (ELSEWHERE, 50.0, 1000.0, True),
        ("", None, 50.0, False),
        ("", None, 70.0, True),
    ],
    # A process's name differs from one test process to the next.
    ids=["gone", "gone, unheard", "here", "here, silent", "elsewhere", "elsewhere, silent", "young", "never heard"],
)
def test_a_run_is_alive_as_long_as_it_is_heard(
    instance: dg.DagsterInstance, process: str, silent_for: float | None, since: float, dead: bool
) -> None:
    run = started(instance, "prune_history", process=process, since=since)
    record = instance.get_run_record_by_id(run.run_id)
    assert record
    assert bool(run_states.why_dead(record, silent_for)) is dead


@pytest.mark.parametrize("job", ["process_job", "inference_worker", "jobs_health_check"])
def test_a_run_whose_process_is_gone_is_ended_whatever_it_ran(
    wanted: settings.Settings, instance: dg.DagsterInstance, job: str
) -> None:
    lost = started(instance, job, process=GONE)
    living = started(instance, job, process=kernel.this_process())
    ask(wanted, lambda services: services.catalog.runs.beat(lost.run_id))
    tick(instance)
    assert status_of(instance, lost) is dg.DagsterRunStatus.FAILURE
    assert status_of(instance, living) is dg.DagsterRunStatus.STARTED
    tick(instance)
    assert lost.run_id not in ask(wanted, lambda services: services.catalog.runs.silent_for())


def test_runs_of_other_projects_are_left_alone(wanted: settings.Settings, instance: dg.DagsterInstance) -> None:
    @dg.job
    def of_somebody_else() -> None: ...

    run = instance.create_run_for_job(of_somebody_else, status=dg.DagsterRunStatus.STARTING)
    instance.handle_new_event(_begin(run, time.time() - 3600))
    tick(instance)
    assert status_of(instance, run) is dg.DagsterRunStatus.STARTED


def test_a_heartbeat_lasts_as_long_as_the_outermost_block(wanted: settings.Settings) -> None:
    def silence() -> float | None:
        return ask(wanted, lambda services: services.catalog.runs.silent_for()).get("outer-and-inner")

    with beating(wanted.database_url, "outer-and-inner"):
        with beating(wanted.database_url, "outer-and-inner"):
            wait_until(lambda: silence() is not None, description="the first heartbeat")
        before = silence()
        assert before is not None
        wait_until(lambda: (silence() or 99) < 4, description="a heartbeat after the inner block")
    ask(wanted, lambda services: services.catalog.runs.forget(["outer-and-inner"]))
    assert silence() is None


def test_a_stale_worker_run_does_not_keep_the_next_from_starting(
    wanted: settings.Settings, instance: dg.DagsterInstance, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(wanted, lambda services: make_job(services, project, 1, priority=10))

    def answer() -> list[dg.RunRequest] | dg.SkipReason:
        with dg.build_sensor_context(
            instance=instance, resources={"stores": Stores()}, definitions=build_definitions()
        ) as context:
            return worker_autoscaler(context)

    def requested() -> bool:
        return isinstance(answer(), list)

    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "torch", None)
        refused = answer()
        assert isinstance(refused, dg.SkipReason), "a worker that cannot work was started"
        assert "PyTorch is not installed here" in (refused.skip_message or "")
    stale = started(instance, "inference_worker", process=GONE, since=300)
    assert requested(), "a run that nobody hears counted as a worker"
    instance.report_run_failed(stale)
    started(instance, "inference_worker", process=kernel.this_process())
    assert not requested(), "a worker that was started just now did not count"


def test_a_suspended_machine_takes_no_run_for_dead_at_once() -> None:
    """A laptop that was closed for an hour: all heartbeats are an hour old until the next ones, seconds later."""
    wall, steady = 1_000_000.0, 500.0
    silence = run_states.Silence(wall=lambda: wall, steady=lambda: steady)
    assert silence.counts()
    wall, steady = wall + 3605.0, steady + 5.0
    assert not silence.counts()
    wall, steady = wall + 10.0, steady + 10.0
    assert not silence.counts(), "they have had no time to be heard"
    wall, steady = wall + 5.0, steady + 5.0
    assert silence.counts()


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-5000, 5000)), max_size=30))
def test_silence_counts_again_once_the_clock_is_steady(steps: list[tuple[float, float]]) -> None:
    wall = steady = 0.0
    silence = run_states.Silence(wall=lambda: wall, steady=lambda: steady)
    for seconds, jump in steps:
        wall, steady = wall + seconds + jump, steady + seconds
        counts = silence.counts()
        assert not (counts and jump > run_states.JUMP + 1)
    wall, steady = wall + run_states.HEARD_AGAIN, steady + run_states.HEARD_AGAIN
    assert silence.counts()
