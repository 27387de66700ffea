"""S6: a job that waits for a worker keeps no other job from running."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from antenna_orchestration import settings
from antenna_orchestration.domain import messages
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.processing import collect
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import interruptible
from tests.definitions.runs_by_hand import RunsByHand, runs_by_hand

pytestmark = pytest.mark.long

INSTANCE = Path(__file__).parents[2] / "dagster.yaml"


@pytest.fixture
def runs(
    wanted: settings.Settings, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunsByHand]:
    monkeypatch.setattr(interruptible, "STATUS_EVERY", 0.2)
    monkeypatch.setattr(collect, "GIVE_WAY_AFTER", 0.0)
    monkeypatch.setattr(collect, "CHECK_EVERY", 0.2)
    with runs_by_hand(wanted, tmp_path / "dagster", project, 4) as runs:
        yield runs


def another_waits(runs: RunsByHand, **its_tags: str) -> dg.DagsterRun:
    """A run in the run queue, of another job unless the tags say otherwise."""
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name=tags.LOCATION)
    return runs.instance.create_run_for_job(
        runs.process_job,
        status=dg.DagsterRunStatus.QUEUED,
        tags={tags.ROLE: tags.COLLECTOR_SMALL, **its_tags},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "process_job"),
    )


@pytest.mark.slow
def test_a_run_without_results_makes_room_and_comes_back(runs: RunsByHand) -> None:
    """S6: it ends in order, its job stays RUNNING, and the next result launches another run."""
    another_waits(runs)
    (first,) = runs.tick()
    runs.begin(first)
    runs.ended(first)
    assert runs.run(first).status is dg.DagsterRunStatus.CANCELED
    runs.tell_of(first)
    assert runs.job().status is JobStatus.RUNNING
    # However often the sensor looks, without a result there is nothing to launch, and nothing to complain of.
    assert runs.tick() == runs.tick() == []
    assert runs.job_id not in [job.job_id for job in runs.do(_abandoned)]
    assert runs.work(1, wait=10.0) == 1
    (second,) = runs.tick()
    assert runs.run(second).tags[tags.LAUNCH] == "2"
    runs.begin(second)
    runs.bring_to_its_end()
    runs.check_every_image_once()
    actions = runs.do(lambda services: services.catalog.job_log.newest(runs.job_id, 100))
    assert {"awaits_results", "relaunched"} <= {line.action for line in actions}


def test_a_job_whose_worker_left_makes_room(runs: RunsByHand) -> None:
    """S6: what a worker handed back, or held when it died, the queue counts as leased until the next one comes."""
    (first,) = runs.tick()
    assert runs.hand_back(1) == 1
    another_waits(runs)
    runs.begin(first)
    runs.ended(first)
    assert runs.run(first).status is dg.DagsterRunStatus.CANCELED
    assert runs.tick() == []
    assert runs.work(1, wait=10.0) == 1
    (second,) = runs.tick()
    runs.begin(second)
    runs.bring_to_its_end()
    runs.check_every_image_once()


@pytest.mark.slow
def test_a_job_whose_tasks_a_worker_takes_gets_its_run_back(runs: RunsByHand) -> None:
    """S6: if nobody may load its images no result comes, and its collector has to tell the workers of those done."""
    another_waits(runs)
    (first,) = runs.tick()
    runs.begin(first)
    runs.ended(first)
    job = runs.job()
    runs.do(lambda services: services.heartbeats.beat(_heartbeat(job)))
    assert runs.tick() == []
    assert runs.hand_back(1) == 1
    (second,) = runs.tick()
    runs.do(lambda services: services.heartbeats.leave(job.project))
    runs.begin(second)
    runs.bring_to_its_end()


def _heartbeat(job: Job) -> messages.Heartbeat:
    now = datetime.now(UTC)
    return messages.Heartbeat(
        worker=job.project, host="here", pid=1, device="cpu", pipelines=(job.pipeline,), reaches=("*",),
        started_at=now, at=now,
    )  # fmt: skip


async def _abandoned(services: Services) -> Sequence[Job]:
    return await services.catalog.jobs.suspects(claimed_for=0, silent_for=0)


@pytest.mark.slow
def test_a_job_whose_queue_is_gone_gets_its_run_back(runs: RunsByHand) -> None:
    """S6: what the queue lost while no run collects is published again by the next one."""
    another_waits(runs)
    (first,) = runs.tick()
    runs.begin(first)
    runs.ended(first)
    job = runs.job()
    runs.do(lambda services: services.queue.close(job.pipeline, job.job_run))
    (second,) = runs.tick()
    runs.begin(second)
    runs.bring_to_its_end()
    runs.check_every_image_once()


def test_runs_with_results_to_collect_begin_before_those_without(runs: RunsByHand) -> None:
    """S6: or a job would wait behind hundreds that wait for a worker, as long as these take to make room."""
    (first,) = runs.tick()
    other = another_waits(runs)
    waiting = another_waits(runs, **{**runs.run(first).tags, "dagster/priority": "1"})
    runs.tick()
    assert runs.run(waiting.run_id).tags["dagster/priority"] == "1"
    assert runs.work(1, wait=10.0) == 1
    runs.tick()
    assert runs.run(waiting.run_id).tags["dagster/priority"] == "500"
    assert "dagster/priority" not in runs.run(other.run_id).tags


def test_a_run_that_a_person_launched_stays(runs: RunsByHand) -> None:
    """S6: as does the run of `dagster job execute`, whose caller waits for the end of the job."""
    another_waits(runs)
    run = runs.launch(tags={tags.ROLE: tags.COLLECTOR_SMALL})
    runs.begin(run)
    runs.bring_to_its_end()
    assert runs.run(run).status is dg.DagsterRunStatus.SUCCESS


def test_no_project_can_take_all_places_of_a_role() -> None:
    """S6: every role of collectors has a limit for each project that is below its limit for all."""
    limits = yaml.safe_load(INSTANCE.read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    for role in (tags.COLLECTOR_BULK, tags.COLLECTOR_SMALL, tags.COLLECTOR_INTERACTIVE):
        [of_all] = [one["limit"] for one in limits if one["value"] == role]
        [of_one] = [one for one in limits if one["key"] == tags.share_of(role)]
        assert of_one["value"] == {"applyLimitPerUniqueValue": True}
        assert of_one["limit"] * 2 <= of_all
