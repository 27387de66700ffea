"""The query for KEDA's `postgresql` scaler, as the page has it."""

from __future__ import annotations

import re

import psycopg

from antenna_orchestration.processing.services import Services
from tests.k8s.manifests import REPOSITORY
from tests.processing.jobs_by_hand import make_job


async def test_the_query_on_the_page_counts_workers(services: Services, project: str) -> None:
    page = (REPOSITORY / "docs/howto/kubernetes.md").read_text()
    [query] = re.findall(r"^```sql\n(.*?)^```", page, re.M | re.S)
    assert "'light_trap_insects'" in query
    query = query.replace("light_trap_insects", f"of-{project[:40]}")
    async with await psycopg.AsyncConnection.connect(services.settings.database_url) as connection:

        async def workers() -> int:
            [row] = await (await connection.execute(query.encode())).fetchall()
            return int(row[0])

        assert await workers() == 0
        await make_job(services, project, 601, pipeline=f"of-{project[:40]}")
        assert await workers() == 2
        await make_job(services, project, 600, pipeline=f"of-{project[:40]}", dispatch_mode="sync_api")
        assert await workers() == 2, "jobs for processing services are not for these workers"
