"""Which requirements of an own pipeline may travel to another machine: names of packages, and addresses of theirs.

They are stored as they are, where everybody who may read the store reads them, and an installer gets them as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from antenna_orchestration import errors
from antenna_orchestration.domain import redaction

MOST: Final = 200
"""Requirements of a pipeline."""

_MOST_CHARACTERS: Final = 1_000
"""Of one requirement: the longest that people write are addresses of wheels with their digests."""

_IS_OTHER: Final = "is not a requirement of another machine: name the package, as in numpy==2.3.1"
_IS_TOLD: Final = "has a login or a signature, which would be stored for everybody: give it to the worker, in ~/.netrc"

_SCHEMES: Final = frozenset(f"{vcs}{scheme}" for vcs in ("", "git+") for scheme in ("https", "http", "ssh"))

_FILES: Final = (".whl", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".txt", ".toml")
"""Endings of names that uv takes for files of the folder that it runs in."""

_FRAGMENT: Final = frozenset({"egg", "subdirectory", "sha256", "sha384", "sha512"})

_COMMIT: Final = re.compile(r"@[0-9a-f]{40}$")


def check(requirements: Sequence[str]) -> None:
    """Raise `InvalidInput`, in one line without any secret, unless each names a package, and nothing of one machine.

    Files are refused because a digest holds the line and not what lies there; options, because they would change where
    everything is installed from; logins and signatures, because the line is stored in clear.
    """
    if len(requirements) > MOST:
        raise errors.InvalidInput(f"it has {len(requirements):,} requirements; the limit is {MOST}")
    for one in requirements:
        if fault := _fault(one):
            raise errors.InvalidInput(f"requirement {redaction.without_secrets(one)[:200]!r} {fault}")


def unpinned(requirements: Sequence[str]) -> list[str]:
    """Those that may be another package tomorrow: without an exact version, digest or commit."""
    return [one for one in requirements if not _is_pinned(Requirement(one))]


def _fault(text: str) -> str:
    """What is wrong with a requirement, as the end of a sentence; empty if nothing is."""
    try:
        parsed = Requirement(text)
        address = None if parsed.url is None else urlsplit(parsed.url)
    except (InvalidRequirement, ValueError):
        return _IS_OTHER
    # The standard's grammar takes some line ends for blanks, and installers may take them for line ends.
    if not text.isprintable() or len(text) > _MOST_CHARACTERS:
        return _IS_OTHER
    if address is None:
        return _IS_OTHER if parsed.name.lower().endswith(_FILES) else ""
    if address.scheme not in _SCHEMES or not address.hostname or "$" in text:
        return _IS_OTHER
    return _IS_TOLD if _has_secret(address) else ""


def _has_secret(address: SplitResult) -> bool:
    # `git@` is the name of everybody.
    is_named = address.scheme.endswith("ssh") and address.password is None
    told = parse_qs(address.fragment, keep_blank_values=True)
    return ("@" in address.netloc and not is_named) or bool(address.query) or not told.keys() <= _FRAGMENT


def _is_pinned(requirement: Requirement) -> bool:
    if requirement.url is not None:
        address = urlsplit(requirement.url)
        return bool(_COMMIT.search(address.path)) or "sha256=" in address.fragment
    return any(one.operator in ("==", "===") and "*" not in one.version for one in requirement.specifier)
