"""`antenna up` for the stack's own tests: events as JSON lines, and tiny definitions."""

from __future__ import annotations

import sys
from pathlib import Path

from antenna_orchestration import errors, settings
from antenna_orchestration.embedded import stack
from antenna_orchestration.embedded.events import Event, to_line

DEFINITIONS = "tests.embedded.tiny_definitions"


def _print(event: Event) -> None:
    sys.stdout.buffer.write(to_line(event))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        status = stack.run_foreground(
            settings.load(home=Path(sys.argv[1]), ui_port=0, gateway_port=0, gateway_processes=2),
            dagster="--stores-only" not in sys.argv,
            on_event=_print,
            definitions_module=DEFINITIONS,
            prepare_hook=f"{DEFINITIONS}:prepare",
        )
    except errors.AntennaError as error:
        sys.exit(str(error))
    sys.exit(status)
