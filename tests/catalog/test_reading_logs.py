"""Reading a job's log: page by page, or its last lines."""

from __future__ import annotations

from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import make_job


async def test_the_newest_lines_are_those_written_last(services: Services, project: str) -> None:
    """C3: they were the last of the first page."""
    job = await make_job(services, project, 1)
    # More than a page.
    async with services.catalog.job_log._database.transaction() as connection:
        await connection.execute(
            "INSERT INTO job_log (job_id, level, action, message) "
            "SELECT %s, 'INFO', 'test', n::text FROM generate_series(1, 5002) n",
            [job.job_id],
        )
    newest = await services.catalog.job_log.newest(job.job_id, 3)
    assert [line.message for line in newest] == ["5000", "5001", "5002"]
    first = await services.catalog.job_log.read(job.job_id)
    rest = await services.catalog.job_log.read(job.job_id, after=first[-1][0])
    messages = [line.message for _, line in [*first, *rest] if line.action == "test"]
    assert messages == [str(number) for number in range(1, 5003)]
