"""Reviews over HTTP: a submitter sends a file or an export as it is."""

from __future__ import annotations

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.answers.test_importing_reviews import job_with_detections
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session


async def test_a_submitter_sends_reviews(services: Services, gateway: RunningGateway, project: str) -> None:
    job, [one] = await job_with_detections(services, project, 1)
    secret = await token(services, project, role=Role.SUBMITTER, label="ana's")
    url = f"{gateway.base}/projects/{job.project_id}/reviews/"
    row = {"detection_id": one, "label": "fly"}
    box = {"x": 1, "y": 1, "width": 1, "height": 1, "choices": ["moth"]}
    export = {
        "id": 1,
        "annotations": [
            {
                "completed_by": 7,
                "updated_at": "2020-01-01T00:00:00Z",
                "result": [{"id": f"{job.job_id}-{one}", "type": "choices", "value": box}],
            }
        ],
    }
    with session(secret) as http:
        csv = f"detection_id,label\n{one},moth\n".encode()
        as_file = {"headers": {"Content-Type": "text/csv"}, "timeout": 60}
        sent = [
            http.post(f"{url}?job={job.job_id}&reviewer=Ana", data=csv, **as_file),  # type: ignore[arg-type]
            http.post(f"{url}?job={job.job_id}&reviewer=Ana", data=csv, **as_file),  # type: ignore[arg-type]
            http.post(f"{url}?job={job.job_id}", json=[row], timeout=60),
            http.post(url, json=[export], timeout=60),
        ]
        assert [(each.status_code, each.json().get("added")) for each in sent] == [(200, n) for n in (1, 0, 1, 1)]
        for body in ([row], [{**row, "detection_id": f"{job.job_id + 10**6}-1-0"}], [{}], [1], "x", None, {"a": 1}):
            assert http.post(url, json=body, timeout=60).status_code == 400, body
    stored = await services.catalog.reviews.list(project=project, job=None, limit=9)
    assert [(each.label, each.reviewer, each.imported_by) for each in stored] == [
        ("fly", "", "ana's"),
        ("moth", "Ana", "ana's"),
        ("moth", "Label Studio user 7", "ana's"),
    ]
