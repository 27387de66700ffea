"""Secrets that the file of alerts names and does not hold: `file:/path` and `env:NAME`. Nothing here shows a value."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain.redaction import HIDDEN

_FILE: Final = re.compile(r"file:(/[^\0\n]+)")
_ENVIRONMENT: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")

_MOST_BYTES: Final = 8_192

_SHORTEST: Final = 8
"""Characters of a part of an address from which on it may be a secret; shorter ones are words like `api`."""


def is_reference(text: str) -> bool:
    """Whether the text is meant to name a secret."""
    return text.startswith(("file:", "env:"))


def checked(reference: str) -> str:
    """The reference. Raises `ValueError` without the text, which may be the secret itself."""
    if not _FILE.fullmatch(reference) and not _ENVIRONMENT.fullmatch(reference):
        raise ValueError("a secret does not stand in this file: name it by file:/path or env:NAME")
    return reference


def value_of(reference: str) -> str:
    """The secret, read anew each time, so that a changed one counts at once. Raises `InvalidSetting`."""
    if found := _ENVIRONMENT.fullmatch(reference):
        value = os.environ.get(found[1], "")
        if not value:
            raise errors.InvalidSetting(f"the environment has no {found[1]}")
    else:
        path = Path(reference.removeprefix("file:"))
        try:
            with path.open("rb") as file:
                value = file.read(_MOST_BYTES).decode()
        except OSError as error:
            raise errors.InvalidSetting(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise errors.InvalidSetting(f"{path} holds no text") from None
    value = value.strip()
    if not value or not value.isprintable() or not value.isascii():
        raise errors.InvalidSetting(f"{reference} is not one line of plain characters")
    return value


def of_address(url: str) -> tuple[str, ...]:
    """What is secret of an address: itself, and what a server that repeats it may leave of it, such as its path."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return (url,)
    values = [value for _, value in parse_qsl(parts.query)]
    pieces = [parts.path, parts.query, *parts.path.split("/"), *values, parts.username or "", parts.password or ""]
    found = {part for piece in pieces for part in (piece, unquote(piece))}
    return (url, *(part for part in found if len(part) >= _SHORTEST))


def without(text: str, *secrets: str) -> str:
    """The text without these secrets, as a server's answer may repeat them."""
    # One may be a part of another.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
