"""How `antenna submit` shows what it takes, what it leaves out, and how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from antenna_orchestration.cli import output
from antenna_orchestration.domain import texts

if TYPE_CHECKING:
    from rich.status import Status

    from antenna_orchestration.domain.capture_sets import NotChosen
    from antenna_orchestration.processing.preview import Preview
    from antenna_orchestration.submission.sources import LeftOut

_EVERY: Final = 5.0
"""Seconds between two lines of progress; small submissions end before the first."""

_SILENT: Final = 0.5
"""Seconds without a line on a terminal: small submissions end before, and need no library for it."""

_SHOWN: Final = 10
"""Rows of a preview's sections; `--json` has all."""


@contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """Shows what was done so far: on a terminal a line that changes, elsewhere a line now and then.

    A folder on a slow share may take minutes. How much is still to come is not known, so there is no bar. What is
    given may be called on another thread.
    """
    on_terminal = sys.stderr.isatty()
    begun = said = time.monotonic()
    step = ""
    with ExitStack() as stack:
        status: Status | None = None

        def show(what: str, count: int) -> None:
            nonlocal said, step, status
            is_new, now = what != step, time.monotonic()
            # There may be hundreds of thousands of calls.
            if not is_new and count % 100:
                return
            step = what
            if not on_terminal:
                if now - said >= _EVERY:
                    said = now
                    output.note(f"{count} {what} so far")
            elif status is not None:
                status.update(f"{count:,} {what}")
            elif now - begun >= _SILENT:
                status = stack.enter_context(output.console(to_stderr=True).status(f"{count:,} {what}"))

        yield show


def left_out_line(left_out: Sequence[LeftOut], *, listed: bool) -> str:
    """One line that says what was left out; empty if nothing was."""
    from antenna_orchestration.submission import kinds, sources

    summary = kinds.summary(sources.count_left_out(left_out))
    if not summary:
        return ""
    return f"left out: {summary}" if listed else f"left out: {summary} (--list-left-out names them)"


def not_chosen_line(not_chosen: NotChosen) -> str:
    """One line that says which photographs were not wanted; empty if all were."""
    from antenna_orchestration.domain import capture_sets

    return f"not chosen: {capture_sets.in_words(not_chosen)}" if not_chosen else ""


def print_left_out(left_out: Sequence[LeftOut], *, to_stderr: bool = False) -> None:
    """A line for each file and folder that was left out: kind, path, reason, separated by tabs."""
    for one in left_out:
        output.fields(one.kind.value, one.path, one.why, to_stderr=to_stderr)


def left_out_fields(left_out: Sequence[LeftOut], *, listed: bool) -> dict[str, Any]:
    """For JSON: the counts by kind and, if asked for, each of them."""
    from antenna_orchestration.submission import sources

    fields: dict[str, Any] = {
        "left_out": {kind.value: count for kind, count in sources.count_left_out(left_out).items()}
    }
    if listed:
        fields["left_out_files"] = [{"kind": one.kind.value, "path": one.path, "why": one.why} for one in left_out]
    return fields


def print_preview(preview: Preview, *, list_left_out: bool) -> None:
    """What would be submitted, for people."""
    from antenna_orchestration.processing.preview import place

    nights = list(preview.nights)
    span = f"{len(nights)}: {nights[0]} to {nights[-1]} ({texts.listed(preview.zones)})" if nights else None
    times = None
    if preview.earliest and preview.latest:
        times = f"{preview.earliest:%Y-%m-%d %H:%M:%S} to {preview.latest:%Y-%m-%d %H:%M:%S} UTC"
    output.show_pairs(
        {
            "images": preview.images,
            "named twice": preview.duplicates or None,
            "first": [place(preview.first)],
            "last": [place(preview.last)],
            "deployments": _some({name or "none": count for name, count in preview.deployments.items()}),
            "times": times,
            "nights": span,
            "without time": preview.without_time or None,
            "odd times": len(preview.odd_times) or None,
            "pipeline": preview.pipeline,
            "project": preview.project,
        }
    )
    for image, why in preview.odd_times[:_SHOWN]:
        output.line(f"{image.captured_at:%Y-%m-%d %H:%M:%S}, {why}: {place(image)}")
    if len(preview.odd_times) > _SHOWN:
        output.line(f"and {len(preview.odd_times) - _SHOWN} more odd times (--json has all)")
    if line := left_out_line(preview.left_out, listed=list_left_out):
        output.line(line)
    if line := not_chosen_line(preview.not_chosen):
        output.line(line)
    if list_left_out:
        print_left_out(preview.left_out)
    output.note("nothing was submitted (--dry-run)")


def _some(counts: Mapping[str, int]) -> str:
    """Names with their counts, the most frequent first, as far as a line holds."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    text = ", ".join(f"{name} ({count})" for name, count in ordered[:_SHOWN])
    return f"{text} and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else text
