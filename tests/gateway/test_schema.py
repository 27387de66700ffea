"""The OpenAPI document says what the gateway does: schemathesis tries it."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from antenna_orchestration.domain.access import Role
from antenna_orchestration.embedded.stores import Stores
from antenna_orchestration.processing import services
from tests.gateway.running import RunningGateway, token


@pytest.fixture(scope="module")
def admin(shared_stores: Stores, gateway: RunningGateway) -> str:
    async def make() -> str:
        async with services.opened(shared_stores.settings) as stack:
            return await token(stack, "schema", role=Role.ADMIN)

    return asyncio.run(make())


@pytest.fixture
def document(gateway: RunningGateway) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_gateway_keeps_to_its_document(case: schemathesis.Case, admin: str) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Token {admin}"},
        checks=[not_a_server_error, response_schema_conformance, status_code_conformance],
    )
