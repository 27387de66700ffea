"""A processing service as the contract describes one, with the faults that such services have.

It behaves as the smallest one there is: synchronous in nature, one answer for a whole batch, all or nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.free_ports import free_port

PREFIX = "/behind/a/proxy"
DETECTOR = {"name": "Detector", "key": "push_detector"}
CLASSIFIER = {"name": "Classifier", "key": "push_classifier"}
LABELS = ["Noctua pronuba", "Noctua comes"]

_numbers = itertools.count(1)


class ProcessingService:
    """Detects one moth in every image. Made by `serving`."""

    def __init__(self) -> None:
        self.slug = f"constant-{free_port()}-{next(_numbers)}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{PREFIX}"
        # Ids and configurations of the batches posted, and how often an image was.
        self.batches: list[list[str]] = []
        self.configs: list[dict[str, Any]] = []
        self.posts: Counter[str] = Counter()
        self.pictures: dict[str, bytes] = {}
        # Whether it says that it classifies boxes; the boxes of each batch that had any.
        self.takes_boxes = False
        self.given: list[list[dict[str, Any]]] = []
        # How many posts with boxes are answered with others.
        self.own_boxes = 0
        # By the last part of an image's URL, what goes wrong with it; see `_process`.
        self.faults: dict[str, str] = {}
        # How many posts are answered with 500 before the next good one.
        self.broken = 0
        # How many posts are not taken yet.
        self.busy = 0
        # Seconds for a post.
        self.delay = 0.0
        self.fetches = False
        # Posts wait for it; how many do.
        self.held = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get(f"{PREFIX}/info", self._info)
        app.router.add_get(f"{PREFIX}/livez", self._live)
        app.router.add_get(f"{PREFIX}/readyz", self._ready)
        app.router.add_post(f"{PREFIX}/process", self._process)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"status": True})

    async def _ready(self, _: web.Request) -> web.Response:
        return web.json_response({"status": [self.slug]})

    async def _info(self, _: web.Request) -> web.Response:
        algorithms = [
            {**DETECTOR, "version": 1, "task_type": "localization",
             "category_map": {"data": {}, "labels": [], "uri": None}},
            {**CLASSIFIER, "version": 1, "task_type": "classification",
             "category_map": {"data": [{"index": at, "label": label} for at, label in enumerate(LABELS)]}},
        ]  # fmt: skip
        pipeline = {"name": "Constant", "slug": self.slug, "version": 1, "algorithms": algorithms, "stages": []}
        if self.takes_boxes:
            pipeline["takes_detections"] = True
        return web.json_response({"name": "Constant service", "pipelines": [pipeline], "algorithms": algorithms})

    async def _process(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if not {"pipeline", "source_images", "config"} <= asked.keys() or asked["pipeline"] != self.slug:
            return web.json_response({"detail": [{"msg": "Field required"}]}, status=422)
        if self.busy:
            self.busy -= 1
            return web.json_response({"detail": "full"}, status=503, headers={"Retry-After": "5"})
        images: list[dict[str, str]] = asked["source_images"]
        self.batches.append([image["id"] for image in images])
        self.configs.append(asked["config"])
        self.posts.update(image["id"] for image in images)
        await asyncio.sleep(self.delay)
        self.held += 1
        try:
            await self.gate.wait()
        finally:
            self.held -= 1
        if self.broken:
            self.broken -= 1
            return web.Response(status=500, text="CUDA out of memory")
        if "detections" in asked:
            return web.json_response(self._classified(images, asked["detections"]))
        source_images, detections, faults = [], [], []
        for image in images:
            fault = self.faults.get(image["url"].rpartition("/")[2], "")
            if self.fetches:
                async with aiohttp.ClientSession() as session, session.get(image["url"]) as answer:
                    self.pictures[image["id"]] = await answer.read()
            if fault == "refuse":
                return web.json_response({"detail": "cannot identify image file"}, status=422)
            if fault == "hang-once" and self.posts[image["id"]] == 1:
                await asyncio.sleep(3600)
            if fault == "error":
                faults.append("no such species")
            if fault != "leave-out":
                source_images.append(image)
            if fault not in ("leave-out", "error", "empty"):
                detections.append(_moth(image["id"], upside_down=fault == "bad-box"))
            if fault == "stranger":
                detections.append(_moth("999999999"))
        return web.json_response(
            {"pipeline": self.slug, "algorithms": {}, "total_time": 0.1, "source_images": source_images,
             "detections": detections, "errors": faults or None}
        )  # fmt: skip

    def _classified(self, images: list[dict[str, str]], given: list[dict[str, Any]]) -> dict[str, Any]:
        self.given.append(given)
        self.own_boxes, looks_for_its_own = max(self.own_boxes - 1, 0), self.own_boxes > 0
        found = [_moth(image["id"]) for image in images] if looks_for_its_own else []
        # In another order, and cut to whole pixels.
        for one in [] if looks_for_its_own else reversed(given):
            box = {name: int(value) for name, value in one["bbox"].items()}
            found.append({**_moth(one["source_image"]["id"]), "bbox": box})
        return {
            "pipeline": self.slug,
            "algorithms": {},
            "total_time": 0.1,
            "source_images": images,
            "detections": found,
        }


def _moth(image: str, *, upside_down: bool = False) -> dict[str, Any]:
    moment = "2026-06-12T23:14:15"
    return {
        "source_image_id": image,
        "bbox": {"x1": 10.0, "y1": 20.0, "x2": 5.0 if upside_down else 30.0, "y2": 40.0},
        "inference_time": 0.1, "algorithm": DETECTOR, "timestamp": moment, "crop_image_url": None,
        "classifications": [
            {"classification": LABELS[0], "labels": None, "scores": [0.75, 0.25], "logits": [2.0, 1.0],
             "inference_time": 0.1, "algorithm": CLASSIFIER, "terminal": True, "timestamp": moment}
        ],
    }  # fmt: skip


@asynccontextmanager
async def serving() -> AsyncIterator[ProcessingService]:
    service = ProcessingService()
    await service.start()
    try:
        yield service
    finally:
        service.gate.set()
        await service.stop()
