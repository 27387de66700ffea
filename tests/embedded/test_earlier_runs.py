"""Which runs of an earlier stack end with it, on a real PostgreSQL."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from antenna_orchestration import kernel
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.embedded import prepare
from antenna_orchestration.embedded.dagster_instance import Instance
from antenna_orchestration.processing import scale
from antenna_orchestration.processing.services import Services

pytestmark = pytest.mark.long

Status = dg.DagsterRunStatus

ELSEWHERE = "17 4711 pid:[1] another-machine"
GONE = " ".join([kernel.this_process().split()[0], "1", *kernel.this_process().split()[2:]])
"""A process of this machine that has ended."""


@dg.job
def inference_worker() -> None: ...


def run_of(instance: Instance, status: Status, **its_tags: str) -> str:
    """A run of our code location; underlines in the tags' names stand for strokes."""
    location = GrpcServerCodeLocationOrigin(host="127.0.0.1", port=1, location_name=tags.LOCATION)
    return instance.create_run_for_job(
        inference_worker,
        status=status,
        tags={f"antenna/{name.replace('_', '-')}": value for name, value in its_tags.items()},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), "inference_worker"),
    ).run_id


async def test_slurm_jobs_and_their_starts_outlive_the_stack(own_services: Services, instance: Instance) -> None:
    """All of a cluster's workers were ended at each start, those that waited in its queue among them."""
    starts = own_services.catalog.worker_starts
    await starts.add(scale.HERE, ["here-0000000a", "here-0000000b", "here-0000000c"])
    alive = [
        run_of(instance, Status.STARTED, slurm_job="1", process=ELSEWHERE, worker_start="here-0000000a"),
        run_of(instance, Status.STARTING, slurm_job="2", worker_start="here-0000000b"),
        run_of(instance, Status.CANCELING, slurm_job="3", process=ELSEWHERE),
    ]
    lost = [
        run_of(instance, Status.STARTED, process=ELSEWHERE, worker_start="here-0000000c"),
        # A cluster may be this machine.
        run_of(instance, Status.STARTED, slurm_job="4", process=GONE),
    ]
    await prepare.clear_jobs(own_services.settings, prepare.end_lost_runs(own_services.settings))
    runs = {run.run_id: run.status for run in instance.get_runs()}
    assert [runs[run] for run in alive] == [Status.STARTED, Status.STARTING, Status.CANCELING]
    assert [runs[run] for run in lost] == [Status.FAILURE, Status.FAILURE]
    assert {one.start_id for one in await starts.open()} == {"here-0000000a", "here-0000000b"}
