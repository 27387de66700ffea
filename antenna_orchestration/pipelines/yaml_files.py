"""Reads the YAML that people write about their models: descriptions of pipelines, and files of labels.

What YAML lets pass in silence is refused here: a field that is there twice, of which the last would count, and aliases
that grow into more than fits into memory. Everything is told with its line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from antenna_orchestration import errors

LARGEST: Final = 16 * 2**20
"""Bytes of a file; a list of a hundred thousand species has a third of it."""

LARGEST_OF_SETTING: Final = 2**20
"""Bytes of a file that a setting names."""

MOST_VALUES: Final = 1_000_000
"""Values of a file with all its aliases written out. A few lines of aliases of aliases may say billions."""

_NUMBERS: Final = frozenset({"bool", "int", "float", "date", "datetime"})
"""What YAML makes of texts that look so, unless they are in quotes."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(content: bytes) -> Any:
    """What a YAML text says; None if it is empty. Raises `ValueError` in one line, with the number of the text's."""
    if len(content) > LARGEST:
        raise ValueError(f"it has {len(content):,} bytes, more than the {LARGEST:,} that are read")
    try:
        loader = _Loader(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{_why(error, content)}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"save it as UTF-8: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def of_setting(setting: str, path: Path, *, holds: str) -> Any:
    """What the file says that a setting names; `holds` is what it is for. Raises `InvalidSetting` in one line."""
    try:
        with path.expanduser().open("rb") as file:
            content = file.read(LARGEST_OF_SETTING + 1)
        if len(content) > LARGEST_OF_SETTING:
            raise errors.InvalidSetting(f"{setting}: {path} is larger than 1 MB, which no list of {holds} is")
        return read(content)
    except OSError as error:
        raise errors.InvalidSetting(f"{setting}: {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise errors.InvalidSetting(f"{setting}: {path}: {error}") from None


def explained(fault: str, known: Iterable[str]) -> str:
    """A message of msgspec, with the field that a wrong name probably means, and what makes a text of a number."""
    line = " ".join(fault.split())
    if found := re.search(r"unknown field `([^`]+)`", line):
        near = difflib.get_close_matches(found[1], sorted(known), 1)
        return f"{line}{f'; is {near[0]!r} meant?' if near else ''}"
    found = re.match(r"Expected `([^`]+)`, got `(\w+)`", line)
    wanted = found[1].split(" | ") if found else []
    if found and "str" in wanted and found[2] in _NUMBERS:
        return f"{line}; put it in quotes"
    # `8e-4` is a text to YAML.
    return (
        f"{line}; a number is written as 0.0008 or 8.0e-4"
        if found and "float" in wanted and found[2] == "str"
        else line
    )


def _check(root: yaml.Node) -> None:
    """Raise `MarkedYAMLError` for a field that is there twice, and for what aliases make too large or endless."""
    sizes: dict[int, int] = {}
    above: set[int] = set()

    def size(node: yaml.Node) -> int:
        """How many values a node has with its aliases written out."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in above:
            raise yaml.MarkedYAMLError(problem="an alias stands within its own anchor", problem_mark=node.start_mark)
        if (known := sizes.get(id(node))) is not None:
            return known
        above.add(id(node))
        if isinstance(node, yaml.MappingNode):
            _refuse_twice(node)
            total = 1 + sum(size(key) + size(value) for key, value in node.value)
        else:
            total = 1 + sum(map(size, node.value))
        above.discard(id(node))
        if total > MOST_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"it says more than {MOST_VALUES:,} values with its aliases written out",
                problem_mark=node.start_mark,
            )
        sizes[id(node)] = total
        return total

    size(root)


def _refuse_twice(node: yaml.MappingNode) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if key.value in first:
            raise yaml.MarkedYAMLError(
                problem=f"{key.value[:80]!r} is there twice; the first is in line {first[key.value]}",
                problem_mark=key.start_mark,
            )
        first[key.value] = line


def _why(error: yaml.MarkedYAMLError, content: bytes) -> str:
    said = " ".join(" ".join(filter(None, (error.context, error.problem))).split())
    mark = error.problem_mark
    lines = content.splitlines()
    if mark and mark.line < len(lines) and b"\t" in lines[mark.line][: mark.column + 1]:
        return f"{said}; there is a tab, and YAML indents with blanks"
    return said
