"""A project's recipe over HTTP."""

from __future__ import annotations

from antenna_orchestration.domain.access import Role
from antenna_orchestration.ecology import recipes
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session
from tests.processing.jobs_by_hand import make_job

OWN = "# ours\r\nsteps:\r\n- flags: {at_edge: 4}\r\n"


async def test_a_submitter_sets_a_recipe(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await make_job(services, project, 0)
    secret = await token(services, project, role=Role.SUBMITTER, label="ana's")
    url = f"{gateway.base}/projects/{job.project_id}/recipe/"
    own = recipes.parsed(OWN, "own.yaml")
    with session(secret) as http:
        assert http.get(url, timeout=60).json()["recipe"] == recipes.default().hash
        for body, kind, why in (
            (b"steps: [mask]", "application/yaml", "the recipe, line 1: there is no step 'mask'"),
            (b"steps: []\n# \xff", "application/yaml", "not text in UTF-8"),
            (b'{"steps": []}', "application/json", "no JSON"),
        ):
            refused = http.post(url, data=body, headers={"Content-Type": kind}, timeout=60)
            assert refused.status_code == 400 and why in refused.json()["detail"], refused.text
        done = http.post(url, data=OWN.encode(), headers={"Content-Type": "application/yaml"}, timeout=60)
        assert done.status_code == 200, done.text
        assert done.json() == http.get(url, timeout=60).json()
        said = done.json()
        assert said.pop("text").startswith("# ours\nsteps:\n- flags: {at_edge: 4, too_small: 0.0008")
        assert said == {"recipe": own.hash, **own.as_data()}
    [kept] = await services.catalog.recipes.list(project)
    assert (kept.hash, kept.created_by, kept.holds) == (own.hash, "ana's", True)
