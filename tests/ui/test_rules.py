"""Which requests the UI answers."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration.ui.rules import Request, authorization, judge

HOSTS = {"ui.example.org"}
JSON = {"content-type": "application/json"}
OWN = {"origin": "http://localhost:3000", "sec-fetch-site": "same-origin"}
PASSWORD = "nachtfalter-2026"


def status_of(method: str, path: str = "/graphql", *, password: str = "", **headers: str) -> int:
    """With a dash for each underscore in a header's name; 200 for what may pass."""
    given = {"host": "localhost:3000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    refusal = judge(Request(method=method, path=path, headers=given), hosts=HOSTS, password=password)
    return refusal.status if refusal else 200


@pytest.mark.parametrize(
    ("expected", "method", "path", "headers"),
    [
        # The UI's own pages, and programs.
        (200, "GET", "/jobs", {}),
        (200, "GET", "/jobs", {"sec_fetch_site": "cross-site", "accept": "text/html"}),
        (200, "POST", "/graphql", {"content_type": "application/json; charset=utf-8", "sec_fetch_site": "same-origin"}),
        (200, "POST", "/graphql", {"content_type": "application/json", "origin": "http://localhost:3000"}),
        (200, "POST", "/graphql", {"content_type": "application/json"}),
        (200, "WEBSOCKET", "/graphql", {"origin": "http://localhost:3000"}),
        (200, "GET", "/graphql", {"accept": "text/html,*/*"}),
        (200, "GET", "/jobs", {"host": "127.0.0.1"}),
        (200, "GET", "/jobs", {"host": "[::1]:3000"}),
        # A picture in a text that the UI shows, and a link to a query.
        (405, "GET", "/graphql", {"accept": "image/avif,image/webp,*/*;q=0.8", "sec_fetch_site": "same-origin"}),
        (405, "GET", "/graphql", {}),
        (405, "HEAD", "/graphql", {}),
        (405, "GET", "/behind/a/prefix/graphql", {}),
        # A page from elsewhere, also one of another port of this machine.
        (403, "POST", "/graphql", {"content_type": "application/json", "origin": "https://evil.example"}),
        (403, "POST", "/graphql", {"content_type": "application/json", "origin": "http://localhost:8888"}),
        (403, "POST", "/graphql", {"content_type": "application/json", "origin": "null"}),
        (403, "POST", "/graphql", {"content_type": "application/json", "sec_fetch_site": "same-site"}),
        (403, "POST", "/report_asset_check/a", {"content_type": "text/plain", "origin": "https://evil.example"}),
        (403, "WEBSOCKET", "/graphql", {"origin": "https://evil.example"}),
        (403, "DELETE", "/anything", {"origin": "https://evil.example"}),
        # What a form can send without being asked first.
        (415, "POST", "/graphql", {"content_type": "text/plain"}),
        (415, "POST", "/graphql", {"content_type": "text/plain; a=application/json"}),
        (415, "POST", "/graphql", {"content_type": "application/graphql"}),
        (415, "POST", "/report_asset_materialization/a", {}),
        # A name that somebody else points to this machine.
        (403, "GET", "/jobs", {"host": "evil.example:3000"}),
        (403, "GET", "/jobs", {"host": "localhost.evil.example"}),
        (403, "GET", "/jobs", {"host": "localhost@evil.example"}),
        (403, "GET", "/jobs", {"host": ""}),
        (403, "GET", "/jobs", {"host": "[::1"}),
        # Behind a proxy, which keeps the name or puts its own.
        (200, "GET", "/jobs", {"host": "ui.example.org"}),
        (200, "GET", "/jobs", {"host": "UI.example.org:443"}),
        (200, "POST", "/graphql", {"content_type": "application/json", "origin": "https://ui.example.org"}),
        (403, "POST", "/graphql", {"content_type": "application/json", "origin": "https://ui.example.org.evil.example"}),
    ],
)  # fmt: skip
def test_requests_get_the_answer_that_their_origin_deserves(
    expected: int, method: str, path: str, headers: dict[str, Any]
) -> None:
    """S1: the webserver executed any mutation of any page."""
    assert status_of(method, path, **headers) == expected


@given(
    st.sampled_from(["POST", "PUT", "WEBSOCKET"]),
    st.from_regex(r"[a-z]{1,5}://[a-z0-9.:@\[\]-]{0,20}", fullmatch=True) | st.text(max_size=30),
)
def test_no_other_origin_changes_anything(method: str, origin: str) -> None:
    answered = status_of(method, origin=origin, content_type="application/json") == 200
    after = origin.partition("://")[2].lower()
    assert answered == (after == "localhost:3000") or after.rpartition("@")[2].startswith("ui.example.org")


def test_a_password_is_asked_for_everywhere_but_for_health() -> None:
    assert status_of("GET", "/jobs", password=PASSWORD) == 401
    assert status_of("WEBSOCKET", password=PASSWORD, **OWN) == 401
    assert status_of("GET", "/server_info", password=PASSWORD) == 200
    known = {name.lower(): value for name, value in authorization(PASSWORD).items()}
    assert status_of("GET", "/jobs", password=PASSWORD, **known) == 200
    assert status_of("POST", password=PASSWORD, content_type="application/json", **known) == 200
    assert status_of("POST", password=PASSWORD, **known, **JSON, origin="https://evil.example") == 403


@pytest.mark.parametrize(
    "given",
    ["", "Basic", "Basic ?", f"Bearer {PASSWORD}", f"Basic {PASSWORD}",
     *(f"Basic {base64.b64encode(text.encode()).decode()}" for text in ("", "me", "me:", "me:nachtfalter", PASSWORD))],
)  # fmt: skip
def test_nothing_but_the_password_is_the_password(given: str) -> None:
    assert status_of("GET", "/jobs", password=PASSWORD, authorization=given) == 401


@pytest.mark.long
def test_no_password_sends_no_header() -> None:
    assert authorization("") == {}
