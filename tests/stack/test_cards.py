"""Two hundred drawn cards go through a running stack: every photograph ends, and nothing hangs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pytest

from tests import cards
from tests.stack.antenna_up import RunningStack
from tests.submission.s3_store import CREDENTIALS, s3_store
from tests.waiting import wait_until
from tests.whole.seeds import SEED

ENDED = ("SUCCESS", "FAILURE", "CANCELED")


@pytest.fixture
def card_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[cards.Places]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_store() as endpoint, cards.places_for(tmp_path / "cards", endpoint) as places:
        yield places


def outcomes(lake: Path, job: int) -> dict[str, str]:
    """What the tables say of each photograph of a job."""
    table = pyarrow.dataset.dataset(f"{lake}/captures/job_id={job}").to_table(columns=["url", "status"])
    found = {cards.name_of(row["url"]): row["status"] for row in table.to_pylist()}
    assert len(found) == table.num_rows
    return found


def submitted(stack: RunningStack, named: list[str]) -> int:
    said = stack.antenna("submit", *named, "--pipeline", "light_trap_blobs", "--json").stdout
    return int(json.loads(said)["job_id"])


def ended(stack: RunningStack, job: int) -> dict[str, Any]:
    return wait_until(
        lambda: shown if (shown := stack.job(job))["status"] in ENDED else None,
        description=f"job {job} over (seed {SEED})",
        timeout=900,
        poll=1,
    )


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_two_hundred_cards_end_with_every_photograph_accounted_for(
    card_places: cards.Places, own_stack_process: RunningStack, tmp_path: Path
) -> None:
    """A1, A2: also what no worker may load, and the next cards in the same slots, of which nothing is skipped.

    Twenty cards a job, because a job has a run of its own, which takes seconds.
    """
    print(f"CHAOS_SEED={SEED}")
    stack = own_stack_process
    stack.environment |= {
        **CREDENTIALS,
        "ANTENNA_S3_ENDPOINT_URL": card_places.endpoint,
        "ANTENNA_ALLOW_PRIVATE_HOSTS": "true",
        # A host that refuses connections is tried for 13 minutes otherwise.
        "ANTENNA_MAX_ATTEMPTS": "3",
    }
    drawn = cards.draw(int(SEED), 200, tmp_path / "cards", card_places)
    stack.up()
    expected: dict[int, dict[str, str]] = {}
    for first in range(0, len(drawn), 20):
        part = drawn[first : first + 20]
        job = submitted(stack, [source for card in part for source in card.sources])
        expected[job] = {name: becomes for card in part for name, becomes in card.outcomes().items()}
    for job in list(expected):
        ended(stack, job)

    becomes = {name: outcome for card in drawn for name, outcome in card.insert_next().items()}
    slots = [source for card in drawn for source in card.next_sources]
    expected[submitted(stack, slots)] = becomes
    for job, right in expected.items():
        shown = ended(stack, job)
        counted = (shown["total"], shown["skipped"], shown["done"] + shown["failed"])
        assert counted == (len(right), 0, len(right)), f"seed {SEED}, job {job}"
        # The tables of the cards before are what they were.
        assert outcomes(stack.home / "lake", job) == right, f"seed {SEED}, job {job}"
    known = ended(stack, submitted(stack, slots))
    assert known["skipped"] == list(becomes.values()).count(cards.DONE)
