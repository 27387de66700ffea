"""Tasks that the gateway hands back, from what it noted of their leases, are offered at once."""

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import opened
from antenna_orchestration.queue.leasing import Leaser
from antenna_orchestration.queue.names import AckSubject
from antenna_orchestration.queue.remote_leases import RemoteLeases
from tests.processing.jobs_by_hand import claimed, make_job


async def test_a_task_handed_back_is_offered_at_once(shared_stores: EmbeddedStores, project: str) -> None:
    """Long before the queue's own lease is over, after which the task would be offered anyway."""
    settings = shared_stores.settings.model_copy(update={"task_ack_wait": 600.0})
    async with opened(settings) as services:
        job = await claimed(services, await make_job(services, project, 1))
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        assert job.epoch is not None
        async with Leaser(services.connection, ack_wait=600.0) as leaser:
            (lease,) = await leaser.lease(job.job_run, job.epoch, 1, wait=5) or []
            ack = AckSubject.of_task(
                job.job_run,
                job.epoch,
                delivery=lease.delivery,
                sequence=lease.ack.sequence,
                place=lease.ack.place,
            )
            await RemoteLeases(services.connection).hand_back([ack])
            (again,) = await leaser.lease(job.job_run, job.epoch, 1, wait=9) or []
            assert again.delivery == 2
