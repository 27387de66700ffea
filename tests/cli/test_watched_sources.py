"""`antenna sources`, at 80 columns: from a folder to what was found in it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.cli import output
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import opened
from tests.cli.shells import Shell
from tests.processing.watched import photograph


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)


def look(stores: EmbeddedStores) -> Round:
    async def run() -> Round:
        async with opened(stores.settings) as services:
            return await new_captures.round_(services) or Round()

    return asyncio.run(run())


def test_a_source_from_its_folder_to_its_removal(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    own = ("--project", project)
    folder = tmp_path / "a card with a long name that is copied" / "DCIM"
    photograph(folder / "20260612221500.jpg", "one")
    assert "no source is watched; `antenna sources add`" in antenna("sources", "list", *own).err
    missing = ("--uri", str(tmp_path / "no"), "--deployment", "pond", *own)
    antenna("sources", "add", *missing).refused(2, "cannot be listed: No such file or directory")
    named = ("--uri", str(folder), "--deployment", "pond at the end of the wood")
    antenna("sources", "add", *named, "--cron", "0 7 * *", *own).refused(2, "cron '0 7 * *' is not a cron expression")
    done = antenna("sources", "add", *named, "--pipeline", "null", *own)
    assert done.code == 0 and f"project {project} is new" in done.err
    number = done.out.split()[1]
    assert done.out == f"source {number} is watched for deployment pond at the end of the wood\n"

    look(shared_stores)
    lines = antenna("sources", "list", *own).out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [name for name in lines[0].split() if name != "LOOKED"] == [
        "SOURCE", "DEPLOYMENT", "FOUND", "SUBMITTED", "DUPLICATES", "STATE",
    ]  # fmt: skip
    [listed] = antenna("sources", "list", *own, "--json").json
    assert (listed["location"], listed["found"], listed["not_at_rest"], listed["to_submit"]) == (str(folder), 1, 1, 0)
    assert listed["standing"][0].startswith("1 file not at rest, the last change ")
    shown = antenna("sources", "show", number).out
    assert f"location    {folder}\n" in shown and "every 5 min; a file is at rest after 10 min" in shown

    assert (
        antenna("sources", "pause", number).out
        == f"source {number} is paused; `antenna sources resume {number}` goes on\n"
    )
    assert antenna("sources", "show", number, "--json").json["standing"] == ["paused"]
    assert antenna("sources", "resume", number).code == 0
    folder.rename(tmp_path / "away")
    look(shared_stores)
    lines = antenna("sources", "list", *own).out.splitlines()
    assert max(map(len, lines)) <= 80
    # Where people look at the deployment, too.
    assert f"warning: source {number} of deployment pond" in antenna("deployments", "list", *own).err

    assert (
        antenna("sources", "remove", number).out
        == f"source {number} is not watched any more; its jobs and results stay\n"
    )
    antenna("sources", "show", number).refused(3, f"there is no source {number}; `antenna sources list`")
