"""Plots of derived tables, as PNG files. No window and no state of the process: each plot is a figure of its own."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Final

from antenna_orchestration.ecology.agreement import CONFIDENCE, Agreement

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LABELS: Final = 25
"""Labels of a plot: those that were reviewed most often. More cannot be read; the tables have all."""

_LONGEST: Final = 28
"""Characters of a label; the picture has no room for more."""


def agreement(found: Agreement, *, title: str) -> bytes:
    """Agreement per label, what is taken for what, and agreement per score: a row for each classifier."""
    from matplotlib.figure import Figure

    keys = ["pipeline", "classifier", "classifier_version"]
    classifiers = list(found.labels.groupby(keys, sort=True).groups)
    shown = {key: _of(found.labels, keys, key).nlargest(MOST_LABELS, "reviewed", keep="first") for key in classifiers}
    heights = [max(4.5, 1.5 + 0.3 * len(labels)) for labels in shown.values()]
    figure = Figure(figsize=(16, sum(heights) + 0.6), layout="constrained")
    figure.suptitle(_plain(title, 100), parse_math=False)
    grid = figure.subplots(max(1, len(classifiers)), 3, squeeze=False, height_ratios=heights or [1])
    for axes, (key, labels) in zip(grid, shown.items(), strict=False):
        pipeline, classifier, version = key
        _shares(axes[0], labels, f"{pipeline}: {classifier} {version}")
        _matrix(figure, axes[1], _of(found.confusion, keys, key), list(labels["label"]))
        _curve(axes[2], _of(found.reliability, keys, key))
    return _png(figure)


def _of(table: pd.DataFrame, keys: list[str], key: tuple[str, ...]) -> pd.DataFrame:
    chosen = table
    for name, value in zip(keys, key, strict=True):
        chosen = chosen[chosen[name] == value]
    return chosen


def _shares(axes: Axes, labels: pd.DataFrame, title: str) -> None:
    places = range(len(labels))
    # No share where all that people said is coarser.
    share = labels["share"].fillna(0.0)
    below, above = (share - labels["low"]).fillna(0.0).clip(lower=0), (labels["high"] - share).fillna(0.0).clip(lower=0)
    axes.barh(places, share, xerr=[below, above], color="#7aa6c2", ecolor="#333333", capsize=2)
    names = [f"{_plain(name)} ({count})" for name, count in zip(labels["label"], labels["reviewed"], strict=True)]
    axes.set_yticks(places, names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share on which people agree ({CONFIDENCE:.0%} interval)")
    axes.set_title(_plain(title, 60), parse_math=False)


def _matrix(figure: Figure, axes: Axes, confusion: pd.DataFrame, labels: list[str]) -> None:
    table = confusion.pivot_table(index="human", columns="label", values="detections", aggfunc="sum", fill_value=0)
    columns = [name for name in labels if name in table.columns]
    table = table[columns]
    # Their own order, so that what agrees lies on the diagonal; then what the classifier has no class for.
    others = [
        name for name in table.sum(axis=1).sort_values(ascending=False, kind="stable").index if name not in labels
    ]
    table = table.reindex([*(name for name in labels if name in table.index), *others][: 2 * MOST_LABELS])
    image = axes.imshow(table.to_numpy(), cmap="Blues", aspect="auto", vmin=0)
    if table.size <= 400:
        half = table.to_numpy().max(initial=0) / 2
        for row, counts in enumerate(table.to_numpy()):
            for column, count in enumerate(counts):
                if count:
                    colour = "white" if count > half else "black"
                    axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(columns)), [_plain(name) for name in columns], rotation=90, parse_math=False)
    axes.set_yticks(range(len(table)), [_plain(name) for name in table.index], parse_math=False)
    axes.set_xlabel("the classifier said")
    axes.set_ylabel("people said")
    axes.set_title("what is taken for what")
    figure.colorbar(image, ax=axes, label="detections", shrink=0.8)


def _curve(axes: Axes, reliability: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linestyle="--", linewidth=1)
    share = reliability["share"]
    errors = [(share - reliability["low"]).clip(lower=0), (reliability["high"] - share).clip(lower=0)]
    axes.errorbar(reliability["mean_score"], share, yerr=errors, marker="o", capsize=2, color="#7aa6c2")
    for row in reliability.itertuples():
        axes.annotate(str(row.reviewed), (row.mean_score, row.share), textcoords="offset points", xytext=(6, 4))
    axes.set_xlim(0, 1.1)
    axes.set_ylim(0, 1.1)
    axes.set_xlabel("mean score (detections beside points)")
    axes.set_ylabel("people agree")
    axes.set_title("is a score of 0.8 right in 8 of 10?")


def _plain(text: str, most: int = _LONGEST) -> str:
    shown = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(text))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = io.BytesIO()
    with warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasAgg(figure).print_png(drawn)
    return drawn.getvalue()
