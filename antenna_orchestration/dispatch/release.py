"""Release: a worker behind the gateway hands tasks back that it will not finish, so that others need not wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from antenna_orchestration import errors
from antenna_orchestration.dispatch import worker_status
from antenna_orchestration.dispatch.hand_back import forgive, offer_again
from antenna_orchestration.dispatch.lease import raise_if_away
from antenna_orchestration.dispatch.lease_log import Why
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain.access import Token, token_of
from antenna_orchestration.domain.http_lease import LeaseClaim
from antenna_orchestration.domain.ids import ImageId, JobRun
from antenna_orchestration.live.leases import KeptLease


async def release(http: HttpServices, job_run: JobRun, worker: Token, lease_tokens: Sequence[str] | None) -> int:
    """Hand back the leases that the texts stand for, or all that the worker holds of the job; how many there were.

    Leases that ended already are passed over, so this may be repeated. Raises `InvalidInput` for a text that is not a
    lease of this token on a task of this job, and `Unavailable` without the queue; nothing is handed back then.
    """
    raise_if_away(http)
    if lease_tokens is None:
        held = await http.live.leases.of_worker(worker.holder)
        return await _hand_back(http, job_run, worker, {worker.holder: held.get(job_run, [])})
    claims = [_claim(http, job_run, worker, text, number) for number, text in enumerate(lease_tokens)]
    kept = await http.live.leases.find(job_run, [claim.image for claim in claims])
    images: dict[int, list[ImageId]] = {}
    for claim in claims:
        lease = kept.get(claim.image)
        if lease is not None and _is_meant(claim, lease, worker):
            images.setdefault(lease.holder, []).append(claim.image)
    return await _hand_back(http, job_run, worker, images)


async def release_all(http: HttpServices, worker: Token) -> int:
    """Hand back all that the worker holds, of all jobs, and show it no longer; how many leases there were.

    Raises `Unavailable` without the queue; what was not handed back then is still the worker's.
    """
    raise_if_away(http)
    held = await http.live.leases.of_worker(worker.holder)
    released = 0
    for job_run, images in held.items():
        released += await _hand_back(http, job_run, worker, {worker.holder: images})
    await worker_status.leave(http, worker)
    return released


def _claim(http: HttpServices, job_run: JobRun, worker: Token, text: str, number: int) -> LeaseClaim:
    try:
        claim = http.signer.read(LeaseClaim, text, now=time.time())
    except errors.InvalidInput as error:
        raise errors.InvalidInput(f"reply_subjects[{number}]: {error}") from None
    if claim.job != job_run.job or claim.worker != worker.token_id:
        raise errors.InvalidInput(f"reply_subjects[{number}]: not a lease of this worker on a task of this job")
    return claim


def _is_meant(claim: LeaseClaim, lease: KeptLease, worker: Token) -> bool:
    """Whether the lease is the worker's. Of another one with the same token only the very delivery may be handed back.

    Such a worker may have got the image after the lease in question had ended.
    """
    is_of_token = token_of(lease.holder) == worker.token_id
    return is_of_token and (lease.holder == worker.holder or lease.place == claim.place)


async def _hand_back(
    http: HttpServices, job_run: JobRun, worker: Token, images: Mapping[int, Iterable[ImageId]]
) -> int:
    released = 0
    for holder, some in images.items():
        ended = await http.live.leases.take(job_run, holder, some)
        if not ended:
            continue
        http.lease_log.note(job_run, worker.name, Why.HANDED_BACK, ended, now=await http.live.leases.now())
        await http.live.workers.count(holder, handed_back=len(ended))
        await forgive(http, job_run, ended)
        await offer_again(http, job_run, ended.values(), lambda _: 0.0)
        released += len(ended)
    return released
