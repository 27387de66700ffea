"""The route for Prometheus: what HTTP and push workers hold, and what became of what they leased."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from antenna_orchestration.gateway.dependencies import ThisGateway, ViewerCaller
from antenna_orchestration.live.workers import KEEP, WorkerRecord

router = APIRouter()

MEANINGS: Final[Mapping[str, str]] = {
    "leased": "Tasks leased.",
    "settled": "Images with a result.",
    "failed": "Images with a result that say why they failed.",
    "handed_back": "Leases that the worker handed back.",
    "expired": "Leases that ended without a result: it never came.",
    "late": "Results that came after the image was decided.",
    "rejected": "Results that cannot be used, or were not the worker's to report.",
    "bytes": "Bytes of result posts.",
}
"""What is counted of a worker since it was first seen."""


@router.get("/metrics", tags=["health"], summary="Metrics of workers", response_class=PlainTextResponse)
async def metrics(gateway: ThisGateway, caller: ViewerCaller) -> PlainTextResponse:
    """Counters of each worker of the token's projects in the last seven days, as Prometheus reads them."""
    live = gateway.http.live
    records = await live.workers.heard_since(await live.leases.now() - KEEP)
    seen = {*caller.projects.values()}
    shown = [one for one in records if caller.scope is None or seen.intersection(one.projects)]
    held = await live.leases.held_by_each([one.worker for one in shown])
    return PlainTextResponse(_text(shown, held))


def _text(workers: Iterable[WorkerRecord], held: Mapping[int, int]) -> str:
    records = list(workers)
    lines: list[str] = []
    for name, meaning in MEANINGS.items():
        metric = f"antenna_http_worker_{name}_total"
        lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} counter"]
        lines += [f'{metric}{{worker="{_label(one.name)}"}} {one.counters.get(name, 0)}' for one in records]
    metric = "antenna_http_worker_held"
    lines += [f"# HELP {metric} Tasks in the worker's hands.", f"# TYPE {metric} gauge"]
    lines += [f'{metric}{{worker="{_label(one.name)}"}} {held[one.worker]}' for one in records]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
