"""Open reports: the images of a job about which workers reported errors and which are not decided, for people."""

from __future__ import annotations

import logging
from collections import Counter

from antenna_orchestration import errors
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.domain.job import ImageStatus
from antenna_orchestration.processing.services import Records

logger = logging.getLogger(__name__)


async def open_reports(records: Records, job_run: JobRun) -> Counter[str]:
    """How many open images were reported as failing, by the last reason; none while Redis does not answer.

    What was reported about images that are done or failed by now is forgotten. Raises `Unavailable` when the catalog
    does not answer.
    """
    try:
        reports = await records.live.reports.of_job(job_run)
    except errors.Unavailable as error:
        logger.debug("%s", error)
        return Counter()
    if not reports:
        return Counter()
    states = await records.catalog.images.states(job_run, reports)
    pending = {image for image in reports if states.get(image) is ImageStatus.PENDING}
    try:
        await records.live.reports.forget(job_run, reports.keys() - pending)
    except errors.Unavailable as error:
        logger.debug("%s", error)
    # One without a reason was handed back untried.
    return Counter(reports[image].reason for image in pending if reports[image].reason)
