"""The OpenAPI document says what the gateway does: schemathesis tries it."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from antenna_orchestration.domain.access import Role
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import opened
from tests.gateway.gateway_process import RunningGateway, token

CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]


@pytest.mark.long
@pytest.mark.parametrize("examples", [5, pytest.param(25, marks=pytest.mark.slow)])
def test_the_gateway_keeps_to_its_document(
    shared_stores: EmbeddedStores, gateway: RunningGateway, examples: int
) -> None:
    async def make() -> str:
        async with opened(shared_stores.settings) as services:
            return await token(services, "schema", role=Role.ADMIN)

    headers = {"Authorization": f"Token {asyncio.run(make())}"}
    tried = []
    for found in schemathesis.openapi.from_url(f"{gateway.url}/openapi.json").get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        def keeps_to_it(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS)

        keeps_to_it()
        tried.append(operation.label)
    assert len(tried) >= 16
