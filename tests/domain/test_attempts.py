"""What becomes of a task at its n-th delivery."""

import pytest

from antenna_orchestration.domain import attempts
from antenna_orchestration.domain.attempts import Plan


@pytest.mark.parametrize(
    ("delivery", "plan"),
    [
        (1, Plan.BATCH),
        (2, Plan.BATCH),
        (3, Plan.ALONE),
        (10, Plan.ALONE),
        (11, Plan.FAIL_UNOPENED),
        (10_000, Plan.FAIL_UNOPENED),
    ],
)
def test_plan(delivery: int, plan: Plan) -> None:
    assert attempts.plan(delivery) is plan


def test_the_plan_never_becomes_milder() -> None:
    order = [Plan.BATCH, Plan.ALONE, Plan.FAIL_UNOPENED]
    ranks = [order.index(attempts.plan(delivery)) for delivery in range(1, 50)]
    assert ranks == sorted(ranks)


@pytest.mark.parametrize(
    ("delivery", "most", "final"), [(1, 3, False), (2, 3, False), (3, 3, True), (4, 3, True), (1, 1, True)]
)
def test_is_final(delivery: int, most: int, final: bool) -> None:
    assert attempts.is_final(delivery, most) is final


def test_retry_delay_grows_and_then_stays() -> None:
    assert [attempts.retry_delay(delivery) for delivery in range(1, 7)] == [5.0, 30.0, 120.0, 600.0, 600.0, 600.0]
