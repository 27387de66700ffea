"""`antenna settings`: every setting with its value, its default and what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration.cli import output

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
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page, without values.")] = False,
) -> None:
    """List every setting; passwords are not shown."""
    if markdown:
        output.line(reference().rstrip("\n"))
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
    output.console().print(output.table(("SETTING", "VALUE", "", "MEANING"), shown))


def describe(current: Settings) -> list[dict[str, Any]]:
    """One entry a setting: name, value, default, description. No secret is in it."""
    return [
        {
            "name": f"ANTENNA_{name.upper()}",
            "value": _masked(getattr(current, name), is_secret=name == "secret_key"),
            "default": _default(current, name),
            "description": field.description or "",
        }
        for name, field in type(current).model_fields.items()
    ]


def reference() -> str:
    """The page `docs/reference/settings.md`."""
    from antenna_orchestration.settings import Settings

    rows = []
    for name, field in Settings.model_fields.items():
        default = "the nearest `.antenna`" if field.default_factory else _cell(_plain(field.default))
        shown = f"`{default}`" if default and not field.default_factory else default
        meaning = (field.description or "").replace("|", "\\|")
        rows.append(f"| `ANTENNA_{name.upper()}` | {shown} | {meaning} |\n")
    return _REFERENCE + "".join(rows)


def _default(current: Settings, name: str) -> Any:
    field = type(current).model_fields[name]
    return _plain(getattr(current, name) if field.default_factory else field.default)


def _masked(value: Any, *, is_secret: bool) -> Any:
    from antenna_orchestration.settings import without_password

    if isinstance(value, str) and is_secret:
        return "***" if value else ""
    if isinstance(value, str) and "://" in value:
        return without_password(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return ":".join(str(part) for part in value)
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
