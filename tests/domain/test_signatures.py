"""Which part of a URL is its signature (A2)."""

import pytest

from antenna_orchestration.domain import signatures

AMZ = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F1&X-Amz-Date=d&X-Amz-Expires=60&X-Amz-SignedHeaders=host"
GOOG = "X-Goog-Algorithm=GOOG4&X-Goog-Credential=k&X-Goog-Date=d&X-Goog-Expires=60&X-Goog-SignedHeaders=host"
AZURE = "sv=2022-11-02&st=a&se=b&sr=b&sp=r&spr=https&sig=x%3D"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (f"?{AMZ}&X-Amz-Signature=s", ""),
        (f"?{AMZ}&X-Amz-Security-Token=t&X-Amz-Signature=s&x-amz-request-payer=requester", ""),
        (f"?versionId=7&{AMZ}&X-Amz-Signature=s&x=%2f", "?versionId=7&x=%2f"),
        (f"?{GOOG}&X-Goog-Signature=s&generation=5", "?generation=5"),
        (f"?{AZURE}", ""),
        (f"?snapshot=2020&{AZURE}#f", "?snapshot=2020#f"),
        ("?sv=1&si=policy&sr=c&sig=x", ""),
        ("?AWSAccessKeyId=k&Signature=s%3D&Expires=5", ""),
        ("?GoogleAccessId=k&Expires=5&Signature=s", ""),
        ("?Policy=p&Signature=s&Key-Pair-Id=k&w=800", "?w=800"),
    ],
)
def test_signatures_are_left_out(query: str, left: str) -> None:
    """A2: the rest says what is read, and stays as it is written."""
    assert signatures.without(f"https://h/a%20b.jpg{query}") == f"https://h/a%20b.jpg{left}"
    assert signatures.is_signed(f"https://h/a%20b.jpg{query}")


@pytest.mark.parametrize(
    "query",
    [
        "", "?id=5", "?sig=5", "?sig=5&id=7", "?Signature=s&Expires=5", "?sv=1&se=2", "?X-Amz-Signature=s",
        f"?{AMZ}", "?signal=5&se=1&sv=2", "/sig=1&sv=2&se=3", "#sig=1&sv=2&se=3",
    ],
)  # fmt: skip
def test_what_is_not_surely_a_signature_stays(query: str) -> None:
    """A2: two pictures must not become one."""
    assert signatures.without(f"https://h/a.jpg{query}") == f"https://h/a.jpg{query}"
    assert not signatures.is_signed(f"https://h/a.jpg{query}")
