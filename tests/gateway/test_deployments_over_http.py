"""Deployments over HTTP: a submitter describes those of its project, by file or by objects, and lists them."""

from __future__ import annotations

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session

SITES = "deployment,latitude,longitude,timezone,attractant\noak,55.39,10.39,Europe/Copenhagen,UV\n"


async def test_a_submitter_describes_deployments(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project, role=Role.SUBMITTER)
    [found] = [one for one in await services.catalog.projects.list() if one.slug == project]
    url = f"{gateway.base}/projects/{found.project_id}/deployments/"
    with session(secret) as http:
        as_file = {"headers": {"Content-Type": "text/csv"}, "timeout": 60}
        made = http.post(url, data=SITES.encode(), **as_file)  # type: ignore[arg-type]
        assert (made.status_code, made.json()["created"]) == (200, ["oak"]), made.text
        again = http.post(url, json=[{"deployment": "oak", "clock": "UTC", "latitude": None, "longitude": None}])
        assert (again.status_code, again.json()["described"], again.json()["created"]) == (200, ["oak"], [])
        for wrong, said in (
            (SITES.replace("55.39", "95.39"), "row 2, latitude: 95.39 is not between -90 and 90"),
            ("site\noak\n", "row 1: no column deployment"),
            ("", ""),
        ):
            refused = http.post(url, data=wrong.encode(), **as_file)  # type: ignore[arg-type]
            assert refused.status_code == 400 and said in refused.json()["detail"], refused.text
        for body in ({"deployment": "oak"}, [1], "oak", [{"deployment": "oak", "further": {"a": 1}}], []):
            assert http.post(url, json=body, timeout=60).status_code == 400
        listed = http.get(url, timeout=60).json()
    assert listed["count"] == 1
    oak = listed["results"][0]
    assert (oak["clock"], oak["latitude"], oak["time_zone"]) == ("utc", None, "Europe/Copenhagen")
    assert (oak["further"], oak["photographs"]) == ({"attractant": "UV"}, 0)
