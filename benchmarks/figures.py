"""What a benchmark says: figures, some with a bound that the project has set itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import psutil

from antenna_orchestration.embedded import processes


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    name: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the bound is kept; None without one."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most if self.at_most is not None else None

    @property
    def bound(self) -> str:
        """The bound as a table shows it."""
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return f"<= {self.at_most:g}" if self.at_most is not None else ""


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over several runs; the bound is judged by the median."""

    figure: Figure
    lowest: float
    highest: float


def summarize(runs: Iterable[list[Figure]]) -> list[Summary]:
    """Median and spread of each figure."""
    by_name: dict[str, list[Figure]] = {}
    for figures in runs:
        for figure in figures:
            by_name.setdefault(figure.name, []).append(figure)
    found = []
    for name, figures in by_name.items():
        values = [figure.value for figure in figures]
        last = figures[-1]
        middle = Figure(name, median(values), last.unit, last.at_least, last.at_most)
        found.append(Summary(middle, min(values), max(values)))
    return found


def cpu_seconds(roots: Iterable[int]) -> float:
    """CPU time of processes and all their descendants, those that have ended and were waited for included."""
    total = 0.0
    for process in _families(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_mb(roots: Iterable[int]) -> float:
    """Memory of processes and their descendants, shared pages divided among those who share them."""
    total = 0
    for process in _families(roots):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def stack_processes(home: str) -> list[int]:
    """All processes of a running stack."""
    return [process.pid for process in processes.marked(processes.HOME_VARIABLE, home)]


def _families(roots: Iterable[int]) -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for pid in roots:
        try:
            process = psutil.Process(pid)
            found |= {process, *process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return found
