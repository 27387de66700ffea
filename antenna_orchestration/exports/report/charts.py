"""Plots as SVG. Each fills the width that it gets, and its letters keep their size: widths are shares, heights pixels.

Colours are variables of the page (`palette`), so that a plot is light or dark like its page; `standalone` gives one
that has them in itself, for Dagster's UI. The same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from antenna_orchestration.domain import plain_text
from antenna_orchestration.exports.report import palette

LEFT: Final = 44
"""Pixels for the numbers of the vertical axis."""

_SHARE: Final = 0.86
"""Of the width, what the plot has beside them: 44 + 0.86 * 300 fit in 300 pixels, the narrowest screen."""

_PLOT: Final = 150
_EFFORT: Final = 34
_LONGEST: Final = 44
"""Characters of a name beside a bar; the table has all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A plot with what a screen reader says of it."""

    key: str
    title: str
    # In words, what it shows; also its alternative text.
    said: str
    height: int
    # SVG elements.
    body: str

    def svg(self) -> str:
        """For a page that has the colours."""
        return (
            f'<svg class="chart" role="img" aria-labelledby="{self.key}-t {self.key}-d" width="100%" '
            f'height="{self.height}"><title id="{self.key}-t">{text(self.title)}</title>'
            f'<desc id="{self.key}-d">{text(self.said)}</desc>{self.body}</svg>'
        )

    def standalone(self, width: int = 640) -> str:
        """A file of its own, with a white ground and its title in it."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" width="{width}" '
            f'height="{self.height + 40}">'
            f"<title>{text(self.title)}</title><desc>{text(self.said)}</desc><style>{palette.chart_style()}</style>"
            f'<rect width="100%" height="100%" fill="{palette.LIGHT["paper"]}"/>'
            f'<text x="10" y="24" class="head">{text(self.title)}</text>'
            f'<svg x="10" y="36" width="{width - 20}" height="{self.height}">{self.body}</svg></svg>'
        )


def text(value: object) -> str:
    """What came from outside, as text of HTML or SVG: on one line, and it means nothing."""
    return escape(plain_text.seen(str(value), "\N{REPLACEMENT CHARACTER}"), quote=True)


def short(name: str, most: int = _LONGEST) -> str:
    """A name that fits beside a bar."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bar of `bars`."""

    name: str
    value: int
    # Whether the name is one of a genus or a species, which are in italics.
    is_latin: bool = False


def bars(key: str, title: str, said: str, rows: Sequence[Bar], *, kind: str = "main") -> Chart:
    """Lying bars with their names above and their values at the right."""
    most = max((row.value for row in rows), default=0) or 1
    parts = []
    for number, row in enumerate(rows):
        top = number * 34
        latin = " latin" if row.is_latin else ""
        parts.append(
            f'<text x="0" y="{top + 13}" class="name{latin}">{text(short(row.name))}</text>'
            f'<text x="100%" y="{top + 13}" class="value">{row.value:,}</text>'
            f'<rect x="0" y="{top + 19}" width="100%" height="7" rx="3.5" class="track"/>'
            f'<rect x="0" y="{top + 19}" width="{_share(row.value / most)}" height="7" rx="3.5" class="{kind}">'
            f"<title>{text(row.name)}: {row.value:,}</title></rect>"
        )
    return Chart(key=key, title=title, said=said, height=max(34 * len(rows), 1), body="".join(parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of `columns`."""

    # Under the axis, if there is room; empty: none.
    name: str
    value: int
    # What went into it, such as photographs, drawn below in another colour.
    effort: int = 0
    # What a pointer on it shows.
    hint: str = ""


def columns(
    key: str,
    title: str,
    said: str,
    columns: Sequence[Column],
    *,
    unit: str,
    effort: str = "",
    at_edges: bool = False,
    below: str = "",
) -> Chart:
    """Standing bars; with `effort` a second, lower row of bars below, on a scale of its own.

    `at_edges`: the names stand at the left edges of the bars, as limits of intervals; the last column has no bar then.
    """
    count = max(len(columns) - at_edges, 1)
    ticks = _ticks(max((one.value for one in columns), default=0))
    top, bottom = 26, 26 + _PLOT
    parts = [f'<text x="0" y="11" class="unit">{text(unit)}</text>', *_grid(ticks, top, bottom)]
    width = _SHARE / count
    shown = columns[:count]
    parts += _standing([(one.value, one.hint) for one in shown], most=ticks[-1], height=_PLOT, bottom=bottom)
    bottom += 1
    if effort:
        most = max((one.effort for one in columns), default=0) or 1
        low = bottom + 24 + _EFFORT
        parts.append(f'<text x="0" y="{bottom + 17}" class="unit">{text(effort)}, up to {most:,}</text>')
        parts += _standing(
            [(one.effort, one.hint) for one in shown], most=most, height=_EFFORT, bottom=low, kind="effort"
        )
        parts.append(_level(low, "axis"))
        bottom = low
    for number, one in enumerate(columns):
        if one.name:
            at = (number + (0 if at_edges else 0.5)) * width
            parts.append(f'<g transform="translate({LEFT})"><text x="{_share(at)}" y="{bottom + 16}" class="tick">')
            parts.append(f"{text(one.name)}</text></g>")
    if below:
        parts.append(f'<text x="{LEFT}" y="{bottom + 34}" class="unit">{text(below)}</text>')
    return Chart(key=key, title=title, said=said, height=bottom + (42 if below else 24), body="".join(parts))


def steps(key: str, title: str, said: str, values: Sequence[int], names: Sequence[str], *, unit: str) -> Chart:
    """A line that rises in steps, one for each value; `names` stand below, where they are not empty."""
    ticks = _ticks(max(values, default=0))
    top, bottom = 26, 26 + _PLOT
    parts = [f'<text x="0" y="11" class="unit">{text(unit)}</text>', *_grid(ticks, top, bottom)]
    width = _SHARE / max(len(values), 1)
    parts.append(f'<g transform="translate({LEFT})">')
    before: float = bottom
    for number, value in enumerate(values):
        y = bottom - value / ticks[-1] * _PLOT
        start, end = _share(number * width), _share((number + 1) * width)
        parts.append(
            f'<rect x="{start}" y="{y:.1f}" width="{_share(width)}" height="{bottom - y:.1f}" class="area"/>'
            f'<line x1="{start}" x2="{start}" y1="{before:.1f}" y2="{y:.1f}" class="line"/>'
            f'<line x1="{start}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}" class="line"/>'
        )
        if names[number]:
            at = _share((number + 0.5) * width)
            parts.append(f'<text x="{at}" y="{bottom + 17}" class="tick">{text(names[number])}</text>')
        before = y
    parts.append("</g>")
    return Chart(key=key, title=title, said=said, height=bottom + 24, body="".join(parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A row of `spans`: shares of the time from noon to noon."""

    name: str
    start: float
    end: float
    # Between sunset and sunrise; None: not known.
    dark: tuple[float, float] | None = None
    is_gappy: bool = False
    hint: str = ""


def spans(key: str, title: str, said: str, rows: Sequence[Span]) -> Chart:
    """Of each row, from when to when it lasted, from noon to noon; dark behind it, if that is known."""
    parts = []
    height = 24 * len(rows)
    for number, row in enumerate(rows):
        top = 24 * number
        parts.append(f'<text x="0" y="{top + 10}" class="small">{text(short(row.name, 40))}</text>')
        parts.append(f'<rect x="0" y="{top + 14}" width="100%" height="6" class="track"/>')
        if row.dark:
            parts.append(_lying(top + 14, row.dark[0], row.dark[1], "dark"))
        shown = max(row.end, row.start + 0.004)
        kind = "warned" if row.is_gappy else "main"
        parts.append(_lying(top + 14, row.start, shown, kind, row.hint))
    for number, name in enumerate(("12", "18", "0", "6", "12")):
        kind = ("tick first", "tick", "tick", "tick", "tick last")[number]
        parts.append(f'<text x="{number * 25}%" y="{height + 14}" class="{kind}">{name}:00</text>')
    return Chart(key=key, title=title, said=said, height=height + 22, body="".join(parts))


def _lying(top: int, start: float, end: float, kind: str, hint: str = "") -> str:
    said = f"<title>{text(hint)}</title>" if hint else ""
    return f'<rect x="{_share(start)}" y="{top}" width="{_share(end - start)}" height="6" class="{kind}">{said}</rect>'


def _standing(
    values: Sequence[tuple[float, str]], *, most: float, height: int, bottom: int, kind: str = "main"
) -> Iterator[str]:
    """Bars beside each other, each with what a pointer on it shows; the highest possible one has `most`."""
    width = _SHARE / max(len(values), 1)
    gap = 0.45 if len(values) < 4 else 0.18 if len(values) <= 60 else 0.0
    yield f'<g transform="translate({LEFT})">'
    for number, (value, hint) in enumerate(values):
        if value:
            tall = max(value / most * height, 1)
            yield (
                f'<rect x="{_share((number + gap / 2) * width)}" y="{bottom - tall:.1f}" '
                f'width="{_share(width * (1 - gap))}" height="{tall:.1f}" class="{kind}">'
                f"<title>{text(hint)}</title></rect>"
            )
    yield "</g>"


def _grid(ticks: Sequence[float], top: float, bottom: float) -> Iterator[str]:
    for tick in ticks:
        y = bottom - tick / ticks[-1] * (bottom - top)
        yield _level(y, "axis" if tick == 0 else "level")
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="scale">{_number(tick)}</text>'


def _level(y: float, kind: str) -> str:
    return (
        f'<g transform="translate({LEFT})"><line x1="0" x2="{_share(_SHARE)}" y1="{y:.1f}" y2="{y:.1f}" '
        f'class="{kind}"/></g>'
    )


def _ticks(most: int) -> list[float]:
    """From 0 in three to five even steps to a round number that is not below the most."""
    if most <= 0:
        return [0, 1]
    rough = most / 4
    power = 10.0 ** math.floor(math.log10(rough))
    # Of whole things.
    step = max(next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999), 1.0)
    return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]


def _number(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size * 10 or (value >= size and value % size == 0):
            return f"{value / size:g}{letter}"
    return f"{value:,g}" if value < 1000 else f"{value:,.0f}"


def _share(of: float) -> str:
    return f"{100 * of:.2f}".rstrip("0").rstrip(".") + "%"


def thinned(names: Sequence[str], most: int = 6) -> list[str]:
    """Names with all but every n-th empty, so that at most so many stay and the first does."""
    every = max(1, math.ceil(len(names) / most))
    return [name if number % every == 0 else "" for number, name in enumerate(names)]
