"""`antenna rebuild`: restore what the queue and Redis lost of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.processing.reconcile import Rebuilt
    from antenna_orchestration.processing.services import Services


def rebuild(
    job: Annotated[int, typer.Argument(metavar="JOB", help="Number of the job.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, only report what is missing.")] = False,
    json_: JsonOption = False,
) -> None:
    """Restore from the catalog what NATS and Redis lost of a job.

    The job's run and the health check do the same by themselves after a while; this does it now. Idempotent: running
    it twice does no harm.
    """
    from antenna_orchestration.domain.ids import JobId
    from antenna_orchestration.processing import reconcile

    async def run(services: Services) -> Rebuilt:
        return await reconcile.rebuild(services, JobId(job), dry_run=dry_run)

    rebuilt = with_services(run)
    if json_:
        output.as_json(
            {
                "job_id": job,
                "dry_run": dry_run,
                "lost": rebuilt.lost,
                "reopened": rebuilt.reopened,
                "counters": rebuilt.counters,
            }
        )
        return
    if not rebuilt.is_needed:
        output.line(f"job {job}: nothing was missing")
        return
    missing = [counted(rebuilt.lost, "task")] if rebuilt.lost else []
    missing += ["its consumer"] if rebuilt.reopened else []
    missing += ["its counters"] if rebuilt.counters else []
    output.line(f"job {job}: {', '.join(missing)} {'missing' if dry_run else 'put back'}")
