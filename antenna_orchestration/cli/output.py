"""What commands print, and where: answers on stdout, everything else on stderr.

All text is escaped here for a terminal (`domain/terminal.py`): what users, workers, files and servers say is read, and
commands nothing. So everything that a command prints goes through this module.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antenna_orchestration.domain import redaction, terminal
from antenna_orchestration.domain.progress import duration

if TYPE_CHECKING:
    from rich.console import Console

    from antenna_orchestration.push.options import PushSummary
    from antenna_orchestration.worker.options import WorkerSummary

_WIDTH_OF_FILES = 240
"""Columns when stdout is a file or a pipe: nothing is cut."""

_LEAST_WIDTH = 14
"""Columns to which a name may be cut before a less important column is left out."""

_GAP = 2
"""Columns of space between two columns of a table."""


def open_streams() -> None:
    """Let nothing fail for where the output goes.

    A stream that the caller closed is the null device, not the next socket, and characters that the terminal's encoding
    lacks are written out.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It takes the lowest free number.
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  it stays open
        getattr(sys, name).reconfigure(errors="backslashreplace")


def line(text: str = "") -> None:
    """One line of the answer."""
    sys.stdout.write(f"{terminal.line(text)}\n")


def verbatim(text: str) -> None:
    """Lines of the answer as they are, for shells: nothing in them comes from outside."""
    sys.stdout.write(f"{text}\n")


def outcome(text: str) -> None:
    """One line about what was done and stays done: where stdout does not take it, stderr gets it, and nothing fails."""
    _tell(terminal.line(text))


def outcome_as_json(value: Any) -> None:
    """What was done as JSON, otherwise as `outcome`."""
    _tell(_json_text(value))


def _tell(text: str) -> None:
    try:
        verbatim(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again when the interpreter ends.
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  it stays open
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{text}\n")
        if not isinstance(error, BrokenPipeError):
            warn(f"the answer could not be written to stdout: {error.strerror}")


def fields(*texts: str, to_stderr: bool = False) -> None:
    """One line of texts with tabs between them; empty ones are left out."""
    joined = "\t".join(terminal.line(text) for text in texts if text)
    (sys.stderr if to_stderr else sys.stdout).write(f"{joined}\n")


def note(text: str) -> None:
    """One line beside the answer. Where stderr takes none, it is lost: no command fails for that."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{terminal.line(text)}\n")


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
    verbatim(_json_text(value))


def _json_text(value: Any) -> str:
    text = json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=_plain, ensure_ascii=False)
    return terminal.json_text(text)


def console(*, to_stderr: bool = False) -> Console:
    """A rich console on stdout or stderr."""
    from rich.console import Console

    is_terminal = (sys.stderr if to_stderr else sys.stdout).isatty()
    return Console(stderr=to_stderr, width=None if is_terminal else _WIDTH_OF_FILES, highlight=False)


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    numbers: Sequence[str] = (),
    shrinks: Sequence[str] = (),
    wraps: Sequence[str] = (),
    drops: Sequence[str] = (),
    empty: str = "",
    to_stderr: bool = False,
) -> None:
    """Print a table without lines around it that fits the terminal, or `empty` beside the answer if there are no rows.

    Columns in `numbers` are aligned to the right. Where the terminal is narrow, columns in `shrinks` are cut with an
    ellipsis, and those in `wraps` are broken between words; all others keep their width. Where that is not enough, the
    columns in `drops` are left out, the first one first. A cell that is a list of texts has a line for each.
    """
    if not rows and empty:
        note(empty)
        return
    from rich.table import Table
    from rich.text import Text

    rows = [[_cell(value) for value in row] for row in rows]
    shown = console(to_stderr=to_stderr)
    natural = [_widest([column, *(row[place] for row in rows)]) for place, column in enumerate(columns)]
    least = [
        min(width, _LEAST_WIDTH) if name in (*shrinks, *wraps) else width
        for name, width in zip(columns, natural, strict=True)
    ]
    kept = list(range(len(columns)))
    for name in drops:
        if sum(least[place] + _GAP for place in kept) - _GAP > shown.width:
            kept.remove(columns.index(name))
    widths = _fitted([natural[place] for place in kept], [least[place] for place in kept], shown.width)
    made = Table(box=None, pad_edge=False, header_style="bold")
    for place, width in zip(kept, widths, strict=True):
        name = columns[place]
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold" if name in wraps else "ellipsis",
            no_wrap=name not in wraps,
            width=width,
        )
    for row in rows:
        made.add_row(*(Text(row[place]) for place in kept))
    shown.print(made)


def _fitted(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Widths of columns that together fit, if they can: the widest ones are narrowed first."""
    widths = list(natural)
    while sum(widths) + _GAP * (len(widths) - 1) > room:
        place = max((at for at in range(len(widths)) if widths[at] > least[at]), key=widths.__getitem__, default=None)
        if place is None:
            break
        widths[place] -= 1
    return widths


def _widest(cells: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(line) for cell in cells for line in cell.split("\n"))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "\n".join(map(terminal.line, value))
    return "" if value is None else terminal.line(value)


def show_pairs(values: Mapping[str, Any]) -> None:
    """Print names and values, one pair per line; values that are None are left out, and a list has a line for each.

    Values are broken between words only, and those of a list, such as paths, nowhere: people copy them.
    """
    from rich.cells import cell_len
    from rich.text import Text

    shown = {terminal.line(name): value for name, value in values.items() if value is not None}
    indent = max(map(cell_len, shown), default=0) + _GAP
    to = console()
    for name, value in shown.items():
        if isinstance(value, list):
            lines = [Text(terminal.line(one)) for one in value]
        else:
            room = max(to.width - indent, _LEAST_WIDTH)
            wrapped = textwrap.wrap(_cell(value), room, break_long_words=False, break_on_hyphens=False)
            lines = [Text(line) for line in wrapped or [""]]
        head = Text().append(name, "bold")
        for line in lines:
            head.append(" " * (indent - head.cell_len))
            to.print(head.append_text(line), soft_wrap=True)
            head = Text()


class LogLines(logging.Formatter):
    """Log lines for a terminal, without secrets. What others say begins no line of its own; traces keep theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a trace."""
        return terminal.line(redaction.without_secrets(super().formatMessage(record)))

    def formatException(self, ei: Any) -> str:
        """The trace."""
        return terminal.lines(redaction.without_secrets(super().formatException(ei)))

    def formatStack(self, stack_info: str) -> str:
        """The frames."""
        return terminal.lines(super().formatStack(stack_info))


def ago(time: datetime | None) -> str:
    """How long ago, for people."""
    return "" if time is None else f"{duration(max((datetime.now(UTC) - time).total_seconds(), 0))} ago"


def size(bytes_: int) -> str:
    """So many bytes, for people: `0.1 MB`, `12.3 GB`."""
    scale, unit = (1e9, "GB") if bytes_ >= 1e9 else (1e6, "MB")
    return f"{bytes_ / scale:,.1f} {unit}"


def clock(time: datetime) -> str:
    """A time in the reader's own zone."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
