"""A push worker in a process of its own, and jobs for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services
from tests import forked
from tests.gateway.gateway_process import ACK_WAIT, ROOT
from tests.processing.jobs_by_hand import claimed
from tests.waiting import eventually

HTTP_LEASE = 20.0
"""Seconds; posts may wait for a third of it, and a worker of a killed process is taken over after 6 s."""


class PushWorker:
    """`antenna push`, and again."""

    def __init__(self, stores: EmbeddedStores, url: str, project: str, *, name: str = "push") -> None:
        self.variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANTENNA_")},
            **stores.variables,
            "ANTENNA_TASK_ACK_WAIT": str(ACK_WAIT),
            "ANTENNA_HTTP_LEASE": str(HTTP_LEASE),
        }
        self.log = Path(stores.settings.home) / f"{name}-{project}.log"
        self._url, self._project = url, project
        self._process: forked.Forked | None = None

    def antenna(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command in the same environment."""
        return forked.ended(*arguments, env=self.variables, cwd=ROOT)

    def start(self, *options: str, **variables: str) -> None:
        with self.log.open("a") as log:
            command = ("push", self._url, "--project", self._project, *options)
            self._process = forked.Forked(
                forked.antenna, *command, env={**self.variables, **variables}, cwd=ROOT, err=log
            )

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def leaves(self) -> str:
        """Wait until it has left by itself; its last line."""
        assert self._process is not None
        said, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0, self.log.read_text()
        return said

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


async def shown(services: Services, project: str, *, state: str | None = None) -> messages.Heartbeat:
    """The project's push worker, as soon as it is shown, in that state."""

    async def find() -> messages.Heartbeat | None:
        found = [one for one in await services.heartbeats.workers() if one.kind == "push" and project in one.projects]
        return next((one for one in found if one.pipelines and state in (None, one.state)), None)

    found = await eventually(find, description=f"a push worker, {state or 'in any state'}")
    assert found is not None
    return found


async def job_to_push(
    services: Services,
    project: str,
    slug: str,
    images: int,
    *,
    mode: DispatchMode = DispatchMode.SYNC,
    urls: Sequence[str] = (),
) -> Job:
    """A published job of a registered pipeline, in its collecting run's hands; images are `<project>/<n>.jpg`."""
    new = NewJob(
        project=project, name="push", pipeline=PipelineSlug(slug), config={}, config_hash="0", priority=1,
        interactive=False, reprocess=False, duplicates=0, source_kinds=["http"], dispatch_mode=mode,
    )  # fmt: skip
    urls = urls or [f"http://192.0.2.1/{project}/{number}.jpg" for number in range(images)]
    made = await services.catalog.jobs.create(new, [SubmittedImage(url, None, None) for url in urls])
    job = await claimed(services, await services.catalog.jobs.get(made))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)
