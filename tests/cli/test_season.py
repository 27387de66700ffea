"""`antenna season`, at 80 columns: the nights of a season and what is wrong with them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from antenna_orchestration.cli import output
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import opened
from tests.answers.seasons import look_and_process, put, stamps, traps
from tests.cli.shells import Shell

LAST = datetime.now(UTC).date() - timedelta(days=5)


@pytest.mark.long
def test_a_season_shows_its_nights_and_what_is_wrong(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    own = ("season", "--project", project)
    antenna(*own).refused(3, f"there is no project {project}; `antenna projects list` shows all")

    async def run() -> None:
        async with opened(shared_stores.settings) as services:
            name = "by the pond at the end of the wood"
            watched = await traps(services, project, tmp_path, [name])
            for back in range(2):
                put(tmp_path / name, stamps(LAST - timedelta(days=back), 4))
            await look_and_process(services, project, watched)

    asyncio.run(run())
    done = antenna(*own)
    lines = done.out.splitlines()
    assert done.code == 0 and max(map(len, lines)) <= 80
    assert lines[0].split()[:3] == ["NIGHT", "DEPLOYMENT", "FOUND"]
    assert [line.split()[0] for line in lines[1:3]] == [str(LAST - timedelta(days=1)), str(LAST)]
    # The last night was five days ago, and a card that has just come has nothing of the nights since.
    assert "trap_silent" in done.out and "no photographs for" in done.out
    one = antenna(*own, "--nights", "1").out
    assert str(LAST - timedelta(days=1)) not in one.split("\n\n")[0] and "and 1 earlier night; --all shows them" in one
    told = antenna(*own, "--json").json
    assert [night["numbers"]["photographs_found"] for night in told["nights"]] == [4, 4]
    [found] = told["findings"]
    assert (found["kind"], found["night"]) == ("trap_silent", str(LAST + timedelta(days=1)))
