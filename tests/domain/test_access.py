"""Who a token's worker is, among several that share it."""

from dataclasses import replace
from datetime import UTC, datetime

from antenna_orchestration.domain.access import CLIENTS, TOKENS, Role, Token, token_of

TOKEN = Token(
    token_id=17, fingerprint="ab12cd34", role=Role.WORKER, label="trap", projects={}, created_at=datetime.now(UTC),
    expires_at=None, revoked_at=None, last_used_at=None,
)  # fmt: skip


def test_the_only_worker_of_a_token_is_known_by_the_token() -> None:
    assert (TOKEN.holder, TOKEN.name) == (17, "trap-ab12cd34")


def test_clients_of_a_token_differ_and_are_its_own() -> None:
    clients = [replace(TOKEN, client=client) for client in ("10.0.0.5", "10.0.0.6", "gpu-0", "gpu-1")]
    assert len({one.holder for one in (TOKEN, *clients)}) == 5
    assert len({one.name for one in (TOKEN, *clients)}) == 5
    assert {token_of(one.holder) for one in clients} == {17}
    assert replace(TOKEN, client="gpu-0").holder == clients[2].holder


def test_a_holder_is_a_number_that_redis_scripts_can_read() -> None:
    """Lua computes with doubles and writes fourteen digits of them."""
    assert (CLIENTS + 1) * TOKENS < 10**14
