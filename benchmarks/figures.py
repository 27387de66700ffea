"""The figures that a benchmark returns, some with a bound that the project has set itself, and how to measure them."""

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
        """Whether the bound is met; None without a bound."""
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
    """A figure over several runs, with its median, which the bound applies to, and its extremes."""

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
    """CPU seconds of processes and all their descendants, including descendants that have exited and were reaped."""
    total = 0.0
    for process in _families(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def pss_mb(roots: Iterable[int]) -> float:
    """Memory (PSS) of processes and their descendants in MB; shared pages are divided among those that share them."""
    total = 0
    for process in _families(roots):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total / 2**20


def stack_processes(home: str) -> list[int]:
    """The ids of all processes of a running stack, by the home folder that marks them."""
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
