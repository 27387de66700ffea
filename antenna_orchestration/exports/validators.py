"""What checks have in common: JSON read a part at a time, and the usual validators where they are installed."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module, metadata
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from antenna_orchestration.exports.formats import MOST_FAULTS, Checked

OWN: Final = "own rules"

MOST_BYTES: Final = 128 * 2**20
"""Up to this size of a file validators are run that hold all of it as Python objects, which take ten times as much."""


class Unreadable(Exception):
    """A file that rules cannot be applied to: why."""


def json_object(path: Path) -> dict[str, msgspec.Raw]:
    """The values of a JSON object that is a file, not yet parsed. Raises `Unreadable`."""
    found: dict[str, msgspec.Raw] = _decoded(path, dict[str, msgspec.Raw])
    return found


def json_list(path: Path) -> list[msgspec.Raw]:
    """The values of a JSON list that is a file, not yet parsed. Raises `Unreadable`."""
    found: list[msgspec.Raw] = _decoded(path, list[msgspec.Raw])
    return found


def _decoded(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path.name} cannot be read: {error}") from None


def parsed(raw: msgspec.Raw) -> Any:
    """A value of such an object or list."""
    return msgspec.json.decode(raw)


def value(found: Mapping[str, msgspec.Raw], name: str) -> Any:
    """A value of an object, parsed; None if it is not there."""
    return parsed(found[name]) if name in found else None


def values(found: Mapping[str, msgspec.Raw], name: str) -> Iterator[Any]:
    """The values of a list of an object, parsed one at a time. Raises `Unreadable` if there is no such list."""
    try:
        parts = msgspec.json.decode(found.get(name, b"null"), type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        raise Unreadable(f"`{name}` is not a list") from None
    yield from map(parsed, parts)


def is_number(value: object) -> bool:
    """Whether it is a number of JSON, which truth values are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def first_faults(rules: Callable[[], Iterable[str]]) -> list[str]:
    """The first faults that rules find, and as the last one that they could not go on."""
    found: list[str] = []
    try:
        for fault in islice(rules(), MOST_FAULTS):
            found.append(fault)
    except Unreadable as error:
        found.append(str(error))
    return found


def checked(
    faults: list[str],
    package: str,
    run: Callable[[], Iterable[str]],
    *,
    size: int = 0,
    advice: str = "install the extra `validators`",
) -> Checked:
    """What own rules found, and if that is nothing, what the validator of a package finds.

    `run` imports the package and gives its faults; what it prints is swallowed. `size` is that of the file in bytes.
    """
    try:
        by = f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return Checked(faults=faults, by=[OWN], unchecked=[f"{package} is not installed: {advice}"])
    if faults:
        # It would say the same, or raise.
        return Checked(faults=faults, by=[OWN])
    if size > MOST_BYTES:
        unchecked = f"{by} is not run over a file of more than {MOST_BYTES // 2**20} MB, as it holds all of it"
        return Checked(faults=faults, by=[OWN], unchecked=[unchecked])
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            found = list(islice(run(), MOST_FAULTS))
        except ModuleNotFoundError as error:
            # Installed without what it needs, which says nothing of the file.
            return Checked(faults=faults, by=[OWN], unchecked=[f"{by} lacks {error.name}: {advice}"])
        except Exception as error:
            # Some of them say what is wrong in this way.
            found = [f"{type(error).__name__}: {error}"]
    return Checked(faults=[f"{package}: {' '.join(one.split())}" for one in found], by=[OWN, by])


def imported(module: str) -> Any:
    """A module of a validator."""
    return import_module(module)
