"""What a gateway counts of its own work, in the terms of Prometheus; with several processes, of all of them.

Labels are bounded: routes as they are declared, methods and classes of statuses; never a path, a token or an id.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""By which the library learns, when it is imported, that several processes count in files of this folder."""

SECONDS: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 20.0, 60.0)
"""Bounds of how long requests took."""

OTHER: Final = "other"
"""What is not a route, or no usual method."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def share(folder: Path) -> None:
    """Let processes that are forked from this one count together. Call before anything imports the library."""
    # What an earlier gateway counted is over.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    os.environ[FOLDER_VARIABLE] = str(folder)


class Measured:
    """The counters of one gateway."""

    def __init__(self) -> None:
        # The folder is named in the environment first.
        from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

        # Else each counter has a second series, with the time at which it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._own = CollectorRegistry()
        self._requests = Counter(
            "antenna_gateway_requests",
            "Requests that were answered; `499` is a caller that left.",
            ["method", "route", "status"],
            registry=self._own,
        )
        self._seconds = Histogram(
            "antenna_gateway_request_seconds",
            "Seconds from a request's first byte to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self._own,
        )
        self._results = Counter(
            "antenna_gateway_results",
            "Results in posts, by what became of them: queued, retry, late, rejected.",
            ["status"],
            registry=self._own,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is as it is declared, and empty for none."""
        named = method if method in _METHODS else OTHER
        # 499 tells of impatient callers, all others by their class.
        kind = "499" if status == 499 else f"{status // 100}xx" if 100 <= status < 600 else OTHER
        self._requests.labels(named, route or OTHER, kind).inc()
        self._seconds.labels(route or OTHER).observe(seconds)

    def results(self, statuses: list[str]) -> None:
        """A post of results was taken; what became of each."""
        for status in statuses:
            self._results.labels(status).inc()

    @property
    def registry(self) -> CollectorRegistry:
        """What is counted, of all processes where there are several."""
        if FOLDER_VARIABLE not in os.environ:
            return self._own
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry
