"""The Dagster job that runs a worker: on this machine, on a GPU host behind gRPC, or by `dagster job execute`."""

import threading

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.resources.interruptible import run_interruptible_blocking
from antenna_orchestration.worker import main as engine


class WorkerConfig(dg.Config):
    """What the worker does; the device and the limits are its host's `ANTENNA_*` settings unless given here."""

    pipelines: list[str] = []  # noqa: RUF012  Dagster's Config is a pydantic model
    device: str | None = None
    batch_size: int | None = None
    exit_when_idle: float | None = None
    max_lifetime: float = 4 * 3600.0


@dg.op
def work(context: dg.OpExecutionContext, config: WorkerConfig) -> None:
    """Lease, infer and report until idle, until the lifetime is over, or until the run is terminated."""
    options = engine.WorkerOptions(
        pipelines=tuple(config.pipelines),
        device=config.device,
        batch_size=config.batch_size,
        exit_when_idle=config.exit_when_idle,
        max_lifetime=config.max_lifetime,
    )

    def body(stop: threading.Event) -> engine.WorkerSummary:
        return engine.run(settings.get(), options, should_stop=stop.is_set, run_id=context.run.run_id)

    summary = run_interruptible_blocking(context, body)
    context.log.info(f"done {summary.done}, failed {summary.failed}, handed back {summary.handed_back}")


@dg.job(tags={tags.ROLE: tags.WORKER})
def inference_worker() -> None:
    """A worker as a run."""
    work()
