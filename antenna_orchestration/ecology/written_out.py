"""A recipe's text with every value written out, so that it means the same when a later version has other defaults.

What people wrote stays, their comments among it; what they left out is written beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from antenna_orchestration import errors
from antenna_orchestration.ecology import recipes
from antenna_orchestration.ecology.recipes import Recipe


def text_of(recipe: Recipe) -> str:
    """The recipe's text with all values."""
    data = recipe.as_data()
    written = _with(recipe.text, [*_left_out(recipe.text, data)])
    # Rare forms of YAML take no more values where they stand.
    plain = yaml.safe_dump(data, sort_keys=False)
    as_given = "".join(f"# {line}\n" for line in ("As it was given:", *recipe.text.splitlines()))
    return next((text for text in (written, plain + as_given) if _says_all(text, data)), plain)


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def _with(text: str, edits: list[_Edit]) -> str:
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _says_all(text: str, data: dict[str, Any]) -> bool:
    try:
        return recipes.parsed(text, "").as_data() == data and not [*_left_out(text, data)]
    except errors.InvalidInput:
        return False


def _left_out(text: str, data: dict[str, Any]) -> Iterator[_Edit]:
    """What is to be written where."""
    fields = {str(key.value): node for key, node in recipes.composed(text).value}
    for node, step in zip(fields["steps"].value, data["steps"], strict=True):
        [(name, values)] = step.items()
        if isinstance(node, yaml.ScalarNode):
            if values:
                yield _Edit(node.start_mark.index, node.end_mark.index, f"{name}: {_flow(values)}")
        else:
            yield from _of_step(text, node.value[0][1], values)
    if "count_without" not in fields:
        gap = "" if text.endswith("\n") else "\n"
        yield _Edit(len(text), len(text), f"{gap}count_without: {json.dumps(data['count_without'])}\n")


def _of_step(text: str, node: yaml.Node, values: dict[str, Any]) -> Iterator[_Edit]:
    fields = node.value if isinstance(node, yaml.MappingNode) else []
    there = {str(key.value) for key, _ in fields}
    missing = {name: value for name, value in values.items() if name not in there}
    if not missing:
        return
    if not fields:
        yield _Edit(node.start_mark.index, node.end_mark.index, f" {_flow(missing)}".removeprefix(_before(text, node)))
    elif isinstance(node, yaml.CollectionNode) and node.flow_style:
        last = node.end_mark.index - 1
        yield _Edit(last, last, f", {_pairs(missing)}")
    else:
        indent = " " * fields[0][0].start_mark.column
        end = _end_of_line(text, node)
        yield _Edit(end, end, "".join(f"\n{indent}{name}: {json.dumps(value)}" for name, value in missing.items()))


def _before(text: str, node: yaml.Node) -> str:
    """The space before a node, if there is one."""
    at = node.start_mark.index
    return " " if text[at - 1 : at] == " " else ""


def _end_of_line(text: str, node: yaml.Node) -> int:
    """Where the line ends in which a node does."""
    # A list or mapping of several lines ends, for the reader, where the next thing begins.
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    found = re.compile(r"\r?\n|\Z").search(text, node.end_mark.index)
    return found.start() if found else len(text)


def _flow(values: dict[str, Any]) -> str:
    return f"{{{_pairs(values)}}}"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in values.items())
