"""Acts that are repeated while a store does not answer."""

import time

import pytest

from antenna_orchestration import errors
from antenna_orchestration.processing import retrying


class Store:
    """Answers at the n-th attempt."""

    def __init__(self, answers_at: int) -> None:
        self.attempts = 0
        self._answers_at = answers_at

    async def ask(self) -> str:
        self.attempts += 1
        if self.attempts < self._answers_at:
            raise errors.Unavailable("away")
        return "answer"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE", 0.001)
    monkeypatch.setattr(retrying, "SHORT_PAUSE", 0.001)


async def test_an_act_is_retried_until_the_store_answers() -> None:
    store = Store(answers_at=4)
    assert await retrying.retry_forever("asking", store.ask) == "answer"
    assert store.attempts == 4


async def test_people_are_told_once_what_an_act_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "TOLD_AFTER", 0.0)
    told: list[str] = []

    async def tell(why: str) -> None:
        told.append(why)
        if len(told) == 1:
            raise errors.Unavailable("the catalog is away, too")

    await retrying.retry_forever("writing", Store(answers_at=5).ask, tell=tell)
    assert told == ["writing: away", "writing: away", ""], "once, and that it is over"


async def test_before_the_deadline_an_act_is_retried() -> None:
    store = Store(answers_at=3)
    assert await retrying.retry_until(time.monotonic() + 60, store.ask) == "answer"
    assert store.attempts == 3


async def test_after_the_deadline_the_fault_is_raised() -> None:
    store = Store(answers_at=2)
    with pytest.raises(errors.Unavailable, match="away"):
        await retrying.retry_until(time.monotonic(), store.ask)
    assert store.attempts == 1


async def test_any_other_error_is_raised_at_once() -> None:
    async def act() -> None:
        raise errors.InvalidInput("wrong")

    with pytest.raises(errors.InvalidInput):
        await retrying.retry_forever("asking", act)
    with pytest.raises(errors.InvalidInput):
        await retrying.retry_until(time.monotonic() + 60, act)
