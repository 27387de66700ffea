"""Pages of jobs: which of those that match, in which order, and how many match in all."""

from __future__ import annotations

from typing import Any

import pytest

from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import make_job

ALL: dict[str, Any] = {"projects": None, "cutoff_hours": 24, "limit": 2}


@pytest.fixture
async def jobs(services: Services, project: str) -> list[JobId]:
    """Five jobs of the project, of which the second failed long ago."""
    made = [(await make_job(services, project, 1, name=f"night {number}")).job_id for number in range(5)]
    async with services.catalog.database.transaction() as connection:
        await connection.execute(
            "UPDATE jobs SET status = 'FAILURE', finished_at = now() - interval '2 days' WHERE job_id = %s", [made[1]]
        )
    return made


@pytest.mark.parametrize(
    ("asked", "found", "matching"),
    [
        ({}, [4, 3], 4),
        ({"offset": 2}, [2, 0], 4),
        ({"oldest_first": True}, [0, 2], 4),
        ({"oldest_first": True, "offset": 3}, [4], 4),
        ({"cutoff_hours": 100, "oldest_first": True}, [0, 1], 5),
        ({"search": "NIGHT 3"}, [3], 1),
        ({"statuses": [JobStatus.FAILURE], "cutoff_hours": 100}, [1], 1),
        ({"projects": []}, [], 0),
        ({"offset": 4}, [], 0),
    ],
)
async def test_a_page_has_its_jobs_and_counts_all(
    services: Services, project: str, jobs: list[JobId], asked: dict[str, Any], found: list[int], matching: int
) -> None:
    page = await services.catalog.jobs.page(project=project, **ALL | asked)
    assert [job.job_id for job in page.jobs] == [jobs[number] for number in found]
    assert page.matching == matching


async def test_a_project_goes_by_its_name_or_number(services: Services, project: str, jobs: list[JobId]) -> None:
    job = await services.catalog.jobs.get(jobs[0])
    page = await services.catalog.jobs.page(project=str(job.project_id), **ALL)
    assert [one.project for one in page.jobs] == [project, project]
