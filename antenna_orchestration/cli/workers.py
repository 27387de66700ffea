"""`antenna workers`: who is listening."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain import reported_errors
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.domain.messages import Heartbeat
    from antenna_orchestration.processing.services import Services


_TROUBLES = ("reported", "expired", "late", "rejected")
"""Counters of HTTP workers that people should look at."""


def workers(json_: JsonOption = False) -> None:
    """List running workers. Their pipelines are named in `--json`."""

    async def read(services: Services) -> tuple[list[Heartbeat], dict[str, int], dict[str, Counter[str]]]:
        return (
            await services.heartbeats.workers(),
            await services.rejected_callers(),
            await services.reported_reasons(),
        )

    found, rejected, reasons = with_services(read)
    for address, calls in list(rejected.items())[:5]:
        output.warn(f"the gateway rejected {calls} calls from {address} in the last day: no token, or a wrong one")
    if json_:
        import msgspec

        output.as_json([{**msgspec.to_builtins(one), "reasons": dict(reasons.get(one.worker, {}))} for one in found])
        return
    from antenna_orchestration import settings

    show(found, reasons, ui_url=settings.get().ui_url)


def show(found: list[Heartbeat], reasons: dict[str, Counter[str]], *, ui_url: str = "") -> None:
    """Print workers, one line each, and below what is wrong with them. `ui_url` is where Dagster shows runs."""
    from antenna_orchestration.contract import client_info

    rows = [
        (
            one.worker,
            one.kind,
            f"{one.host} → {one.service}" if one.service else one.device or client_info.line(one.client_info),
            one.pipelines[0] if len(one.pipelines) == 1 else counted(len(one.pipelines), "pipeline"),
            one.state,
            one.leased,
            one.done,
            one.failed,
            f"{one.rate:.1f}/s",
            output.ago(one.started_at),
            " ".join(f"{name} {one.counters[name]}" for name in _TROUBLES if one.counters.get(name)),
        )
        for one in found
    ]
    is_troubled = any(row[-1] for row in rows)
    columns = ("WORKER", "KIND", "DEVICE", "PIPELINES", "STATE", "LEASED", "DONE", "FAILED", "RATE", "STARTED",
               "TROUBLES")  # fmt: skip
    output.show_table(
        columns,
        rows,
        numbers=("LEASED", "DONE", "FAILED", "RATE"),
        shrinks=("WORKER", "DEVICE", "PIPELINES"),
        wraps=("TROUBLES",) if is_troubled else (),
        drops=(*(() if is_troubled else ("TROUBLES",)), "STARTED", "KIND", "PIPELINES", "FAILED"),
        empty="no workers run; `antenna worker` starts one, and `antenna up` does when jobs wait",
    )
    for line in _unlike(found):
        output.line(line)
    for one in found:
        if given := reasons.get(one.worker):
            output.line(f"{one.worker} reports errors: {reported_errors.in_words(given)}")
    for one in found:
        # Who has no pipeline of their own need not read of processes.
        if one.memory and len(one.memory) > 1:
            sizes = ", ".join(f"{process} {size / 2**20:,.0f} MB" for process, size in one.memory.items())
            output.line(f"{one.worker} has device processes of {sizes}")
        # Pipelines of a family share an engine.
        by_slug = one.engines or {}
        for engine in dict.fromkeys(by_slug.values()):
            having = [slug for slug, its in by_slug.items() if its == engine]
            output.line(f"{one.worker} runs {', '.join(having)} with {engine}")
        for slug, reason in one.failing.items():
            output.line(f"{one.worker} cannot load {slug}: {reason}")
        if one.failing and one.kind == "nats":
            output.line(f"{one.worker} has the whole error in its log: {_log_of(one, ui_url)}")
        for job, reason in one.forbidden.items():
            output.line(f"{one.worker} may not load images of job {job}: {reason}")
        for job, reason in one.unreachable.items():
            output.line(f"{one.worker} tries images of job {job} again: {reason}")
        for job, reason in one.refused.items():
            output.line(f"{one.worker} leaves job {job} alone: {reason}")


def _log_of(worker: Heartbeat, ui_url: str) -> str:
    """Where people read what a worker logs."""
    if worker.run_id:
        return f"stderr of run {worker.run_id[:8]} of inference_worker in Dagster" + (
            f", {ui_url}/runs/{worker.run_id}" if ui_url else ""
        )
    return f"what process {worker.pid} on {worker.host} prints"


def _unlike(found: list[Heartbeat]) -> list[str]:
    """Pipelines of which workers have different code, weights or labels: their jobs wait for those that have theirs."""
    from antenna_orchestration.domain.algorithms import shortened

    told = [(slug, digest, one.worker) for one in found for slug, digest in (one.digests or {}).items()]
    lines = []
    for slug in dict.fromkeys(slug for slug, _, _ in told):
        workers: dict[str, list[str]] = {}
        for _, digest, worker in (one for one in told if one[0] == slug):
            workers.setdefault(digest, []).append(worker)
        if len(workers) > 1:
            each = "; ".join(f"{shortened(digest)} on {', '.join(names)}" for digest, names in workers.items())
            lines.append(f"{slug} is not the same on all workers, by its digest: {each}")
    return lines
