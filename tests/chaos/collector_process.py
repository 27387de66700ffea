"""A job's run without Dagster, in a process of its own: what the assets do, verb by verb. `python -m` runs one."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from antenna_orchestration import errors, settings
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.retrying import retry_forever
from antenna_orchestration.processing.run_heartbeat import beating
from antenna_orchestration.processing.services import Services, opened

ROOT = Path(__file__).parents[2]


class CollectorProcess:
    """One collector. Made by `collecting`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        # A pipe and not a file, so that limits on files do not touch it.
        self._reader = threading.Thread(target=self._read, name=f"log of {process.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return "".join(self._lines)

    def says_where_it_is(self) -> None:
        """Let it log where its threads and tasks are, if it can; what hangs says nothing by itself."""
        if not self.is_over:
            self._process.send_signal(signal.SIGUSR1)

    @property
    def is_over(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and gone."""
        self._process.kill()
        self._process.wait()

    def leaves(self, timeout: float = 120.0) -> None:
        """Wait until it has ended by itself, in order."""
        assert self._process.wait(timeout) == 0, self.log

    def leaves_somehow(self) -> None:
        """Wait until it is gone, in order or not."""
        self._process.wait()

    def end(self) -> None:
        """Whatever it does."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGCONT)
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line)


@contextlib.contextmanager
def collecting(
    config: settings.Settings, job: JobId, *, environment: Mapping[str, str] | None = None
) -> Iterator[CollectorProcess]:
    """Take a job to its end; at the end of the block the process is killed if it is still there."""
    arguments = pickle.dumps((config, job)).hex()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.collector_process", arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
    )
    collector = CollectorProcess(process)
    try:
        yield collector
    finally:
        collector.end()


def _where_it_is(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.print_stack(file=sys.stderr)


async def _collect(config: settings.Settings, job_id: JobId) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _where_it_is, loop)
    # Threads without the loop, which may be what hangs.
    faulthandler.register(signal.SIGUSR1, chain=True)
    run_id = f"process-{os.getpid()}"
    async with opened(config) as services:
        await services.catalog.jobs.claim(1, job_id=job_id)
        job = await services.catalog.jobs.get(job_id)
        if not await services.catalog.jobs.start(job.job_run, run_id):
            raise collect.JobLeft(f"job {job_id} is {job.status}")
        await services.catalog.collectors.enter(job.job_run, run_id=run_id, host=config.host_id)
        with beating(config.database_url, run_id):
            await _to_the_end(services, job)


async def _to_the_end(services: Services, job: Job) -> None:
    await retry_forever("writing the manifest", lambda: finish.write_manifest(services, job))
    await retry_forever("publishing", lambda: publish.publish(services, job.job_id))
    while True:
        await collect.collect(services, job, observer=collect.Observer())
        written = await retry_forever("writing the tables", lambda: finish.write_final_tables(services, job))
        if not written.lost_parts:
            break
    await retry_forever("finishing the job", lambda: finish.finish_job(services, job))


def _run() -> int:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
    )
    config, job = pickle.loads(bytes.fromhex(sys.argv[1]))
    try:
        asyncio.run(_collect(config, job))
    except collect.JobLeft as left:
        logging.info("%s", left)
    except errors.Unavailable as error:
        # As a run does: it ends, and its job is launched again.
        logging.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_run())
