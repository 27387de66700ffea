"""A machine as a person has it: `antenna up` in a fresh folder, a second shell, and whatever befalls both.

A test breaks something, and `Machine.recovers` looks at everything afterwards: each image counted once in the catalog
and in the lake, the right final state, no run of Dagster's without its process, nothing left behind, and how long it
took. Faults come from outside: signals, and changes of what lies on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import redis

from antenna_orchestration import errors, kernel
from antenna_orchestration import settings as settings_module
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded import environment, processes, stack
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.queue import names
from antenna_orchestration.settings import Settings
from tests.chaos.rig import each_image_once
from tests.recoveries import Recovery
from tests.stack.antenna_up import ANTENNA, RunningStack, blank_images
from tests.waiting import wait_until

T = TypeVar("T")

SERVERS = ("postgres", "nats", "redis", "code-server", "daemon", "webserver", "gateway")
PARTS = (*SERVERS, "supervisor", "front", "worker", "collector", "fork server")
"""Every process that there is while a job is processed."""

ENDS_THE_STACK = {"supervisor", "front"}
"""Without these the rest ends by itself, and a person starts it again."""

PATIENCE = 300.0
"""Seconds until a job has to be over. What is promised is a minute on a quiet machine; it is measured, not asserted."""

UNTIL_CLEAN = 150.0
"""Seconds after the job's end within which every trace has to be gone: two minutes, and a look."""

_LIVING_RUNS = ("STARTING", "STARTED", "CANCELING")
_OVER = ("SUCCESS", "FAILURE", "CANCELED")
PARTITION = "dagster/partition"
_DEVICE = "antenna_orchestration.worker.device.process"


@dataclass(frozen=True)
class Progress:
    """A job at one moment, in the catalog."""

    status: str
    total: int
    published: int
    done: int
    failed: int
    workers: frozenset[str]

    @property
    def accounted(self) -> int:
        """Images that are done or failed."""
        return self.done + self.failed

    @property
    def is_over(self) -> bool:
        """Whether the job has its final status."""
        return JobStatus(self.status).is_terminal


class Machine(RunningStack):
    """A stack in a folder of its own, made by nothing but `antenna up`."""

    def __init__(self, folder: Path, recoveries: list[Recovery], *, template: Path | None = None) -> None:
        super().__init__(folder / ".antenna", template=template)
        self.folder = folder
        self.photographs = folder
        """Where the folders of images are made."""
        self.recoveries = recoveries
        self.ready_at: float | None = None
        self._commands: list[subprocess.Popen[bytes]] = []
        self._folders = 0

    # What a person does.

    def wait_until_ready(self, *, timeout: float = 300) -> None:
        super().wait_until_ready(timeout=timeout)
        self.ready_at = time.monotonic()

    def type(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command in another shell, which a power loss ends, too."""
        command = self.background(*arguments)
        self._commands.append(command)
        return command

    def images(self, count: int) -> Path:
        """A folder of files that no pipeline opens; on the disk, whatever is lost afterwards."""
        self._folders += 1
        made = blank_images(self.photographs / f"trap-{self._folders}", count)
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file)
        kernel.sync_folder(made)
        kernel.sync_folder(made.parent)
        return made

    def null_job(self, images: int, *, delay_ms: float = 0, project: str = "default", interactive: bool = False) -> int:
        """Submit a job of the null pipeline."""
        config = json.dumps({"delay_ms": delay_ms})
        options = ["--pipeline", "null", "--config", config, "--project", project]
        return self.submit(self.images(images), *options, *(["--interactive"] if interactive else []))

    def asked(self, mutation: str, expected: str, **variables: object) -> dict[str, Any]:
        """Ask the UI's server for a change as its pages do, and see that it was made; its answer."""
        (answer,) = self.graphql(mutation, **variables).values()
        assert answer["__typename"] == expected, answer
        return dict(answer)

    def runs_of(self, job: int, *, over: bool | None = None) -> list[str]:
        """The `process_job` runs of a job, newest first: all, or those that are over, or those that are not."""
        found = self.runs("process_job", **{PARTITION: f"job-{job}"})
        return [run["runId"] for run in found if over is None or (run["status"] in _OVER) is over]

    def terminate(self, run: str, *, force: bool = False) -> None:
        """*Terminate* in the UI, perhaps with the check box *Force termination*."""
        self.asked(
            """mutation ($run: String!, $how: TerminateRunPolicy) { terminateRun(runId: $run, terminatePolicy: $how) {
                   __typename ... on PythonError { message } ... on TerminateRunFailure { message } } }""",
            "TerminateRunSuccess",
            run=run,
            how="MARK_AS_CANCELED_IMMEDIATELY" if force else "SAFE_TERMINATE",
        )

    def execute_again(self, run: str, *, strategy: str = "ALL_STEPS") -> str:
        """*Re-execute* in the UI; the new run."""
        answer = self.asked(
            """mutation ($how: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $how) { __typename
                   ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            "LaunchRunSuccess",
            how={"parentRunId": run, "strategy": strategy},
        )
        return str(answer["run"]["runId"])

    # What can be seen from outside.

    @property
    def settings(self) -> Settings:
        """Those of another shell."""
        known = environment.read(Home(self.home))
        given = {name.removeprefix("ANTENNA_").lower(): value for name, value in known.items()}
        wanted = {name: value for name, value in given.items() if name in Settings.model_fields and name != "home"}
        return settings_module.load(home=self.home, **{"task_ack_wait": 2.0, **wanted})

    def look(self, see: Callable[[Services], Awaitable[T]]) -> T:
        """What a coroutine function sees in the stores."""

        async def looking() -> T:
            async with opened(self.settings, max_connections=2) as services:
                return await see(services)

        return asyncio.run(looking())

    @contextmanager
    def catalog(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to the catalog's database."""
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            yield connection

    @contextmanager
    def dagster(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection to Dagster's database."""
        url = self.settings.dagster_pg_url.replace("+psycopg2", "")
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection

    def progress(self, job: int, connection: psycopg.Connection[Any] | None = None) -> Progress:
        """The job in the catalog, straight."""
        if connection is None:
            with self.catalog() as own:
                return self.progress(job, own)
        row = connection.execute(
            """SELECT j.status, j.total, g.published_upto,
                      count(*) FILTER (WHERE i.status = 'done'), count(*) FILTER (WHERE i.status = 'failed'),
                      array_remove(array_agg(DISTINCT i.worker), NULL)
               FROM jobs j LEFT JOIN job_generations g USING (job_id, generation) LEFT JOIN job_images i USING (job_id)
               WHERE j.job_id = %s GROUP BY 1, 2, 3""",
            [job],
        ).fetchone()
        assert row is not None, f"job {job} is not in the catalog"
        return Progress(row[0], row[1], row[2] or 0, row[3], row[4], frozenset(row[5]))

    def until(
        self,
        job: int,
        fact: Callable[[Progress], bool],
        *,
        description: str,
        timeout: float = 240.0,
        poll: float = 0.05,
    ) -> Progress:
        """Wait until something is true of a job."""

        def seen() -> Progress | None:
            with contextlib.suppress(psycopg.OperationalError, psycopg.InterfaceError):
                found = self.progress(job)
                return found if fact(found) else None
            return None

        with self.explained(job):
            return wait_until(seen, description=f"job {job} {description}", timeout=timeout, poll=poll)

    def under_way(self, job: int, images: int = 8) -> Progress:
        """Wait until some of its images are done, and see that most are not."""
        seen = self.until(job, lambda job: job.accounted >= images, description="is under way", poll=0.1)
        assert seen.status == "RUNNING", seen
        return seen

    def status(self) -> stack.StackStatus:
        """What the stack says of itself."""
        found = stack.status(self.home)
        assert found is not None, f"no stack runs in {self.home}"
        return found

    def part(self, name: str, *, patience: float = 120.0) -> psutil.Process:
        """One of `PARTS`, all of which may be about to start."""
        found = {"worker": self._worker, "collector": self._collector, "fork server": self._fork_server}

        def there() -> psutil.Process | None:
            with contextlib.suppress(psutil.NoSuchProcess):
                if name in found:
                    return found[name]()
                status = self.status()
                return psutil.Process(status.pids[name] if name in SERVERS else getattr(status, name))
            return None

        return wait_until(there, description=f"a {name} runs", timeout=patience)

    def has(self, name: str) -> bool:
        """Whether there is such a part, or will be in a moment."""
        try:
            self.part(name, patience=10)
        except AssertionError:
            return False
        return True

    def _fork_server(self) -> psutil.Process | None:
        """The copy of the code server that runs are forked from, or the interpreter that took its place."""
        server = psutil.Process(self.status().pids["code-server"])
        for child in server.children():
            with contextlib.suppress(psutil.Error):
                if child.cmdline() == server.cmdline() or "multiprocessing.forkserver" in " ".join(child.cmdline()):
                    return child
        return None

    def _worker(self) -> psutil.Process | None:
        """The run that holds the leases: the parent of the device process."""
        for process in self.marked():
            with contextlib.suppress(psutil.Error):
                if _DEVICE in process.cmdline() and (parent := process.parent()) is not None:
                    return parent
        return None

    def _collector(self) -> psutil.Process | None:
        """The process of the newest run that collects."""
        runs = [process for name, _, process in self.runs_begun() if name == "process_job"]
        return next((process for process in runs if process is not None), None)

    def marked(self) -> list[psutil.Process]:
        """Living processes of this home's stacks, by the mark that all of them inherit."""
        found = processes.marked(processes.HOME_VARIABLE, str(self.home))
        return [process for process in found if not processes.is_zombie(process)]

    def runs_begun(self) -> list[tuple[str, str, psutil.Process | None]]:
        """Job, description and living process of each run that Dagster takes for alive, newest first."""
        with self.dagster() as connection:
            rows = connection.execute(
                """SELECT r.pipeline_name, r.status, r.run_id,
                          (SELECT e.event FROM event_logs e WHERE e.run_id = r.run_id AND e.event LIKE '%%(pid: %%'
                           ORDER BY e.id DESC LIMIT 1)
                   FROM runs r WHERE r.status = ANY(%s) ORDER BY r.id DESC""",
                [list(_LIVING_RUNS)],
            ).fetchall()
        return [(job, f"{job} {run} {status}", _process_of(event)) for job, status, run, event in rows]

    # What befalls it.

    def power_loss(self, disk: Callable[[], None] = lambda: None) -> float:
        """End every process within milliseconds; the time. What is on the disk stays, unless it is told to forget."""
        status = self.status()
        # These two would notice, and act.
        watching = [psutil.Process(status.supervisor), psutil.Process(status.front)]
        for process in watching:
            process.suspend()
        # PostgreSQL's backends, which show a title in place of their environment, are found as children.
        children = [child for process in watching for child in process.children(recursive=True)]
        others = {each.pid: each for each in (*children, *self.marked()) if each not in watching}
        typed = [psutil.Process(command.pid) for command in self._commands if command.poll() is None]
        disk()
        for process in (*typed, *others.values(), *watching):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        at = time.monotonic()
        for command in (*self._commands, self.process):
            if command is not None:
                command.wait(timeout=60)
        self._commands.clear()
        wait_until(lambda: not self.marked(), description="no process is left after the power loss")
        return at

    def kill(self, *parts: str) -> float:
        """SIGKILL these parts, one right after the other; the time."""
        for process in [self.part(name) for name in parts]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return time.monotonic()

    def stop(self, *parts: str) -> Callable[[], None]:
        """SIGSTOP these parts; call what is returned to let them go on."""
        stopped = [self.part(name) for name in parts]
        if "postgres" in parts:
            # A server of many processes.
            stopped += self.part("postgres").children()
        for process in stopped:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

        def go_on() -> None:
            for process in stopped:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

        return go_on

    def up_again_if_ended(self, *parts: str) -> None:
        """What a person does whose stack goes down with one of its parts."""
        assert self.process is not None
        if ENDS_THE_STACK & set(parts):
            self.process.wait(timeout=120)
        if self.process.poll() is not None:
            wait_until(lambda: not self.marked(), description="no process of the ended stack is left", timeout=120)
            self.up()

    @contextmanager
    def held_while_finishing(self, job: int) -> Iterator[None]:
        """Wait until every image of a job is accounted for; the lake does not take its tables before the block's end.

        Call it while the job is under way.
        """
        in_the_way = Path(self.settings.lake) / "captures" / f"job_id={job}"
        in_the_way.parent.mkdir(parents=True, exist_ok=True)
        in_the_way.touch()
        try:
            begun = Path(self.settings.lake) / "detections" / f"job_id={job}"
            wait_until(begun.exists, description=f"the tables of job {job} are begun", timeout=PATIENCE)
            seen = self.progress(job)
            assert (seen.status, seen.accounted) == ("RUNNING", seen.total), seen
            yield
        finally:
            in_the_way.unlink()

    # What must be true afterwards.

    def recovers(
        self,
        job: int,
        *,
        fault: str,
        since: float,
        before: Progress | None = None,
        each: float = 0.0,
        lost: Collection[str] = (),
        status: str = "SUCCESS",
        failed: int = 0,
    ) -> None:
        """Wait until the job is over, and look at everything; enter the times into the table.

        `before` is the job when the fault struck, and `lost` what was lost then: without its worker the next image is
        another worker's. `each` is how many seconds an image takes.
        """
        work = (before.total - before.accounted) * each if before else 0.0
        ready = None if self.ready_at is None or self.ready_at < since else self.ready_at - since
        going_on = None
        if before is not None:
            known, counted = before.workers, before.accounted
            anew = bool({"worker", *ENDS_THE_STACK} & set(lost))

            def goes_on(now: Progress) -> bool:
                return now.is_over or bool(now.workers - known) or (not anew and now.accounted > counted)

            self.until(job, goes_on, description="goes on", timeout=PATIENCE, poll=0.2)
            going_on = time.monotonic() - since - (ready or 0.0)
        seconds = self.ends(job, status=status, failed=failed) - since
        clean = self.is_clean(job) - since
        self.recoveries.append(Recovery(fault, seconds, work, ready, going_on, clean))

    def succeeds(self, job: int) -> Progress:
        """Wait until the job has succeeded; before, it may be over in another way for a moment."""
        return self.until(job, lambda now: now.status == "SUCCESS", description="succeeds", timeout=PATIENCE)

    def has_no_run_left(self, job: int) -> None:
        """Wait until every run of the job is over in Dagster."""
        with self.explained(job):
            wait_until(lambda: not self.runs_of(job, over=False), description="its runs are over", poll=0.5)

    def takes_up_another(self) -> None:
        """See that whatever died is there again: a job that is submitted now succeeds."""
        images = self.images(5)
        submitted = json.loads(self.repeat("submit", str(images), "--pipeline", "null", "--json").stdout)
        self.ends(submitted["job_id"])

    def ends(self, job: int, *, status: str = "SUCCESS", failed: int = 0) -> float:
        """Wait until the job is over, and check how, in the catalog and in the lake; the time of its end."""
        seen = self.until(job, lambda now: now.is_over, description="is over", timeout=PATIENCE)
        at = time.monotonic()
        with self.explained(job):
            assert seen.status == status, seen
            if status != "CANCELED":
                assert (seen.done, seen.failed) == (seen.total - failed, failed), seen
                self.look(lambda services: _counted_once(services, JobId(job)))
        return at

    def is_clean(self, *jobs: int) -> float:
        """Wait until nothing is left of the past; the time."""

        def found() -> list[str]:
            try:
                return [*self.look(_left_in_stores), *self._left_running()]
            except (errors.Unavailable, psycopg.OperationalError, redis.exceptions.ConnectionError) as error:
                return [f"cannot be seen: {error}"]

        with self.explained(*jobs):
            try:
                wait_until(lambda: not found(), description="all traces are gone", timeout=UNTIL_CLEAN, poll=0.5)
            except AssertionError:
                raise AssertionError(f"left behind: {found()}") from None
        return time.monotonic()

    def _left_running(self) -> list[str]:
        """Processes that belong to nobody, and runs that have none."""
        status = self.status()
        servers = {status.supervisor, *status.pids.values()}
        found = [f"run without a process: {run}" for _, run, process in self.runs_begun() if process is None]
        for process in self.marked():
            with contextlib.suppress(psutil.Error):
                earlier = process.environ().get(processes.STACK_VARIABLE) != status.stack
                orphaned = process.ppid() in (status.supervisor, status.front, 1) and process.pid not in servers
                if earlier or orphaned:
                    found.append(f"process {process.pid}: {' '.join(process.cmdline())[:120]}")
        return found

    @contextmanager
    def explained(self, *jobs: int) -> Iterator[None]:
        """Let what fails in a block say what everybody has logged."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.story(*jobs)}") from None

    def story(self, *jobs: int) -> str:
        """What happened, for the message of a failure."""
        said = [f"--- antenna up\n{self.said()[-3000:]}"]
        try:
            with self.catalog() as connection:
                for job in jobs:
                    lines = connection.execute(
                        "SELECT at::time(1), action, message FROM job_log WHERE job_id = %s ORDER BY log_id", [job]
                    ).fetchall()
                    shown = "\n".join(f"{at} {action}: {message}" for at, action, message in lines[-25:])
                    said.append(f"--- job {job}: {self.progress(job, connection)}\n{shown}")
            said.append("--- runs that Dagster takes for alive\n" + "\n".join(map(str, self.runs_begun())))
            with self.dagster() as connection:
                ticks = connection.execute("SELECT tick_body FROM job_ticks ORDER BY id DESC LIMIT 12").fetchall()
                said.append("--- newest ticks\n" + "\n".join(_tick(body) for (body,) in ticks))
        except psycopg.Error as error:
            said.append(f"the databases do not answer: {error}")
        for log in sorted((self.home / "logs").glob("*.log")):
            said.append(f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}")
        of_runs = (self.home / "dagster" / "storage").glob("*/compute_logs/*.err")
        for log in sorted(of_runs, key=lambda path: path.stat().st_mtime)[-3:]:
            said.append(f"--- run {log.parts[-3]}\n{log.read_text(errors='replace')[-1500:]}")
        return "\n".join(said)

    def repeat(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that may be typed while a store is restarted: once more when it could not be reached."""

        def done() -> subprocess.CompletedProcess[str] | None:
            typed = self.shell(*ANTENNA, *arguments, check=False)
            return typed if typed.returncode == 0 else None

        return wait_until(done, description=f"antenna {arguments} succeeds", timeout=180, poll=1.0)

    def remove(self) -> None:
        """End whatever still runs, for a test that failed."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.down()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for command in self._commands:
            if command.poll() is None:
                command.kill()
            command.wait()
        for process in self.marked():
            with contextlib.suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not self.marked(), description="all processes of the machine are gone")


async def _counted_once(services: Services, job_id: JobId) -> None:
    job: Job = await services.catalog.jobs.get(job_id)
    each_image_once(services, job, await services.catalog.images.count(job_id))


async def _left_in_stores(services: Services) -> list[str]:
    """What streams, buckets, Redis and lake hold of jobs that are over or unknown."""
    jobs = {job.job_id: job for job in await services.catalog.jobs.list(limit=10_000)}
    active = {number for number, job in jobs.items() if not job.status.is_terminal}
    found = []
    for number, generation in sorted(await services.queue.jobs_on_queue()):
        if number not in active:
            found.append(f"on the queue: job {number}, generation {generation}")
    for number, generation in sorted(await services.announcements.read()):
        if number not in active:
            found.append(f"announced: job {number}, generation {generation}")
    js = services.connection.jetstream(timeout=10)
    for stream in (names.TASKS, names.RESULTS):
        state = (await js.stream_info(stream)).state
        if state.messages and not active:
            found.append(f"{state.messages} messages in {stream}")
    with redis.Redis.from_url(services.settings.redis_url, decode_responses=True) as client:
        for pattern in ("antenna:job:*", "antenna:http:job:*"):
            for key in client.scan_iter(pattern):
                number = re.search(r"job:(\d+):", str(key))
                if number is None or int(number[1]) not in active:
                    found.append(f"in Redis: {key}")
    for number in await asyncio.to_thread(services.lake.jobs_with_parts):
        # A canceled job keeps its parts for a retry.
        if number not in active and (number not in jobs or jobs[number].status is not JobStatus.CANCELED):
            found.append(f"parts of job {number}")
    drafts = Path(services.settings.lake) / ".drafts"
    if not active and drafts.exists():
        found += [f"unfinished file {path.name}" for path in drafts.iterdir()]
    return found


def _process_of(event: str | None) -> psutil.Process | None:
    """The living process that an event of Dagster's names; not one that was given its number later."""
    if event is None:
        return None
    pid = re.search(r"\(pid: (\d+)\)", event)
    assert pid is not None
    try:
        process = psutil.Process(int(pid[1]))
        if processes.is_zombie(process) or process.create_time() > json.loads(event)["timestamp"] + 1:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def _tick(body: str) -> str:
    tick = json.loads(body)
    shown = {name: tick.get(name) for name in ("status", "skip_reason")}
    failure = (tick.get("error") or {}).get("message", "")
    return f"{tick.get('timestamp')} {tick.get('instigator_name') or tick.get('job_name')} {shown} {failure[:300]}"
