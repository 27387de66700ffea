"""What a waiting job's log says of the workers that there are."""

from __future__ import annotations

from datetime import UTC, datetime

from antenna_orchestration.domain import messages
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.story import Story
from tests.processing.jobs import make_job
from tests.waiting import eventually


async def test_the_warning_that_nobody_serves_a_job_names_who_cannot_load_its_pipeline(
    stack: Services, project: str
) -> None:
    job = await make_job(stack, project, 1)
    now = datetime.now(UTC)
    beat = messages.Heartbeat(
        worker="gpu-1", host="gpu-1", pid=1, device="cpu", pipelines=("moth_binary",), reaches=("http",),
        started_at=now, at=now, failing={"null": "weights model.pth: there is no such file"},
    )  # fmt: skip
    await stack.presence.beat(beat)

    async def seen() -> bool:
        return beat in await stack.presence.workers()

    try:
        await eventually(seen, description="the heartbeat")
        told: list[str] = []
        await Story(services=stack, job=job, tell=told.append).look_for_workers()
    finally:
        await stack.presence.leave("gpu-1")
    said = "No worker for pipeline null reaches the images; the job waits; gpu-1 cannot load it: weights model.pth"
    assert len(told) == 1
    assert told[0].startswith(said)
    assert any(
        line.level == "WARNING" and line.message == told[0] for _, line in await stack.catalog.read_log(job.job_id)
    )
