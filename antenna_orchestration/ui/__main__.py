"""`python -m antenna_orchestration.ui`: `dagster-webserver`, with its options, behind the guard.

The settings `ANTENNA_UI_HOSTS`, `ANTENNA_UI_PASSWORD` and `ANTENNA_UI_MODE` are read once, at the start.
"""

from __future__ import annotations

import sys
from typing import Any

from dagster_webserver import app, cli
from starlette.types import ASGIApp

from antenna_orchestration import settings as settings_module
from antenna_orchestration.ui.guard import Guard

_create_app = app.create_app_from_workspace_process_context


def main() -> None:
    """Serve until told to stop.

    The webserver has no setting for middleware, so the function that makes its application is replaced: a name of its
    module, which a test watches and the range of versions in pyproject.toml keeps.
    """
    settings = settings_module.get()

    def guarded(*arguments: Any, **options: Any) -> ASGIApp:
        return Guard(_create_app(*arguments, **options), settings)

    cli.create_app_from_workspace_process_context = guarded  # type: ignore[attr-defined, assignment]
    if settings.ui_mode == "read-only":
        sys.argv.append("--read-only")
    cli.main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
