"""The Dagster job that runs a worker: on this machine, on a GPU host behind gRPC, or by `dagster job execute`."""

import threading
from typing import Final

import dagster as dg
from pydantic import Field

from antenna_orchestration import settings
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.jobs.refusals import check_range, told_in_one_line
from antenna_orchestration.pipelines import torch_installed
from antenna_orchestration.resources.interruptible import run_interruptible_blocking
from antenna_orchestration.worker import main as engine
from antenna_orchestration.worker.options import WorkerOptions, WorkerSummary

_YEAR: Final = 366 * 24 * 3600
"""In seconds."""


class WorkerConfig(dg.Config):
    """What the worker does; the device and the limits are its host's `ANTENNA_*` settings unless given here."""

    pipelines: list[str] = Field(default=[], description="Slugs of the pipelines to serve; not given: all.")
    device: str | None = Field(
        default=None, description="auto, cpu, cuda or cuda:N; not given: the host's ANTENNA_DEVICE."
    )
    batch_size: int | None = Field(
        default=None,
        description="Images per inference batch, 0 to 10,000, where 0 is the pipeline's own choice; not given: the "
        "host's ANTENNA_BATCH_SIZE.",
    )
    name: str | None = Field(
        default=None, description="Name that no other worker has; not given: from host and process id."
    )
    exit_when_idle: float | None = Field(
        default=None, description="Leave after this many seconds without work; not given: stay for max_lifetime."
    )
    max_lifetime: float = Field(
        default=4 * 3600.0,
        description="Finish what is leased and leave after this many seconds; a worker that is still needed is "
        "started again.",
    )


@dg.op
def work(context: dg.OpExecutionContext, config: WorkerConfig) -> None:
    """Lease, infer and report until idle, until the lifetime is over, or until the run is terminated."""
    with told_in_one_line():
        check_range("batch_size", config.batch_size, 0, 10_000)
        check_range("exit_when_idle", config.exit_when_idle, 0, _YEAR)
        check_range("max_lifetime", config.max_lifetime, 1, _YEAR)
        if not config.pipelines:
            torch_installed.check()
    options = WorkerOptions(
        pipelines=tuple(config.pipelines),
        device=config.device,
        batch_size=config.batch_size,
        exit_when_idle=config.exit_when_idle,
        max_lifetime=config.max_lifetime,
        name=config.name,
    )

    def body(stop: threading.Event) -> WorkerSummary:
        return engine.run(settings.get(), options, should_stop=stop.is_set, run_id=context.run.run_id)

    with told_in_one_line():
        summary = run_interruptible_blocking(context, body)
    context.log.info(f"done {summary.done}, failed {summary.failed}, handed back {summary.handed_back}")


@dg.job(tags={tags.ROLE: tags.WORKER})
def inference_worker() -> None:
    """A worker on this machine: it takes images of any job from the queue and runs their pipelines.

    The sensor worker_autoscaler starts it when it is needed.
    """
    work()
