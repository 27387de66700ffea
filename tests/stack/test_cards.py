"""Two hundred drawn cards go through a running stack: every photograph ends, and nothing hangs."""

import json
from collections.abc import Iterator
from pathlib import Path

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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_cards_end_with_every_photograph_accounted_for(
    card_places: cards.Places, own_stack_process: RunningStack, tmp_path: Path
) -> None:
    """Twenty cards a job, because a job has a run of its own, which takes seconds."""
    print(f"CHAOS_SEED={SEED}")
    stack = own_stack_process
    stack.environment |= {
        **CREDENTIALS,
        "ANTENNA_S3_ENDPOINT_URL": card_places.endpoint,
        "ANTENNA_ALLOW_PRIVATE_HOSTS": "true",
    }
    drawn = cards.draw(int(SEED), 200, tmp_path / "cards", card_places)
    stack.up()
    parts = [drawn[first : first + 20] for first in range(0, len(drawn), 20)]
    jobs = []
    for part in parts:
        named = [source for card in part for source in card.sources]
        said = stack.antenna("submit", *named, "--pipeline", "light_trap_blobs", "--json").stdout
        jobs.append(int(json.loads(said)["job_id"]))
    for job, part in zip(jobs, parts, strict=True):
        expected = {name: becomes for card in part for name, becomes in card.outcomes().items()}
        shown = wait_until(
            lambda job=job: shown if (shown := stack.job(job))["status"] in ENDED else None,
            description=f"job {job} over (seed {SEED})",
            timeout=900,
            poll=1,
        )
        assert (shown["total"], shown["done"] + shown["failed"]) == (len(expected), len(expected)), f"seed {SEED}"
        assert outcomes(stack.home / "lake", job) == expected, f"seed {SEED}, job {job}"
