"""The benchmarks: `python -m benchmarks [PART ...] [--repeat N] [--json FILE]`, or `make bench`.

Each part runs in a separate process. Figures are medians over the repetitions, with the lowest and the highest value.
The exit code is 1 if a figure does not meet its bound.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from antenna_orchestration import __version__
from benchmarks.figures import Figure, Summary, summarize

PARTS: Final = {
    "bare-limit": "benchmarks.bare_limit:run",
    "main-job": "benchmarks.whole_stack:main_job",
    "small-jobs": "benchmarks.whole_stack:small_jobs",
    "interactive": "benchmarks.whole_stack:interactive",
    "idle": "benchmarks.whole_stack:idle",
    "ticks": "benchmarks.ticks:run",
    "publish": "benchmarks.publishing:run",
    "collect": "benchmarks.collecting:run",
    "submit": "benchmarks.submitting:run",
    "watch": "benchmarks.watching:run",
    "sets": "benchmarks.choosing:run",
    "season": "benchmarks.season_cost:run",
    "lists": "benchmarks.listing:run",
    "history": "benchmarks.history:run",
    "season-marks": "benchmarks.season_marks:run",
    "sizing": "benchmarks.sizing:run",
    "cluster": "benchmarks.cluster:run",
    "links": "benchmarks.links:run",
    "scaling": "benchmarks.scaling:run",
    "many-jobs": "benchmarks.many_jobs:run",
    "derive": "benchmarks.deriving:run",
    "exports": "benchmarks.exports:run",
    "health": "benchmarks.health:run",
    "worker": "benchmarks.worker_overhead:run",
    "fairness": "benchmarks.fairness:run",
    "gateway": "benchmarks.gateway:run",
    "gateway-clients": "benchmarks.gateway_clients:run",
    "turns": "benchmarks.turns:run",
    "isolation": "benchmarks.isolation:run",
    "devices": "benchmarks.devices:run",
    "gpu-first": "benchmarks.gpu_first:run",
}


def main() -> int:
    """Run the named parts, or all of them, and print one table per part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    console = Console()
    found: dict[str, list[Summary]] = {}
    for part in arguments.parts or PARTS:
        found[part] = summarize(_run_apart(part) for _ in range(arguments.repeat))
        console.print(_table(part, found[part]))
    if arguments.json:
        arguments.json.write_text(json.dumps(_as_json(found, arguments.repeat), indent=2) + "\n")
    return 1 if any(summary.figure.is_met is False for part in found.values() for summary in part) else 0


def _run_apart(part: str) -> list[Figure]:
    """One repetition in a fresh process, so that its figures do not include memory and imports of other parts."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, part).result()


def _run(part: str) -> list[Figure]:
    module, _, function = PARTS[part].partition(":")
    figures: list[Figure] = getattr(importlib.import_module(module), function)()
    return figures


def _table(part: str, summaries: list[Summary]) -> Table:
    table = Table("figure", "median", "lowest", "highest", "unit", "bound", "", title=part, title_justify="left")
    for column in table.columns[1:4]:
        column.justify = "right"
    for one in summaries:
        met = {None: "", True: "met", False: "NOT MET"}[one.figure.is_met]
        values = (f"{value:,.4g}" if value < 1_000 else f"{value:,.0f}" for value in (
            one.figure.value, one.lowest, one.highest))  # fmt: skip
        table.add_row(one.figure.name, *values, one.figure.unit, one.figure.bound, met)
    return table


def _as_json(found: dict[str, list[Summary]], repeat: int) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "system": platform.release()},
        "python": platform.python_version(),
        "repeat": repeat,
        "parts": {
            part: [
                {
                    "figure": one.figure.name,
                    "median": one.figure.value,
                    "lowest": one.lowest,
                    "highest": one.highest,
                    "unit": one.figure.unit,
                    "bound": one.figure.bound,
                    "met": one.figure.is_met,
                }
                for one in summaries
            ]
            for part, summaries in found.items()
        },
    }
