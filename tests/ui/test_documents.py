"""What the benchmarks ask of the UI's server is what its own pages ask."""

from __future__ import annotations

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from benchmarks import ui_documents


@pytest.mark.long
def test_documents_are_read_whole_from_the_installed_ui() -> None:
    schema = create_schema().graphql_schema
    names = [name for name in ui_documents.queries() if name.endswith("Query")]
    assert len(names) > 100
    wrong = {name: errors for name in names if (errors := validate(schema, parse(ui_documents.document(name))))}
    assert not wrong
