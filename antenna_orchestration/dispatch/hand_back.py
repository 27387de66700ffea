"""Hand back: end leases of HTTP workers and offer the tasks to everybody at once.

Without this the queue offers them by itself, after `task_ack_wait`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from antenna_orchestration import errors
from antenna_orchestration.dispatch import further_tries
from antenna_orchestration.dispatch.lease import ack_of
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import attempts, reported_errors
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.live.leases import KeptLease

logger = logging.getLogger(__name__)


async def hand_back(
    http: HttpServices,
    job_run: JobRun,
    holder: int,
    images: Iterable[ImageId],
    *,
    delay: float = 0.0,
    untried: bool = False,
) -> int:
    """Strike out this holder's leases on the images and offer their tasks again; how many leases there were.

    `delay` is the time in seconds until the tasks are offered. `untried` images had no attempt. Raises `Unavailable`:
    what is struck out already is then offered by the queue itself.
    """
    struck_out = await http.live.leases.take(job_run, holder, images)
    if untried:
        await forgive(http, job_run, struck_out)
    await offer_again(http, job_run, struck_out.values(), lambda _: delay)
    return len(struck_out)


async def forgive(http: HttpServices, job_run: JobRun, struck_out: Mapping[ImageId, KeptLease]) -> None:
    """Count no attempt of tasks that were not tried, or whose worker came to no harm."""
    repeated = {image: lease for image, lease in struck_out.items() if lease.delivery > 1}
    before = await further_tries.left_out(http, job_run, repeated)
    for image, lease in repeated.items():
        # Only of these an open attempt was noted.
        if reported_errors.plan(lease.delivery, before.get(image)) is attempts.Plan.BATCH:
            continue
        try:
            await http.open_attempts.take_back(job_run, image)
        except errors.Unavailable as error:
            logger.warning("an open attempt of image %d still counts: %s", image, error)


async def offer_again(
    http: HttpServices, job_run: JobRun, struck_out: Collection[KeptLease], delay: Callable[[KeptLease], float]
) -> None:
    """Offer the tasks of leases that were struck out, each after its `delay` in seconds. Raises `Unavailable`."""
    if not struck_out:
        return
    now = await http.live.leases.now()
    for lease in struck_out:
        if lease.is_ours(now=now, ack_wait=http.settings.task_ack_wait):
            await http.remote_leases.hand_back([ack_of(job_run, lease)], delay(lease))
