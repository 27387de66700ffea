"""What keeps connections within this host from a proxy."""

import pytest

from antenna_orchestration.domain import proxies

OWN = "localhost,127.0.0.1,::1"


@pytest.mark.parametrize(
    ("environment", "exempt", "of_grpc"),
    [
        ({"http_proxy": "http://p:3128"}, OWN, OWN),
        ({"ALL_PROXY": "socks5://p:1080"}, OWN, OWN),
        ({"https_proxy": "http://p", "NO_PROXY": ".lan, ::1"}, ".lan,::1,localhost,127.0.0.1", None),
        ({"https_proxy": "http://p", "no_proxy": "*"}, "*", OWN),
        ({"http_proxy": "http://p", "no_proxy": "a", "no_grpc_proxy": "b"}, f"a,{OWN}", f"b,{OWN}"),
    ],
)
def test_loopback_joins_what_the_user_exempts(environment: dict[str, str], exempt: str, of_grpc: str | None) -> None:
    """A12: gRPC sends 127.0.0.1 through `http_proxy`, so that `antenna up` was never ready."""
    expected = {"no_proxy": exempt, "NO_PROXY": exempt, "no_grpc_proxy": of_grpc or exempt}
    assert proxies.sparing_loopback(environment) == expected
    assert proxies.sparing_loopback({**environment, **expected}) == expected


def test_without_a_proxy_nothing_is_set() -> None:
    """A12: the environment stays as it is."""
    assert proxies.sparing_loopback({"no_proxy": "a", "PATH": "/bin"}) == {}
