"""What commands print, and where: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from antenna_orchestration.domain.progress import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from antenna_orchestration.push.options import PushSummary
    from antenna_orchestration.worker.options import WorkerSummary

_WIDTH_OF_FILES = 240
"""Columns when stdout is a file or a pipe: nothing is cut."""


def line(text: str = "") -> None:
    """One line of the answer."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line beside the answer."""
    sys.stderr.write(f"{text}\n")


def warn(text: str) -> None:
    """A warning that does not stop the command."""
    note(f"antenna: warning: {' '.join(text.split())}")


def farewell(summary: WorkerSummary | PushSummary) -> str:
    """What a worker prints when it ends, after the word that says what kind of worker it is."""
    return (
        f"{summary.worker} left ({summary.reason}): {summary.done} done, {summary.failed} failed, "
        f"{summary.handed_back} handed back"
    )


def show_own_logs(level: str) -> None:
    """Let our own log lines from this level on reach stderr; those of libraries stay at warnings."""
    logging.getLogger("antenna_orchestration").setLevel(level)


def as_json(value: Any) -> None:
    """The answer as JSON, times as ISO 8601."""
    line(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=_plain, ensure_ascii=False))


def console(*, to_stderr: bool = False) -> Console:
    """A rich console on stdout or stderr."""
    from rich.console import Console

    is_terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    return Console(stderr=to_stderr, width=None if is_terminal else _WIDTH_OF_FILES, highlight=False)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, numbers: Sequence[str] = ()) -> Table:
    """A table without lines around it; columns named in `numbers` are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    return made


def pairs(values: Mapping[str, Any]) -> Table:
    """Names and values, one pair per line; values that are None are left out."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in values.items():
        if value is not None:
            made.add_row(name, Text(str(value)))
    return made


def ago(time: datetime | None) -> str:
    """How long ago, for people."""
    return "" if time is None else f"{duration(max((datetime.now(UTC) - time).total_seconds(), 0))} ago"


def clock(time: datetime) -> str:
    """A time in the reader's own zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
