"""What materializations show: previews, counts, pictures. Kept small, because Dagster stores it with every event."""

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from antenna_orchestration.domain import markdown, terminal
from antenna_orchestration.exports.report.charts import Chart
from antenna_orchestration.processing.samples import Sample

PREVIEW_ROWS = 8
"""Rows of a table shown in the UI."""

MOST_VALUES = 20
"""Labels and reasons shown in the UI, the most frequent ones."""

PLOT_BYTES = 100_000
"""Of all plots together that the UI shows; a usual one has ten thousand."""

PICTURES = 4
"""Sample images shown in the UI."""


def attach(context: dg.AssetExecutionContext, shown: Mapping[str, Any], *, asset: str | None = None) -> None:
    """Show this of the asset, or of the one of several that is named, when it is materialized next.

    What a `MaterializeResult` is given, Dagster stores twice: with the materialization and with the step's output.
    """
    context.add_asset_metadata(shown, asset_key=asset)


def preview(table: pa.Table) -> dg.MetadataValue[Any]:
    """The first rows as a table."""
    head = _times_as_text(table.slice(0, PREVIEW_ROWS)).to_pylist()
    if not head:
        return dg.MetadataValue.text("no rows")
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: _plain(value) for name, value in row.items()}) for row in head]
    )


def counts(title: str, numbers: Counter[str]) -> dg.MetadataValue[Any]:
    """A table of values and how often each occurs, the most frequent first, and how many it leaves out."""
    if not numbers:
        return dg.MetadataValue.text("none")
    shown = numbers.most_common(MOST_VALUES)
    if (rest := len(numbers) - len(shown)) > 0:
        shown.append((f"{rest} more, see job_report", numbers.total() - sum(number for _, number in shown)))
    return dg.MetadataValue.table([dg.TableRecord({title: _plain(value), "count": number}) for value, number in shown])


def pictures(images: Sequence[Sample]) -> dg.MetadataValue[Any]:
    """JPEGs with captions, embedded; where there is none, the reason."""
    return dg.MetadataValue.md("\n\n".join(map(_picture, images)) or "no image has a detection")


def plots(charts: Mapping[str, Chart]) -> dict[str, dg.MetadataValue[Any]]:
    """Plots, embedded: one entry with as many as events should hold, in order."""
    shown: list[str] = []
    left = PLOT_BYTES
    for title, chart in charts.items():
        plot = chart.standalone().encode()
        if len(plot) <= left:
            left -= len(plot)
            # The plot has its title in it.
            caption = markdown.escape(f"{title}. {chart.said}")
            shown.append(f"![{caption}](data:image/svg+xml;base64,{base64.b64encode(plot).decode()})")
    return {"plots": dg.MetadataValue.md("\n\n".join(shown))} if shown else {}


def _picture(sample: Sample) -> str:
    caption = markdown.escape(sample.caption)
    if sample.jpeg is None:
        return f"**{caption}**\n\nno picture: {markdown.escape(sample.why)}"
    return f"**{caption}**\n\n![{caption}](data:image/jpeg;base64,{base64.b64encode(sample.jpeg).decode()})"


def _times_as_text(table: pa.Table) -> pa.Table:
    """Times as text, since Arrow imports pandas to convert a timestamp to Python (see `lake.arrow`)."""
    wanted = [pa.field(f.name, pa.string() if pa.types.is_timestamp(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(wanted))


def _plain(value: Any) -> str | int | float | bool:
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, (int, bool)):
        return value
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    # The UI shows the cells of tables as text; what is copied from there may go to a terminal.
    return "" if value is None else terminal.line(value)
