"""A service that takes nothing yet is waited for; that is not a failure of the batch."""

import asyncio

import pytest

from antenna_orchestration.contract import pushing
from antenna_orchestration.contract.pushing import Sent
from antenna_orchestration.push.service import Answer, Gone, ProcessingService
from tests.push import processing_service


@pytest.mark.long
async def test_a_busy_service_is_posted_to_again_until_the_lease_is_needed(
    service: processing_service.ProcessingService,
) -> None:
    batch = [Sent(image_id="1", url="http://192.0.2.1/a", reply_subject="a")]
    body = pushing.request_body(service.slug, batch, {})
    async with ProcessingService(service.url, timeout=30, connections=1, largest=2**20) as client:
        service.busy = 1
        assert isinstance(await client.process(body, stopping=asyncio.Event(), begin_within=60), Answer)
        service.busy = 100
        given_up = await client.process(body, stopping=asyncio.Event(), begin_within=4.0)
        # Its images go back without an attempt.
        assert isinstance(given_up, Gone) and not given_up.had_batch and "full" in given_up.reason
        # Once a second, and at least once more.
        assert 95 < service.busy <= 98
