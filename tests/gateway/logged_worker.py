"""HTTP workers that note in one list, in their order, the images that all of them begin."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import requests

from antenna_orchestration.domain.ids import ImageId
from tests.gateway.http_worker import HttpWorker, JobItem, Task, session


@dataclass
class LoggedWorker(HttpWorker):
    """One worker. With several `loaders` it leases as existing ones do: each loader until it got an empty list."""

    log: list[ImageId] = field(default_factory=list)
    loaders: int = 1
    # How long the log was at each empty list of tasks.
    empty: list[int] = field(default_factory=list)

    def infer(self, http: requests.Session, task: Task) -> dict[str, Any]:
        self.log.append(ImageId(int(task.image_id)))
        return super().infer(http, task)

    def lease(self, http: requests.Session, job: int) -> list[Task]:
        tasks = super().lease(http, job)
        if not tasks:
            self.empty.append(len(self.log))
        return tasks

    def process(self, job: JobItem) -> bool:
        if self.loaders == 1:
            return super().process(job)
        batches: queue.Queue[list[Task] | None] = queue.Queue(self.loaders)
        loading = [
            threading.Thread(target=self._load, args=(job.id, batches), daemon=True) for _ in range(self.loaders)
        ]
        for loader in loading:
            loader.start()
        ended, did = 0, False
        with session(self.token) as http, ThreadPoolExecutor(2) as pool:
            while ended < self.loaders:
                tasks = batches.get()
                if tasks is None:
                    ended += 1
                    continue
                did = True
                pool.submit(self.post, job.id, [self.infer(http, task) for task in tasks])
        return did

    def _load(self, job: int, batches: queue.Queue[list[Task] | None]) -> None:
        with session(self.token) as http:
            try:
                while not self.stopping.is_set() and (tasks := self.lease(http, job)):
                    batches.put(tasks)
            except requests.RequestException as error:
                self.errors.append(f"tasks: {error}")
            batches.put(None)


def begun(log: Iterable[ImageId], images: Iterable[ImageId]) -> int:
    """How many of the images are in the log."""
    return len(set(log) & set(images))
