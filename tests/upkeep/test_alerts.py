"""Alerts from what is wrong to those who are told: once, again, and that it is over; by whom, and by whom not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from antenna_orchestration.alerting import configuration
from antenna_orchestration.alerting.configuration import AlertSettings
from antenna_orchestration.domain.alerts import Alert, Event, Seen
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.lake import paths
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.upkeep import alert_sources, alerts, health
from antenna_orchestration.upkeep.alert_sources import Looking
from tests.alerting.receivers import Receiver, web_receiver
from tests.processing.jobs_by_hand import claimed, make_job
from tests.waiting import eventually

Say = Callable[..., AlertSettings]


class Wrong:
    """A source of alerts that says what the test wants."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.names: list[str] = []
        self.error: Exception | None = None

    async def __call__(self, _records: Records, _looking: Looking) -> Seen:
        if self.error:
            raise self.error
        return Seen(
            of=(f"{self.project}:",),
            alerts=[
                Alert(key=f"{self.project}:{name}", event=Event.SEASON, project=self.project, subject=name, text="t")
                for name in self.names
            ],
        )


@pytest.fixture(scope="module")
def receiving() -> Iterator[Receiver]:
    with web_receiver() as receiver:
        yield receiver


@pytest.fixture
def web(receiving: Receiver) -> Receiver:
    receiving.__init__(url=receiving.url)  # type: ignore[misc]
    return receiving


@pytest.fixture
def wrong(project: str) -> Wrong:
    return Wrong(project)


@pytest.fixture
async def said(web: Receiver, project: str, tmp_path: Path, services: Services) -> AsyncIterator[Say]:
    """The file of alerts: one target, which hears of the test's project alone."""

    def say(targets: dict[str, object] | None = None, **more: object) -> AlertSettings:
        named = targets or {project[:8]: {}}
        made = {
            name: {"kind": "webhook", "url": f"{web.url}/{name}", "projects": [project], **(given or {})}  # type: ignore[dict-item]
            for name, given in named.items()
        }
        file = tmp_path / "alerts.yaml"
        file.write_text(json.dumps({"ui_url": "http://ui.example", "targets": made, **more}))
        return configuration.read(file)

    yield say
    # Alerts of this test are nobody else's business.
    await on_clock(services, project, "ended_at = now()")


async def on_clock(services: Services, project: str, change: str) -> None:
    """Let time pass for the test's alerts, or for its targets."""
    async with services.catalog.database.transaction() as connection:
        await connection.execute(f"UPDATE alerts SET {change} WHERE project = %s".encode(), [project])


async def target_may_try(services: Services) -> None:
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE alert_targets SET next_try_at = now()")


def has_come(web: Receiver) -> Callable[[], Awaitable[bool]]:
    async def come() -> bool:
        return bool(web.posts)

    return come


async def round_(services: Services, said: AlertSettings, *sources: alert_sources.Source) -> list[bool]:
    assert await alerts.look(services, said, sources=sources)
    return [one.is_sent for one in await alerts.send_waiting(services, said)]


async def test_one_thing_is_told_once_again_and_that_it_is_over(
    services: Services, web: Receiver, wrong: Wrong, said: Say, project: str
) -> None:
    wrong.names = ["a trap is silent"]
    for _ in range(3):
        await round_(services, said(), wrong)
    assert web.subjects == ["a trap is silent"]
    await on_clock(services, project, "told_at = told_at - interval '25 h', began_at = began_at - interval '25 h'")
    for _ in range(2):
        await round_(services, said(), wrong)
    assert web.subjects[1:] == ["still: a trap is silent"] and "This is so for 25 h" in web.posts[1].json["text"]
    # Gone for a moment is not over, and a source that cannot look says nothing.
    wrong.names = []
    await round_(services, said(), wrong)
    await on_clock(services, project, "seen_at = seen_at - interval '301 s'")
    wrong.error = RuntimeError("the lake is away")
    done = await alerts.look(services, said(), sources=[wrong])
    assert done and done.failed == ["a source could not look: the lake is away"]
    wrong.error = None
    for _ in range(2):
        await round_(services, said(), wrong)
    assert web.subjects[2:] == ["well again: a trap is silent"]
    # If it is wrong again, that is another alert.
    wrong.names = ["a trap is silent"]
    await round_(services, said(), wrong)
    assert web.subjects[3:] == ["a trap is silent"]
    assert len({post.json["id"] for post in web.posts}) == 4


async def test_two_daemons_tell_once(services: Services, web: Receiver, wrong: Wrong, said: Say, project: str) -> None:
    wrong.names = ["one", "two", "three"]
    file = said()

    async def daemon() -> None:
        for _ in range(4):
            await alerts.look(services, file, sources=[wrong])
            await alerts.send_waiting(services, file)

    await asyncio.gather(*(daemon() for _ in range(4)))
    assert sorted(web.subjects) == ["one", "three", "two"]


async def test_what_is_told_has_a_guard_besides_the_lock(
    services: Services, wrong: Wrong, said: Say, project: str
) -> None:
    # As if the lock were lost with its connection: all decide the same at once.
    catalog, file = services.catalog.alerts, said()
    wrong.names = ["one"]
    seen = await wrong(services, Looking(since=await catalog.begin_round(), wanted=file.events, opened=()))
    await asyncio.gather(*(catalog.see(seen.alerts) for _ in range(5)))
    [alert] = [one for one in await catalog.open() if one.project == project]
    decided = alerts.rules.decide([alert], [seen], now=alert.seen_at, patience={}, remind_after=60)
    made = await asyncio.gather(
        *(catalog.note(decided, {alert.alert_id: ["nobody"]}, remind_after=60) for _ in range(5))
    )
    assert sum(map(len, made)) == 1
    await catalog.drop_old_messages(0)


async def test_a_message_sent_and_not_noted_comes_twice_with_its_id(
    services: Services, web: Receiver, wrong: Wrong, said: Say
) -> None:
    wrong.names = ["one", "two"]
    file = said()
    await alerts.look(services, file, sources=[wrong])

    # The process dies between sending and noting.
    web.hangs = True
    sending = asyncio.create_task(alerts.send_waiting(services, file))
    await eventually(has_come(web), description="a message has come")
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    web.hangs = False
    await alerts.send_waiting(services, file)
    assert web.subjects == ["one", "one", "two"]
    assert web.posts[0].json["id"] == web.posts[1].json["id"]


async def test_a_target_that_fails_rests_and_keeps_no_other(
    services: Services, web: Receiver, wrong: Wrong, said: Say, project: str, tmp_path: Path
) -> None:
    good, bad = f"good-{project[:8]}", f"bad-{project[:8]}"
    wrong.names = ["one", "two"]
    file = said({good: {}, bad: {"url": "http://127.0.0.1:9/"}})
    assert sorted(await round_(services, file, wrong)) == [False, True, True]
    # It rests: nothing is tried.
    assert await round_(services, file, wrong) == []
    services = replace(services, settings=services.settings.model_copy(update={"alerts": tmp_path / "alerts.yaml"}))
    [check] = (await health._run(services, ["alerts"], dry_run=True)).results
    [line] = [line for line in check.details if bad in line]
    assert (
        check.unfixable and "1 try since" in line and "2 messages waiting: Cannot connect to host 127.0.0.1:9" in line
    )
    # What is over before it could be told is told as one.
    wrong.names = ["two"]
    await on_clock(services, project, "seen_at = seen_at - interval '301 s'")
    await target_may_try(services)
    file = said({good: {}, bad: {}})
    await round_(services, file, wrong)
    assert [post.json["subject"] for post in web.posts if post.path == f"/{bad}"] == ["two", "well again: one"]
    assert not [
        line for line in (await health._run(services, ["alerts"], dry_run=True)).results[0].details if bad in line
    ]


async def test_a_refused_message_keeps_no_other_and_is_given_up_later(
    services: Services, web: Receiver, wrong: Wrong, said: Say, project: str
) -> None:
    wrong.names, web.status, file = ["refused"], 400, said()
    assert await round_(services, file, wrong) == [False]
    web.status = 200
    wrong.names = ["refused", "another"]
    await alerts.look(services, file, sources=[wrong])
    await target_may_try(services)
    await alerts.send_waiting(services, file)
    assert web.subjects == ["another", "refused"]
    web.status = 400
    wrong.names = ["for long"]
    assert await round_(services, file, wrong) == [False]
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE alert_messages SET made_at = made_at - interval '169 h' WHERE sent_at IS NULL")
    await alerts.look(services, file, sources=[wrong])
    [told] = [
        one for one in await services.catalog.alerts.told(ended=False, project=project) if one.subject == "for long"
    ]
    assert [bool(message["dropped_at"]) for message in told.messages] == [True]
    assert "it answered 400" in told.messages[0]["error"]


async def test_what_waited_for_two_days_is_told_as_it_is_now(
    services: Services, web: Receiver, wrong: Wrong, said: Say, project: str
) -> None:
    wrong.names, web.status, file = ["trap", "gone"], 503, said()
    await round_(services, file, wrong)
    for _ in range(2):
        await on_clock(
            services, project, "began_at = began_at - interval '25 h', told_at = told_at - interval '25 h', "
            "reminded_at = reminded_at - interval '25 h'",
        )  # fmt: skip
        async with services.catalog.database.transaction() as connection:
            await connection.execute("UPDATE alert_messages SET made_at = made_at - interval '25 h'")
        await alerts.look(services, file, sources=[wrong])
    web.status = 200
    await target_may_try(services)
    await alerts.send_waiting(services, file)
    assert web.subjects == ["still: gone", "still: trap"] or web.subjects == ["still: trap", "still: gone"]


async def test_what_was_seen_before_nobody_looked_has_not_lasted(
    services: Services, said: Say, wrong: Wrong, project: str
) -> None:
    # A stack that stops while jobs wait, and starts the next morning before its workers do.
    catalog, key = services.catalog.alerts, f"{project}:one"
    alert = Alert(key=key, event=Event.NO_WORKER, project=project, subject="s", text="t")
    lasted = {}
    for hours in ("0", "8"):
        await catalog.see([alert])
        for change in ("began_at = began_at - interval '29 min'", f"seen_at = seen_at - interval '{hours} h'"):
            await on_clock(services, project, change)
        await catalog.see([alert])
        [found] = [one for one in await catalog.open() if one.key == key]
        lasted[hours] = (found.seen_at - found.began_at).total_seconds()
    assert lasted["0"] >= 29 * 60 and lasted["8"] == 0


async def test_an_unreadable_season_keeps_no_other_and_is_not_well(
    services: Services, said: Say, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_sources, "_seasons_looked_at", -1e9)
    opened = Alert(key=f"season:{project}:x:y:z", event=Event.SEASON, project=project, subject="s", text="t")
    await services.catalog.alerts.see([opened])
    looking = Looking(
        since=await services.catalog.now(), wanted=frozenset(Event), opened=await services.catalog.alerts.open()
    )
    services.lake.write_bytes(paths.season(paths.SEASON_TABLES[0], project), b"no parquet")
    seen = await alert_sources.findings_of_seasons(services, looking)
    assert opened.key in {one.key for one in seen.alerts} and seen.of == ("season:",)


async def test_a_storm_is_one_message(services: Services, web: Receiver, wrong: Wrong, said: Say) -> None:
    wrong.names = [f"trap {number} is silent" for number in range(40)]
    assert await round_(services, said(most_at_once=5), wrong) == [True]
    assert web.subjects == ["40 alerts: 40 new"]
    assert "- trap 0 is silent\n" in web.posts[0].json["text"] and "… and 20 others" in web.posts[0].json["text"]


async def test_a_target_that_hangs_keeps_no_other(
    services: Services, web: Receiver, wrong: Wrong, said: Say, project: str
) -> None:
    with web_receiver() as stuck:
        stuck.hangs = True
        wrong.names = ["one"]
        file = said({f"stuck-{project[:8]}": {"url": stuck.url, "timeout_seconds": 0.5}, f"quick-{project[:8]}": {}})
        assert sorted(await round_(services, file, wrong)) == [False, True]
    assert web.subjects == ["one"]


# What is wrong.


async def failed(services: Services, job: Job, reason: str = "300 of 400 images failed") -> Job:
    assert await services.catalog.jobs.finish(job.job_run, JobStatus.FAILURE, reason)
    return await services.catalog.jobs.get(job.job_id)


async def test_a_failed_job_is_told_once_and_well_after_a_retry(
    services: Services, web: Receiver, said: Say, project: str
) -> None:
    file, source = said(), alert_sources.ended_jobs
    await round_(services, file, source)
    job = await failed(services, await claimed(services, await make_job(services, project, 1, name="pond <&> \n x")))
    for _ in range(2):
        await round_(services, file, source)
    [post] = web.posts
    assert post.json["subject"] == f"job {job.job_id} failed: pond <&>   x"
    assert "ended as FAILURE: 300 of 400 images failed." in post.json["text"]
    assert f"`antenna jobs retry {job.job_id}`" in post.json["text"]
    assert post.json["link"] == "http://ui.example/runs/run"
    # Tried again it is still one that failed, until it is done.
    assert await services.catalog.jobs.retry(job.job_id)
    job = await claimed(services, await services.catalog.jobs.get(job.job_id))
    await on_clock(services, project, "seen_at = seen_at - interval '301 s'")
    await round_(services, file, source)
    assert len(web.posts) == 1
    assert await services.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None)
    await on_clock(services, project, "seen_at = seen_at - interval '301 s'")
    await round_(services, file, source)
    assert web.subjects[1:] == [f"well again: {post.json['subject']}"]


async def test_jobs_that_failed_before_anybody_looked_are_not_told(services: Services, project: str) -> None:
    await failed(services, await claimed(services, await make_job(services, project, 1)))
    since = await services.catalog.now()
    jobs = await services.catalog.jobs.ended_untold(statuses=[JobStatus.FAILURE], since=since, limit=100)
    assert project not in {job.project for job in jobs}


async def test_successes_are_told_to_those_who_want_them(
    services: Services, web: Receiver, said: Say, project: str
) -> None:
    name = project[:8]
    plain, eager = said(), said({name: {"events": ["job_success"]}})
    await round_(services, plain, alert_sources.ended_jobs)
    job = await claimed(services, await make_job(services, project, 1))
    assert await services.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None)
    await round_(services, plain, alert_sources.ended_jobs)
    assert not web.posts
    for _ in range(2):
        await round_(services, eager, alert_sources.ended_jobs)
    assert web.subjects == [f"job {job.job_id} is done: test"]


async def test_jobs_without_a_worker_are_one_alert_when_they_waited(
    services: Services, web: Receiver, said: Say, project: str
) -> None:
    file, source = said(), alert_sources.unserved_jobs
    jobs = [await make_job(services, project, 2) for _ in range(3)]
    await round_(services, file, source)
    assert not web.posts
    await on_clock(services, project, "began_at = began_at - interval '31 min'")
    for _ in range(2):
        await round_(services, file, source)
    [post] = web.posts
    assert post.json["subject"] == f"no worker for null in {project}: 3 jobs"
    assert f"Job {jobs[0].job_id} (test) and 2 others like it, 6 images in all" in post.json["text"]
    assert "no worker listens for null" in post.json["text"]
    for job in jobs:
        assert await services.catalog.jobs.cancel(job.job_id, "test")


@pytest.mark.long
async def test_a_server_that_is_away_is_an_alert(services: Services, project: str) -> None:
    away = replace(services, settings=services.settings.model_copy(update={"nats_url": "nats://u:s3cr3t@127.0.0.1:9"}))
    looking = Looking(since=await services.catalog.now(), wanted=frozenset(Event), opened=())
    assert not (await alert_sources.silent_servers(services, looking)).alerts
    [alert] = (await alert_sources.silent_servers(away, looking)).alerts
    assert alert.key == "server:nats" and "s3cr3t" not in alert.text
