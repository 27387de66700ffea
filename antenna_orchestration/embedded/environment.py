"""The environment variables of a stack: those that child processes get, and the env file that other shells read."""

from __future__ import annotations

import importlib.util
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from antenna_orchestration import errors, server_urls
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded.events import Report
from antenna_orchestration.embedded.home import Home, write_private


def write(home: Home, values: Mapping[str, str]) -> None:
    """Write the env file: readable by a POSIX shell (`set -a; . .antenna/env`) and by python-dotenv."""
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in values.items()]
    text = settings_module.ENV_HEADER + "".join(lines) + settings_module.ENV_END
    write_private(home.env_file, text)


def read(home: Home) -> dict[str, str]:
    """The values of the env file that this home's stack wrote; none when there is no such file."""
    return {} if settings_module.fault_of_env_file(home.path) else settings_module.read_env_file(home.path)


def lake_elsewhere(home: Home) -> str:
    """The lake of a home's stack if it does not lie in the home, or else an empty text."""
    lake = read(home).get("ANTENNA_LAKE_URI", "")
    return "" if not lake or Path(lake).is_relative_to(home.path) else lake


def export_lines(home: Home) -> list[str]:
    """What `antenna env` prints: `export NAME=value`, to be evaluated by a shell.

    Raises `InvalidSetting` for a file that is damaged, or of a home elsewhere.
    """
    if fault := settings_module.fault_of_env_file(home.path):
        raise errors.InvalidSetting(f"{fault}: run `antenna up`, which writes {home.env_file} again")
    return [f"export {name}={shlex.quote(value)}" for name, value in read(home).items()]


def is_users_own(setting: str, value: str, *, home: Home, own_password: str) -> bool:
    """Whether a URL setting names the user's own server, which then replaces the bundled one.

    Settings also read the env file of an earlier start, and a shell may have joined that stack: a URL with the password
    that we generated is ours, and one that stands in the file alone was meant for that start.
    """
    if not value or urlsplit(value).password == own_password:
        return False
    name = f"ANTENNA_{setting.upper()}"
    return read(home).get(name) != value or server_urls.with_encoded_login(os.environ.get(name, "")) == value


def settings_as_variables(settings: settings_module.Settings) -> dict[str, str]:
    """The settings that differ from their defaults, as environment variables; paths are absolute."""
    values: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if value is None or value == "" or (not field.default_factory and value == field.default):
            continue
        values[f"ANTENNA_{name.upper()}"] = settings_module.as_text(name, _absolute(value))
    return values


def _absolute(value: object) -> object:
    """Paths made absolute, so that a process in any folder reads the same."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return value.absolute() if isinstance(value, Path) else value


def with_compiled_modules(variables: Mapping[str, str]) -> dict[str, str]:
    """Let Python keep compiled modules in our own cache if it may not write them beside the sources and none are there.

    Dagster's processes import two thousand modules each: compiling them costs a second of CPU.
    """
    spec = importlib.util.find_spec("dagster")
    installed = spec and spec.origin and Path(importlib.util.cache_from_source(spec.origin)).exists()
    if installed or not variables.get("PYTHONDONTWRITEBYTECODE"):
        return dict(variables)
    cache = Path(variables.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "antenna" / "compiled"
    kept = {name: value for name, value in variables.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": str(cache), **kept}


def link_dotenv(home: Home, *, report: Report) -> None:
    """Let `dagster`, which reads `.env` in the working directory, find the stack beside its project.

    A folder that nobody may write to only costs that, and `report` is told.
    """
    link = home.path.parent / ".env"
    if home.path.name == ".antenna" and not link.exists() and not link.is_symlink():
        try:
            link.symlink_to(Path(home.path.name) / home.env_file.name)
        except OSError as error:
            report(
                f'{link} cannot be made ({error.strerror}): `dagster` commands need `eval "$(antenna env)"` before them'
            )
