"""What the health check says of a lake that takes no files, or does not answer."""

from __future__ import annotations

import socket
import threading
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from antenna_orchestration.processing import lake_watch
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.upkeep import health
from antenna_orchestration.upkeep.health import CheckResult


async def check(services: Services, name: str) -> CheckResult:
    report = await health.watch(services)
    return next(result for result in report.results if result.name == name)


async def test_a_lake_that_takes_files_passes(services: Services) -> None:
    result = await check(services, "lake")
    assert (result.checked, result.unfixable) == (1, 0)
    assert not list(Path(services.settings.lake).glob(".antenna.probe*"))


async def test_a_lake_that_takes_no_files_fails_the_check(services: Services, tmp_path: Path) -> None:
    """A job waited, and the only line about it was that no worker listens: they had done all tasks, and left."""
    (tmp_path / "file").touch()
    settings = services.settings.model_copy(update={"lake_uri": str(tmp_path / "file" / "lake")})
    async with opened(settings) as away:
        result = await check(away, "lake")
        # A full one, too: `disk_space` has to say that there is no room.
        assert await lake_watch.answers(away)
        await lake_watch.check_answers(away)
    assert result.unfixable == 1
    assert result.details[0].endswith("results wait on the queue meanwhile")


@pytest.mark.long
async def test_a_lake_that_does_not_answer_holds_up_one_thread(
    own_services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tick of the sensor left another one that waits, until no sensor had any."""
    monkeypatch.setattr(lake_watch, "ANSWERS_WITHIN", 0.5)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    # It takes connections, and says nothing.
    async with AsyncExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        settings = own_services.settings.model_copy(update={"lake_uri": "s3://traps/lake", "s3_endpoint_url": endpoint})
        away = await stack.enter_async_context(opened(settings))
        first, second = await check(away, "lake"), await check(away, "lake")
        assert first.unfixable == second.unfixable == 1
        assert "s3://traps/lake has not answered for" in second.details[0]
        assert not await lake_watch.answers(away)
        assert not (await check(away, "disk_space")).unfixable
        assert (await health.clear_leftovers(away)).details[-1].startswith("not looked at: the lake s3://")
        threads = [one for one in threading.enumerate() if one.name == "look at the lake"]
        assert len(threads) == 1
