"""Each route says in its signature who may call it, and the gateway that runs holds everybody to that.

The routes are those of the application's own table: one without a decision here, or in its signature, fails.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import pytest
import requests
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from antenna_orchestration.domain.access import MAY, Act, Role
from antenna_orchestration.gateway import routing
from antenna_orchestration.gateway.app import create_app
from antenna_orchestration.processing.services import Services
from antenna_orchestration.settings import Settings
from tests.gateway.gateway_process import RunningGateway, job_for_http, token

ANYBODY = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json", "/api/v2/images/{signed}/"})
"""Routes that ask for no token; a link to an image is signed itself."""

WHO_MAY = {
    "GET /api/v2/jobs/": Act.LIST,
    "GET /api/v2/jobs/next/": Act.LEASE,
    "POST /api/v2/jobs/{job_id}/tasks/": Act.LEASE,
    "GET /api/v2/jobs/{job_id}/tasks/": Act.LEASE,
    "POST /api/v2/jobs/{job_id}/result/": Act.LEASE,
    "POST /api/v2/jobs/{job_id}/release/": Act.LEASE,
    "POST /api/v2/release/": Act.LEASE,
    "GET /api/v2/jobs/{job_id}/": Act.LOOK,
    "POST /api/v2/jobs/": Act.SUBMIT,
    "POST /api/v2/jobs/{job_id}/run/": Act.SUBMIT,
    "POST /api/v2/jobs/{job_id}/retry/": Act.SUBMIT,
    "POST /api/v2/jobs/{job_id}/cancel/": Act.SUBMIT,
    "GET /api/v2/jobs/{job_id}/results/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/results/megadetector.json/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/results/{table}.csv/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/results/{table}/{file}/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/report/": Act.LOOK,
    "GET /api/v2/projects/{project_id}/report/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/derived/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/derived/{table}.csv/": Act.LOOK,
    "GET /api/v2/jobs/{job_id}/derived/{table}.parquet/": Act.LOOK,
    "GET /api/v2/projects/{project_id}/derived/": Act.LOOK,
    "GET /api/v2/projects/{project_id}/derived/{table}.csv/": Act.LOOK,
    "GET /api/v2/projects/{project_id}/derived/{table}.parquet/": Act.LOOK,
    "GET /api/v2/projects/": Act.LIST,
    "GET /api/v2/projects/{project_id}/pipelines/": Act.LIST,
    "POST /api/v2/projects/{project_id}/pipelines/": Act.REGISTER,
    "GET /api/v2/projects/{project_id}/taxa/": Act.LOOK,
    "POST /api/v2/projects/{project_id}/taxa/": Act.SUBMIT,
    "GET /api/v2/projects/{project_id}/taxa/unmatched/": Act.LOOK,
    "GET /api/v2/projects/{project_id}/species-lists/": Act.LOOK,
    "POST /api/v2/projects/{project_id}/species-lists/": Act.SUBMIT,
    "POST /api/v2/projects/{project_id}/species-lists/use/": Act.SUBMIT,
    "GET /api/v2/projects/{project_id}/recipe/": Act.LOOK,
    "POST /api/v2/projects/{project_id}/recipe/": Act.SUBMIT,
    "POST /api/v2/projects/{project_id}/reviews/": Act.SUBMIT,
    "GET /api/v2/projects/{project_id}/deployments/": Act.LOOK,
    "POST /api/v2/projects/{project_id}/deployments/": Act.SUBMIT,
    "GET /api/v2/projects/{project_id}/dataset/": Act.LOOK,
    "PUT /api/v2/projects/{project_id}/dataset/": Act.SUBMIT,
    "DELETE /api/v2/projects/{project_id}/dataset/": Act.SUBMIT,
    "GET /api/v2/ml/pipelines/": Act.LIST,
    "GET /api/v2/ml/algorithms/": Act.LIST,
    "GET /api/v2/ml/processing_services/": Act.LIST,
    "GET /api/v2/ml/processing_services/{service_id}/": Act.LIST,
    "GET /api/v2/ml/processing_services/{service_id}/status/": Act.LIST,
    "GET /api/v2/scale/": Act.COUNT,
    "GET /api/v2/scale/{pipeline}/": Act.COUNT,
    "GET /metrics": Act.LOOK,
}

CALLERS = ("nobody", "stranger", *Role)


def endpoints(routes: list[BaseRoute]) -> Iterator[tuple[str, APIRoute]]:
    """All routes of an application, by method and path, also those that it includes."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield from ((f"{method} {route.path}", route) for method in sorted(route.methods))
        else:
            # What is included, as newer versions of FastAPI keep it.
            inner = getattr(getattr(route, "original_router", route), "routes", None)
            assert inner is not None, f"{route} is not a route of FastAPI, and nobody decided who may call it"
            yield from endpoints(list(inner))


def table() -> dict[str, APIRoute]:
    return dict(endpoints(list(create_app(Settings()).routes)))


def test_each_route_has_one_decision_in_its_signature() -> None:
    found = {}
    for name, route in table().items():
        acts = set(routing.acts_of(route.dependant))
        assert bool(acts) is (route.path not in ANYBODY), f"{name}: who may call it?"
        if acts:
            (found[name],) = acts
    assert found == WHO_MAY


def test_a_route_without_a_decision_is_no_route() -> None:
    router = APIRouter(route_class=routing.Route)
    with pytest.raises(TypeError, match="/secrets/ does not say in its signature who may call it"):

        @router.get("/secrets/")
        async def secrets() -> None:
            """Nobody said who may read these."""


@pytest.mark.long
async def test_every_route_refuses_every_role_that_may_not(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """Issue 17: each route of the table, with each role, no token and a wrong one, on the running gateway."""
    job = await job_for_http(services, project, 1)
    # Of another project: for whoever may call the route at all, there is nothing to be found.
    elsewhere = f"{project[:50]}-other"
    secrets = {str(role): await token(services, elsewhere, role=role) for role in Role} | {"stranger": "ant_wrong"}
    wrong = []
    for name, caller in itertools.product(table(), CALLERS):
        method, path = name.split(" ")
        for part, value in {
            "job_id": job.job_id, "project_id": job.project_id, "service_id": 10**9, "table": "captures",
            "file": "x.parquet", "signed": "x",
        }.items():  # fmt: skip
            path = path.replace(f"{{{part}}}", str(value))
        headers = {"Authorization": f"Token {secrets[caller]}"} if caller in secrets else {}
        # Of the right type and wrong otherwise, so that nothing is made. It is not read of those who may not.
        body = {"data": json.dumps({"x": 1}), "headers": {**headers, "Content-Type": "application/json"}}
        given = body if method == "POST" else {"headers": headers}
        status = requests.request(method, gateway.url + path, timeout=60, **given).status_code  # type: ignore[arg-type]
        if name not in WHO_MAY:
            is_right = status not in (401, 403, 500)
        elif caller not in list(Role):
            is_right = status == 401
        elif WHO_MAY[name] not in MAY[Role(caller)]:
            is_right = status == 403
        elif "{" in name:
            is_right = status == 404
        else:
            is_right = status in (200, 204, 400)
        if not is_right:
            wrong.append((name, caller, status))
    assert not wrong
