"""`antenna settings`: every setting with its value, its default and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.settings import Settings

_REFERENCE = """\
# Settings

Every setting is an environment variable. A variable of the process wins over the file `env` in the stack's home, which
`antenna up` writes; what neither names has its default. `antenna settings` shows the values in force.
Times are seconds, sizes are bytes unless the name says otherwise.

This page is made by `antenna settings --markdown`.

| setting | default | meaning |
| --- | --- | --- |
"""


def settings(
    json_: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page, without values.")] = False,
) -> None:
    """List every setting, without passwords."""
    if markdown:
        output.verbatim(reference().rstrip("\n"))
        return
    from antenna_orchestration import settings as settings_module

    rows = describe(settings_module.get())
    if json_:
        output.as_json(rows)
        return
    shown = [
        (row["name"], _cell(row["value"]), "" if row["value"] == row["default"] else "set", row["description"])
        for row in rows
    ]
    output.show_table(("SETTING", "VALUE", "", "MEANING"), shown, wraps=("VALUE", "MEANING"))


def describe(settings: Settings) -> list[dict[str, Any]]:
    """One entry per setting: name, value, default, description. No secret is in it.

    A default that depends on the host or the working directory is the one that this process finds.
    """
    return [
        {
            "name": f"ANTENNA_{name.upper()}",
            "value": _masked(name, getattr(settings, name)),
            "default": _plain(name, field.get_default(call_default_factory=True)),
            "description": field.description or "",
        }
        for name, field in type(settings).model_fields.items()
    ]


def reference() -> str:
    """The page `docs/reference/settings.md`."""
    from antenna_orchestration.settings import Settings, default_of

    rows = []
    for name, field in Settings.model_fields.items():
        default = default_of(name)
        shown = default.found or (f"`{default.text}`" if default.text else "")
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `ANTENNA_{name.upper()}` | {shown} | {meaning} |\n")
    return _REFERENCE + "".join(rows)


def _masked(name: str, value: Any) -> Any:
    from antenna_orchestration.server_urls import without_password
    from antenna_orchestration.settings import SECRETS

    if name in SECRETS:
        return "***" if value else ""
    if isinstance(value, str) and "://" in value:
        return without_password(value)
    return _plain(name, value)


def _plain(name: str, value: Any) -> Any:
    """A value for JSON: numbers, switches and None as they are, anything else as its environment variable says it."""
    from antenna_orchestration.settings import as_text

    return value if isinstance(value, (int, float, bool)) or value is None else as_text(name, value)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
