"""The colours of reports, in light and dark. Letters differ from their ground by at least 4.5, shapes by 3 (WCAG)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LIGHT: Final = {
    "ground": "#f6f4ee",
    "paper": "#ffffff",
    "ink": "#1d2420",
    "soft": "#5a635d",
    "rule": "#dedacf",
    "track": "#eeece4",
    "main": "#2c7a57",
    "area": "#d5e8dd",
    "effort": "#858d87",
    "dark": "#bcc4dc",
    "warned": "#b0561a",
    "link": "#1c6647",
}

DARK: Final = {
    "ground": "#121614",
    "paper": "#1b211e",
    "ink": "#e8ece9",
    "soft": "#a5afa9",
    "rule": "#343c37",
    "track": "#2a322d",
    "main": "#63c294",
    "area": "#234435",
    "effort": "#848d87",
    "dark": "#414b6b",
    "warned": "#eb9a55",
    "link": "#84d3ab",
}

LETTERS: Final = (
    *(("ink", ground) for ground in ("ground", "paper", "track")),
    *(("soft", ground) for ground in ("ground", "paper")),
    *(("link", ground) for ground in ("ground", "paper")),
    *(("warned", ground) for ground in ("ground", "paper")),
)
"""Pairs of letters and ground that occur."""

SHAPES: Final = tuple((shape, "paper") for shape in ("main", "effort", "warned"))
"""Pairs of what plots say with their colour, and ground. Beside them stand the numbers, as text."""

_CHART: Final = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:%(ink)s}"
    ".unit,.tick,.scale{fill:%(soft)s;font-size:11.5px}.tick{text-anchor:middle}.tick[text-anchor=start]"
    "{text-anchor:start}.tick[text-anchor=end]{text-anchor:end}.scale,.value{text-anchor:end}"
    ".name,.value{font-size:13.5px}.value{fill:%(soft)s}.small{fill:%(soft)s;font-size:11.5px}"
    ".latin{font-style:italic}.head{font-size:15px;font-weight:600}"
    ".main{fill:%(main)s}.effort{fill:%(effort)s}.warned{fill:%(warned)s}.dark{fill:%(dark)s}.track{fill:%(track)s}"
    ".area{fill:%(area)s}.line{stroke:%(main)s;stroke-width:2}.grid{stroke:%(rule)s}.axis{stroke:%(soft)s}"
)


def chart_style(colours: Mapping[str, str] = LIGHT) -> str:
    """The style of plots, with these colours."""
    return _CHART % colours


def variables(colours: Mapping[str, str]) -> str:
    """Colours as variables of CSS."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def page_chart_style() -> str:
    """The style of plots in a page that has the variables."""
    return chart_style({name: f"var(--{name})" for name in LIGHT}).replace("text{", ".chart text{", 1)


def contrast(one: str, other: str) -> float:
    """How different two colours are, from 1 to 21, as WCAG 2 computes it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
