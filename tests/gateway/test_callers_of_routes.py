"""Each route says in its signature who may call it."""

from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from antenna_orchestration.domain.access import Act
from antenna_orchestration.gateway import (
    dependencies,
    job_routes,
    other_routes,
    registry_routes,
    release_routes,
    worker_routes,
)

ACTS = {
    dependencies.AnyCaller: Act.LIST,
    dependencies.WorkerCaller: Act.LEASE,
    dependencies.PostingCaller: Act.LEASE,
    dependencies.RegisteringCaller: Act.REGISTER,
    dependencies.ViewerCaller: Act.LOOK,
    dependencies.SubmitterCaller: Act.SUBMIT,
}

WHO_MAY = {
    "list_jobs": Act.LIST,
    "next_job": Act.LEASE,
    "lease_tasks": Act.LEASE,
    "lease_tasks_of_old": Act.LEASE,
    "post_results": Act.LEASE,
    "release_tasks": Act.LEASE,
    "release_everything": Act.LEASE,
    "show_job": Act.LOOK,
    "create_job": Act.SUBMIT,
    "run_job": Act.SUBMIT,
    "retry_job": Act.SUBMIT,
    "cancel_job": Act.SUBMIT,
    "list_projects": Act.LIST,
    "list_pipelines": Act.LIST,
    "register_pipelines": Act.REGISTER,
}


def calls(dependant: Dependant) -> set[Any]:
    """The functions that FastAPI calls for a route, its dependencies' among them."""
    return {dependant.call}.union(*(calls(one) for one in dependant.dependencies))


def test_each_route_of_the_api_checks_one_act() -> None:
    acts = {who.__metadata__[0].dependency: act for who, act in ACTS.items()}
    found = {}
    for module in (worker_routes, release_routes, job_routes, registry_routes, other_routes):
        for route in module.router.routes:
            assert isinstance(route, APIRoute)
            if route.path.startswith("/api/v2/") and "/images/" not in route.path:
                (found[route.name],) = {acts[call] for call in calls(route.dependant) if call in acts}
    assert found == WHO_MAY
