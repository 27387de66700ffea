"""Pieces of HTML that the sections of a report are made of. What comes in is escaped here, and nowhere before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Final

from antenna_orchestration.exports.report.charts import Chart, text

LATIN: Final = ("genus", "species")
"""Ranks whose names are written in italics."""

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Markup(str):
    """HTML that is made here, and is not escaped again."""

    __slots__ = ()


def cell(value: object) -> str:
    """A value as it is shown."""
    if isinstance(value, Markup):
        return value
    match value:
        case None:
            return "–"
        case int():
            return f"{value:,}"
        case datetime():
            return f"{value:%H:%M}"
        case date():
            return night(value)
    return text(value)


def night(value: date) -> Markup:
    """The date of a night, which no browser breaks at its hyphens."""
    return Markup(f"<time>{value}</time>")


def latin(name: str | None, rank: str | None) -> Markup:
    """The name of a taxon; of a genus or species in italics."""
    if name is None:
        return Markup("not determined")
    return Markup(f"<i>{text(name)}</i>" if rank in LATIN else text(name))


def table(label: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markup:
    """A table that can be scrolled, by keyboard too. Columns of which every cell is a number are right-aligned."""
    rows = list(rows)
    numeric = [
        bool(rows) and all(row[at] is None or (isinstance(row[at], int)) for row in rows) for at in range(len(header))
    ]
    kinds = [' class="n"' if one else "" for one in numeric]
    head = "".join(f'<th scope="col"{kind}>{text(name)}</th>' for name, kind in zip(header, kinds, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell(one)}</td>' for one, kind in zip(row, kinds, strict=True))}</tr>"
        for row in rows
    )
    tall = " tall" if len(rows) > 15 else ""
    return Markup(
        f'<div class="scroll{tall}" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def card(chart: Chart, *below: str, level: int = 3, wide: bool = False, note: str = "") -> Markup:
    """A plot with its title, and what belongs to it."""
    said = f'<p class="note">{text(note)}</p>' if note else ""
    return Markup(
        f'<section class="card{" wide" if wide else ""}"><h{level}>{text(chart.title)}</h{level}>'
        f"{said}{chart.svg()}{''.join(below)}</section>"
    )


def numbers(*inside: str) -> Markup:
    """What is shown on demand."""
    return Markup(f"<details><summary>The numbers</summary>{''.join(inside)}</details>")


def paragraph(said: str, kind: str = "") -> Markup:
    """A paragraph of text."""
    named = f' class="{kind}"' if kind else ""
    return Markup(f"<p{named}>{cell(said)}</p>")


def points(lines: Iterable[str]) -> Markup:
    """A list."""
    return Markup(f'<ul class="plain">{"".join(f"<li>{cell(line)}</li>" for line in lines)}</ul>')


def day(night: date, years: bool = False) -> str:
    """A day in a few letters, whatever the locale is."""
    return f"{night.day} {_MONTHS[night.month - 1]}{f' {night.year % 100:02}' if years else ''}"


def month(night: date) -> str:
    """Likewise a month."""
    return f"{_MONTHS[night.month - 1]} {night.year % 100:02}"


def share(part: int, whole: int) -> str:
    """A share in per cent: never 0 % of something, never 100 % of less than all."""
    if not whole:
        return "0 %"
    of = 100 * part / whole
    if 0 < of < 1:
        return "under 1 %"
    if 99 < of < 100:
        return "over 99 %"
    return f"{of:.0f} %"
