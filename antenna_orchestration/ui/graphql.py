"""What a program of ours asks of Dagster's web server; whoever imports Dagster itself waits for two seconds."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Mapping
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.ui import rules


def ask(ui_url: str, query: str, variables: Mapping[str, Any], *, password: str, timeout: float = 10.0) -> Any:
    """The `data` of the answer. Raises `Unavailable` when the server is missing, refuses, or answers with an error."""
    if not ui_url.startswith(("http://", "https://")):
        raise errors.Unavailable("no Dagster UI is known here (ANTENNA_UI_URL)")
    body = json.dumps({"query": query, "variables": variables}).encode()
    headers = {"Content-Type": "application/json", **rules.authorization(password)}
    request = urllib.request.Request(f"{ui_url}/graphql", body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310  the scheme was looked at above
            answered = json.load(answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise errors.Unavailable(f"the Dagster UI at {ui_url}: {error}") from error
    data = answered.get("data")
    if not data:
        said = "; ".join(str(one.get("message")) for one in answered.get("errors") or [])
        raise errors.Unavailable(f"the Dagster UI at {ui_url}: {said or 'an answer without data'}")
    return data
