"""The description of a data set over HTTP: a submitter gives it as YAML or as JSON, reads it, and takes it back."""

from __future__ import annotations

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session

DESCRIPTION = "title: Moths 蛾\ndata_licence: CC0-1.0\n"


async def test_a_submitter_describes_its_data_set(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project, role=Role.SUBMITTER)
    worker = await token(services, project, role=Role.WORKER)
    [found] = [one for one in await services.catalog.projects.list() if one.slug == project]
    url = f"{gateway.base}/projects/{found.project_id}/dataset/"
    with session(secret) as http:
        assert http.get(url, timeout=60).status_code == 404
        as_yaml = {"headers": {"Content-Type": "application/yaml"}, "timeout": 60}
        made = http.put(url, data=DESCRIPTION.encode(), **as_yaml)  # type: ignore[arg-type]
        assert (made.status_code, made.json()["text"]) == (200, DESCRIPTION), made.text
        for wrong in (b"titel: Moths", b"", b"[", b"\xff\xfe\x00", b"- a"):
            refused = http.put(url, data=wrong, **as_yaml)  # type: ignore[arg-type]
            assert refused.status_code == 400 and ("the file" in refused.json()["detail"] or not wrong), refused.text
        for body in ({"title": "\ud800"}, {"title": 1}, [], "text", {"keywords": ["a"] * 101}):
            assert http.put(url, json=body, timeout=60).status_code == 400
        assert http.get(url, timeout=60).json()["dataset"]["title"] == "Moths 蛾"
        again = http.put(url, json={"title": "Others", "keywords": ["night"]}, timeout=60)
        assert (again.status_code, again.json()["dataset"]["keywords"]) == (200, ["night"])
        with session(worker) as other:
            assert other.put(url, json={}, timeout=60).status_code == 403
        assert [http.delete(url, timeout=60).status_code for _ in range(2)] == [204, 204]
        assert http.get(url, timeout=60).status_code == 404
