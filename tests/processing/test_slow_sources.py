"""Sources whose disk is slow or hangs: they come forward, keep no others waiting, and say what they wait for."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from antenna_orchestration.catalog.sources import FoundFile
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures, source_threads, watched_sources
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.source_threads import Failed, Work
from tests.processing import rounds_process
from tests.processing.slow_disks import slow_disk
from tests.processing.watched import Watched, photograph, watch
from tests.waiting import eventually

EVENING, MORNING, NEXT = "20260612221500.jpg", "20260613044000.jpg", "20260613221500.jpg"


@pytest.fixture
def piecemeal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice is one thing, and a step a few of them, as of a disk that needs a second for each file."""
    monkeypatch.setattr(source_threads, "MOST", 1)
    monkeypatch.setattr(new_captures, "LISTING", 0.05)
    monkeypatch.setattr(new_captures, "READING", 0.05)
    monkeypatch.setattr(new_captures, "SUBMITTING", 0.05)
    monkeypatch.setattr(new_captures, "TURN", 0.05)


def held() -> int:
    """The threads of watched sources: asyncio begins others of its own whenever it likes."""
    return sum(thread.name == "watched source" for thread in threading.enumerate())


async def standing(source: Watched) -> list[str]:
    return watched_sources.standing(await source.state(), datetime.now(UTC))


@pytest.mark.long
async def test_a_look_that_takes_many_rounds_comes_to_its_end(
    services: Services, project: str, tmp_path: Path, piecemeal: None
) -> None:
    names = [f"{folder}/202606122215{number:02}.jpg" for folder in "abcde" for number in range(60)]
    for name in names:
        photograph(tmp_path / "a" / name, name)
    source = await watch(services, project, tmp_path / "a")
    rounds, states = 0, []

    async def is_submitted() -> bool:
        nonlocal rounds
        rounds += 1
        await source.look()
        states.append(await standing(source))
        return bool(await source.jobs())

    await eventually(is_submitted, description="the night is submitted", timeout=240, poll=0)
    assert await source.jobs() == [f"pond 2026-06-12: {len(names)}"], "a night was cut up while it was listed"
    assert rounds > 3 and "being listed" in states[0], states
    assert not any("cannot be listed" in line for state in states for line in state)


async def test_a_process_that_dies_begins_anew(
    services: Services, project: str, tmp_path: Path, piecemeal: None
) -> None:
    # More than a fast machine lists in one step.
    for number in range(300):
        photograph(tmp_path / "a" / f"2026061222{number // 60:02}{number % 60:02}.jpg", f"photograph {number}")
    source = await watch(services, project, tmp_path / "a")
    done = Round()
    while not (await source.state()).found:
        await services.catalog.sources.resume(source.number)
        await new_captures.list_due(services, done)
    assert (await source.state()).is_being_listed
    # What the other process had listed is not listed to its end for this one.
    await new_captures.read_waiting(services, Round())
    await new_captures.submit_read(services, Round())
    assert await source.jobs() == []
    done = Round()
    while (await source.state()).is_being_listed:
        await services.catalog.sources.resume(source.number)
        await new_captures.list_due(services, done)
    assert (await source.state()).found == 300


async def test_what_hangs_holds_one_thread_and_is_taken_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_threads, "MOST", 1)
    mended = threading.Event()

    def things() -> Iterator[str | None]:
        yield None
        yield "first"
        mended.wait()
        yield "second"
        raise OSError("the disk is gone")

    def seconds(wait: float) -> float:
        return time.monotonic() + wait

    work = Work(things())
    assert await work.slice(seconds(60)) == ["first"] == await work.slice(0)
    work.taken()
    assert await work.slice(0) is None and not work.busy, "nothing is begun when the time is over"
    assert await work.slice(seconds(0.01)) is None
    threads = held()
    for _ in range(5):
        assert await work.slice(seconds(0.01)) is None
    assert work.busy > 0 and held() <= threads
    other = Work(iter(["of another source"]))
    assert await other.slice(seconds(60)) == ["of another source"]
    mended.set()
    assert await work.slice(seconds(60)) == ["second"]
    work.taken()
    with pytest.raises(Failed, match="the disk is gone"):
        await work.slice(seconds(60))
    assert work.is_over and await work.slice(seconds(60)) is None


async def test_a_source_that_hangs_keeps_no_other_waiting(
    services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both are in the same turn; with others after them in the queue.
    monkeypatch.setattr(new_captures, "TURN", 0.05)
    photograph(tmp_path / "a" / EVENING, "one")
    photograph(tmp_path / "b" / EVENING, "one")
    hangs = await watch(services, project, tmp_path / "a", deployment="first")
    other = await watch(services, project, tmp_path / "b", deployment="second")
    mended = threading.Event()

    def blocked() -> Iterator[FoundFile]:
        mended.wait()
        yield FoundFile(f"file://{tmp_path}/a/{MORNING}", "1-1", 1)

    kept: dict[int, new_captures._Kept] = {hangs.number: new_captures._Kept(look=Work(blocked()))}

    async def look() -> Round:
        for source in (hangs, other):
            await services.catalog.sources.resume(source.number)
        done = Round(kept=kept)
        for step in (new_captures.list_due, new_captures.read_waiting, new_captures.submit_read):
            await step(services, done)
        return done

    async def is_submitted() -> bool:
        await look()
        return bool(await other.jobs())

    # On a busy machine its own turn may be too short as well.
    await eventually(is_submitted, description="the other one is submitted", poll=0)
    assert await other.jobs() == ["second 2026-06-12: 1"]
    # Nothing is wrong yet.
    assert (await hangs.state()).failures == 0
    monkeypatch.setattr(new_captures, "ANSWERS_WITHIN", 0.0)
    threads = held()
    for failures in range(1, 7):
        done = await look()
        assert f"source {hangs.number}: it has not answered for" in done.line
        assert (await hangs.state()).failures == failures
    # Not one more for each round; on a busy machine the other source holds one for listing and one for reading.
    assert held() <= threads + 2
    assert (await standing(hangs))[0].startswith("cannot be listed: it has not answered for ")
    assert (await watched_sources.troubles(services, project))[0].startswith(f"source {hangs.number} of deployment")
    monkeypatch.setattr(new_captures, "ANSWERS_WITHIN", 60.0)
    mended.set()

    async def is_listed() -> bool:
        await look()
        return (await hangs.state()).found == 1

    await eventually(is_listed, description="what it found is noted")
    state = await hangs.state()
    assert (state.failures, state.error, state.is_being_listed) == (0, "", False)


async def test_a_look_that_goes_on_keeps_no_file_from_being_read(
    services: Services, project: str, tmp_path: Path
) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a")
    done = Round()
    await new_captures.list_due(services, done)
    answers = threading.Event()

    def slow() -> Iterator[FoundFile]:
        answers.wait()
        yield FoundFile(f"file://{tmp_path}/a/{MORNING}", "1-1", 1)

    look = done.kept[source.number].look = Work(slow())
    assert await look.slice(time.monotonic() + 0.01) is None and look.busy
    threading.Timer(0.1, answers.set).start()
    await new_captures.read_waiting(services, done)
    assert (await source.state()).read == 1
    assert await look.slice(time.monotonic() + 60), "what it found is still there"


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_share_that_is_slow_and_then_hangs_comes_forward(
    own_stores: EmbeddedStores, own_services: Services, project: str, tmp_path: Path
) -> None:
    count = 3_000
    for number in range(count):
        photograph(tmp_path / "share" / "100MEDIA" / f"20260612221500_{number:04}.jpg", f"photograph {number}")
    slow = await watch(own_services, project, tmp_path / "share", deployment="slow", every="15s")
    (tmp_path / "quick").mkdir()
    quick = await watch(own_services, project, tmp_path / "quick", deployment="quick", every="15s")

    def threads() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("Threads:")[2].split()[0])

    async def found() -> int:
        return (await slow.state()).found

    async def jobs_of(deployment: str) -> list[str]:
        return [job for job in await slow.jobs() if job.startswith(deployment)]

    async def says(what: str) -> bool:
        return any(what in line for line in await standing(slow))

    with slow_disk(tmp_path / "share") as disk:
        # A question takes 10 ms: 30 s for the folder, twice what a slice may take.
        disk.answer_after(10)
        numbers = (slow.number, quick.number)
        with rounds_process.looking(own_stores, *numbers, log=tmp_path / "log", variables=disk.environment) as process:
            await eventually(found, description="some are found")
            photograph(tmp_path / "quick" / EVENING, "one")
            await eventually(lambda: jobs_of("quick"), description="the quick one is submitted")
            assert 0 < await found() < count and await says("being listed") and not await jobs_of("slow")
            disk.hang()
            await eventually(lambda: says("has not answered for"), description="it says that it hangs")
            before = threads()
            photograph(tmp_path / "quick" / NEXT, "two")

            async def two_jobs() -> bool:
                return len(await jobs_of("quick")) == 2

            await eventually(two_jobs, description="the quick one goes on")
            # Tried again, as a person does.
            for _ in range(3):
                await own_services.catalog.sources.resume(slow.number)
            assert threads() <= before + 1
            disk.answer_after(10)
            await own_services.catalog.sources.resume(slow.number)

            async def all_found() -> bool:
                return await found() == count

            await eventually(all_found, description="all are found", timeout=180)
            disk.answer_after(0)
            await eventually(lambda: jobs_of("slow"), description="they are submitted", timeout=180)
    assert await jobs_of("slow") == [f"slow 2026-06-12: {count}"]
