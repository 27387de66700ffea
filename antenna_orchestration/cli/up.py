"""`antenna up`: run the embedded stack in the foreground."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from antenna_orchestration.embedded.events import Event


class UiMode(StrEnum):
    """What may be done in the Dagster UI."""

    FULL = "full"
    READ_ONLY = "read-only"


def up(
    ui: Annotated[
        UiMode | None, typer.Option("--ui", help="What may be done in the Dagster UI; default: ANTENNA_UI_MODE.")
    ] = None,
) -> None:
    """Run the servers and Dagster here until Ctrl-C.

    All data are kept in the folder .antenna of the working directory (or in ANTENNA_HOME). If the ANTENNA_*_URL
    settings name servers of your own, they replace the bundled ones. Stopping does not cancel jobs: the next `antenna
    up` continues them.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.embedded import network_folders, stack

    settings = settings_module.load(**({"ui_mode": ui.value} if ui else {}))
    output.note(f"starting in {settings.home}")
    if warning := network_folders.warning(settings.home):
        output.warn(warning)
    raise typer.Exit(stack.run_foreground(settings, on_event=_show))


def _show(event: Event) -> None:
    if event.kind == "ready":
        output.line(f"{_now()} ready: {event.text}")
        output.line("         submit from another shell in this folder: antenna submit FOLDER --wait")
        output.line('         other tools join with: eval "$(antenna env)"    stop with Ctrl-C')
    elif event.kind in ("problem", "failed"):
        output.note(f"antenna: {'error' if event.kind == 'failed' else 'warning'}: {event.text}")
    else:
        output.line(f"{_now()} {event.text}")
    sys.stdout.flush()


def _now() -> str:
    return time.strftime("%H:%M:%S")
