"""Drawn cards are read to the last photograph: listed, loaded and decoded, or failed with a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines import images
from antenna_orchestration.settings import Settings
from antenna_orchestration.submission import sources
from tests import cards
from tests.submission.s3_store import CREDENTIALS, s3_store
from tests.whole.seeds import SEED


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[cards.Places]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_store() as endpoint, cards.places_for(tmp_path / "cards", endpoint) as places:
        yield places


async def outcomes(named: list[str], loader: Loader, config: Settings) -> dict[str, str]:
    """What comes of each photograph of what is named where a worker loads and decodes it."""
    gathered = await asyncio.to_thread(sources.gather, named, settings=config)
    found = {}
    for image in gathered.images:
        name = cards.name_of(image.uri)
        assert name not in found, f"{image.uri} is there twice"
        try:
            data = await loader.load(image.uri, version=image.version)
            loader.memory.release(len(data))
            images.decode(data)
        except errors.ImageUnusable:
            found[name] = cards.FAILED
        except (errors.ImageForbidden, errors.ImageUnreachable):
            found[name] = cards.WITHHELD
        else:
            found[name] = cards.DONE
    return found


async def all_as_they_should(
    seed: int, count: int, folder: Path, places: cards.Places, tmp_path: Path, *, mixed: bool = True
) -> None:
    config = settings.load(home=tmp_path, s3_endpoint_url=places.endpoint, allow_private_hosts=True)
    async with Loader(settings=config, memory=MemoryBudget(2**26)) as loader:
        drawn = await asyncio.to_thread(cards.draw, seed, count, folder, places, mixed=mixed)
        for card in drawn:
            async with asyncio.timeout(120):
                found = await outcomes(card.sources, loader, config)
            assert found == card.loads(), f"seed {seed}, card {card.number}: {card.shapes}, {card.sources}"
            if card.next_sources:
                await next_card_is_new(card, loader, config)


async def next_card_is_new(card: cards.Card, loader: Loader, config: Settings) -> None:
    """A2: what is in the slot now is not what was submitted, and is read like any other card."""
    before = await asyncio.to_thread(sources.gather, card.next_sources, settings=config)
    becomes = card.insert_next()
    for image in before.images:
        with pytest.raises(errors.ImageChanged):
            await loader.load(image.uri, version=image.version)
    assert await outcomes(card.next_sources, loader, config) == becomes


@pytest.mark.long
async def test_each_photograph_of_one_card_a_shape_ends_as_it_should(places: cards.Places, tmp_path: Path) -> None:
    await all_as_they_should(16, len(cards.SHAPES), tmp_path / "cards", places, tmp_path, mixed=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_each_photograph_of_two_hundred_cards_ends_as_it_should(places: cards.Places, tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")
    await all_as_they_should(int(SEED), 200, tmp_path / "cards", places, tmp_path)
