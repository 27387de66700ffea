"""A worker as the contract describes the existing one, written from that description alone.

It polls `/jobs` without a slash, leases until a job is drained, posts results on two background threads, and never
repeats a POST that was answered or timed out. `python -m` runs one as a process.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pydantic
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

SLUG = "moths_2024"
DETECTOR = {"name": "Moth detector", "key": "moth_detector"}
BINARY = {"name": "Moth or not", "key": "moth_binary"}
SPECIES = {"name": "Moth species", "key": "moth_species"}
SPECIES_LABELS = ["Noctua pronuba", "Noctua comes", "Agrotis exclamationis"]


class JobItem(pydantic.BaseModel):
    id: int
    pipeline_slug: str


class JobsAnswer(pydantic.BaseModel):
    results: list[JobItem]


class Task(pydantic.BaseModel):
    id: str
    image_id: str
    image_url: str
    reply_subject: str | None = None


class TasksAnswer(pydantic.BaseModel):
    tasks: list[Task]


class ResultStatus(pydantic.BaseModel):
    reply_subject: str
    status: str
    task_id: str


class ResultsAnswer(pydantic.BaseModel):
    status: str
    job_id: int
    results_queued: int
    tasks: list[ResultStatus] = []


class Registration(pydantic.BaseModel):
    pipelines_created: list[str] = []
    pipelines_updated: list[str] = []
    processing_service_id: int | None = None


def pipeline_description(slug: str = SLUG) -> dict[str, Any]:
    """As the existing worker registers itself."""

    def algorithm(reference: dict[str, str], task: str, labels: list[str]) -> dict[str, Any]:
        rows = [{"index": index, "label": label, "taxon_rank": "SPECIES"} for index, label in enumerate(labels)]
        return {
            **reference,
            "description": None,
            "task_type": task,
            "version": 1,
            "version_name": None,
            "uri": None,
            "category_map": {"data": rows, "labels": labels, "uri": None, "version": None, "description": None},
        }

    return {
        "name": "Moths 2024",
        "slug": slug,
        "version": 1,
        "description": None,
        "algorithms": [
            algorithm(DETECTOR, "localization", []),
            algorithm(BINARY, "classification", ["moth", "nonmoth"]),
            algorithm(SPECIES, "classification", SPECIES_LABELS),
        ],
        "stages": [],
    }


def success(image_id: str, *, detections: int = 1, classes: int = 3, pipeline: str = SLUG) -> dict[str, Any]:
    """One image's result with so many moths."""
    now = datetime.now().isoformat()
    rest = [0.25 / (classes - 1)] * (classes - 1)
    moth = {
        "source_image_id": image_id,
        "bbox": {"x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 40.0},
        "inference_time": 0,
        "algorithm": DETECTOR,
        "timestamp": now,
        "crop_image_url": None,
        "classifications": [
            {"classification": "moth", "scores": [0.9, 0.1], "logits": [2.0, 0.0], "inference_time": 0,
             "algorithm": BINARY, "terminal": False, "timestamp": now},
            {"classification": SPECIES_LABELS[0], "scores": [0.75, *rest], "logits": [3.0] * classes,
             "inference_time": 0, "algorithm": SPECIES, "terminal": True, "timestamp": now},
        ],
    }  # fmt: skip
    return {
        "pipeline": pipeline,
        "algorithms": {},
        "total_time": 0.5,
        "source_images": [{"id": image_id, "url": "http://192.0.2.1/x.jpg"}],
        "detections": [moth] * detections,
        "config": {},
    }


def session(token: str) -> requests.Session:
    made = requests.Session()
    retry = Retry(
        total=3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), allowed_methods=["GET"],
        raise_on_status=False,
    )  # fmt: skip
    for scheme in ("http://", "https://"):
        made.mount(scheme, HTTPAdapter(max_retries=retry))
    made.headers["Authorization"] = f"Token {token}"
    return made


@dataclass
class HttpWorker:
    """One worker."""

    base: str
    token: str
    slugs: tuple[str, ...] = (SLUG,)
    batch_size: int = 8
    seconds_per_image: float = 0.0
    poll_every: float = 0.3
    post_timeout: float = 60.0
    fetch: bool = False
    # Width and height that it says of each image; the contract has none.
    size: dict[str, int] = field(default_factory=dict)
    # Posts that are lost on their way, by their number.
    lost_posts: frozenset[int] = frozenset()
    # Posts whose answer is not waited for, by their number.
    timed_out_posts: frozenset[int] = frozenset()

    posts: int = 0
    lost: int = 0
    images: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.base = self.base.rstrip("/")

    # What the existing client calls.

    def register(self, name: str = "test worker (host)") -> Registration | None:
        with session(self.token) as http:
            projects = http.get(f"{self.base}/projects/", timeout=60).json()["results"]
            done = None
            for project in projects:
                answer = http.post(
                    f"{self.base}/projects/{project['id']}/pipelines/",
                    json={"processing_service_name": name, "pipelines": [pipeline_description(s) for s in self.slugs]},
                    timeout=60,
                )
                answer.raise_for_status()
                done = Registration.model_validate(answer.json())
            return done

    def jobs(self) -> list[JobItem]:
        parameters: dict[str, str | int] = {
            "pipeline__slug__in": ",".join(self.slugs), "ids_only": 1, "incomplete_only": 1,
            "dispatch_mode": "async_api",
        }  # fmt: skip
        try:
            with session(self.token) as http:
                answer = http.get(f"{self.base}/jobs", params=parameters, timeout=60)
                answer.raise_for_status()
                assert not answer.history, "the client was redirected"
                return JobsAnswer.model_validate(answer.json()).results
        except (requests.RequestException, pydantic.ValidationError, ValueError) as error:
            self.errors.append(f"jobs: {error}")
            return []

    def lease(self, http: requests.Session, job: int) -> list[Task]:
        answer = http.post(f"{self.base}/jobs/{job}/tasks/", json={"batch_size": self.batch_size}, timeout=60)
        answer.raise_for_status()
        return TasksAnswer.model_validate(answer.json()).tasks

    def post(self, job: int, results: list[dict[str, Any]]) -> bool:
        number, self.posts = self.posts, self.posts + 1
        if number in self.lost_posts:
            self.lost += len(results)
            return False
        timeout = (5, 0.001) if number in self.timed_out_posts else self.post_timeout
        try:
            with session(self.token) as http:
                answer = http.post(f"{self.base}/jobs/{job}/result/", json={"results": results}, timeout=timeout)
                answer.raise_for_status()
                parsed = ResultsAnswer.model_validate(answer.json())
        except (requests.RequestException, pydantic.ValidationError) as error:
            self.errors.append(f"result: {error}")
            self.lost += len(results)
            return False
        self.statuses += [task.status for task in parsed.tasks]
        return True

    # How it goes on with them.

    def run(self) -> None:
        """Until stopped."""
        while not self.stopping.is_set():
            any_done = False
            for job in self.jobs():
                any_done = self.process(job) or any_done
            if not any_done:
                self.stopping.wait(self.poll_every)

    def process(self, job: JobItem) -> bool:
        """Work on a job until it is drained, or asking fails."""
        did = False
        waiting: list[Future[bool]] = []
        with session(self.token) as http, ThreadPoolExecutor(2) as pool:
            while not self.stopping.is_set():
                try:
                    tasks = self.lease(http, job.id)
                except requests.RequestException as error:
                    self.errors.append(f"tasks: {error}")
                    break
                if not tasks:
                    break
                did = True
                results = self.infer_batch(http, tasks)
                waiting.append(pool.submit(self.post, job.id, results))
            wait(waiting, timeout=150)
        return did

    def infer_batch(self, http: requests.Session, tasks: list[Task]) -> list[dict[str, Any]]:
        return [self.infer(http, task) for task in tasks]

    def infer(self, http: requests.Session, task: Task) -> dict[str, Any]:
        self.images.append(task.image_id)
        if self.fetch:
            with requests.get(task.image_url, timeout=60) as image:
                if image.status_code != 200:
                    result: dict[str, Any] = {"error": "failed to load image", "image_id": task.image_id}
                    return {"reply_subject": task.reply_subject, "result": result}
        self.stopping.wait(self.seconds_per_image)
        said = success(task.image_id)
        said["source_images"][0].update(self.size)
        return {"reply_subject": task.reply_subject, "result": said}


@contextlib.contextmanager
def working(*clients: HttpWorker) -> Any:
    """Run clients on threads for the length of a block."""
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for client in clients:
            client.stopping.set()
        for thread in threads:
            thread.join(timeout=60)


if __name__ == "__main__":
    HttpWorker(**json.loads(sys.argv[1])).run()
