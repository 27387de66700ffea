"""The labels of a classifier, in the order of its outputs: from its description, or from a file it names.

A file is one of these, as training programs write them:

* text, one label a line, in order; or its index before each, as in `0 moth`;
* JSON or YAML: a list in order; `{label: index}`; `{index: label}`; or an object with one of these under `names`,
  `id2label` or `labels`, such as the config.json of a Hugging Face model or the data.yaml of YOLO.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines import yaml_files
from antenna_orchestration.pipelines.interface import AlgorithmSpec

_UNDER: Final = ("names", "id2label", "labels", "label2id")
"""Where files that hold more have the labels; the first that is there counts."""

_YAML: Final = (".yaml", ".yml")
_INDEXED: Final = re.compile(r"\s*(?P<index>[0-9]{1,9})(?:\s*[:,;\t]\s*|\s+)(?P<label>\S.*)")
"""A line of text that begins with its index."""

_TEXT: Final = (".txt", ".text", ".names")


def fetch_labels(algorithm: AlgorithmSpec) -> tuple[str, ...]:
    """The labels of a classifier; if its description has none, from the file at its `labels_uri`.

    Raises `InternalError` if it has neither or the file is malformed, and what `weights.fetch` raises.
    """
    if algorithm.labels:
        return algorithm.labels
    # Half of what the process imports that describes pipelines, which fetches nothing.
    from antenna_orchestration.pipelines import weights

    return read_labels(weights.fetch_named(algorithm.labels_uri, f"the labels of {algorithm.key}"))


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a file of labels in one of the forms above; returns them in the order of the model's outputs.

    Raises `InternalError` if the file is something else or is empty, if a label is twice in it, or if the indices are
    not 0, 1, 2, ...
    """
    suffix = path.suffix.lower()
    try:
        content = path.read_bytes()
        if suffix in _TEXT:
            return in_order(_without_indices(content.decode("utf-8-sig").rstrip().splitlines()))
        value = yaml_files.read(content) if suffix in _YAML else json.loads(content.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        what = "text" if suffix in _TEXT else "YAML" if suffix in _YAML else "a JSON object of labels and their indices"
        # A text's own faults say more than that it is one.
        reason = str(error) if suffix in _TEXT else f"it is not {what}: {' '.join(str(error).split())}"
        if isinstance(error, UnicodeDecodeError):
            reason = f"save it as UTF-8: {error}"
        raise errors.InternalError(f"labels {path}: {reason}") from error
    try:
        return in_order(value)
    except ValueError as error:
        raise errors.InternalError(f"labels {path}: {error}") from error


def _without_indices(lines: list[str]) -> list[str] | dict[str, str]:
    """The lines; if each of them begins with an index, and they count from 0, each once, the labels by their index.

    A single line tells nothing: `0 moth` may be its name.
    """
    found = [_INDEXED.fullmatch(line) for line in lines]
    by_index = {one["index"].lstrip("0") or "0": one["label"] for one in found if one}
    is_numbered = len(lines) > 1 and by_index.keys() == {str(index) for index in range(len(lines))}
    return by_index if is_numbered else lines


def in_order(given: Any) -> tuple[str, ...]:
    """Labels in the order of the outputs, from a list, `{label: index}` or `{index: label}`, or a map that has one.

    Where both sides are numbers, the first is the label. Raises `ValueError`, which says what is wrong.
    """
    if isinstance(given, Mapping):
        under = next((name for name in _UNDER if isinstance(given.get(name), (Mapping, list))), None)
        if under is not None:
            return in_order(given[under])
        return _checked(_by_index(given))
    if isinstance(given, list):
        return _checked(given)
    raise ValueError(f"it holds no labels, but {type(given).__name__}")


def _by_index(given: Mapping[Any, Any]) -> list[Any]:
    if not given:
        raise ValueError("it holds no labels")
    if all(_is_index(index) for index in given.values()):
        by_index = {int(index): label for label, index in given.items()}
    elif all(_is_index(index) for index in given):
        by_index = {int(index): label for index, label in given.items()}
    else:
        raise ValueError("it is not labels and their indices, whole numbers from 0")
    if sorted(by_index) != list(range(len(given))):
        raise ValueError(f"the indices of its {len(given)} labels do not count from 0, each once")
    return [by_index[index] for index in range(len(by_index))]


def _is_index(value: Any) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole or (isinstance(value, str) and value.isascii() and value.isdigit())


def _checked(given: list[Any]) -> tuple[str, ...]:
    if not given:
        raise ValueError("it holds no labels")
    for index, label in enumerate(given):
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            raise ValueError(f"label {index} is {reprlib.repr(label)}, not text; put it in quotes")  # noqa: TRY004
        if not str(label).strip():
            raise ValueError(f"label {index} is empty")
    found = tuple(str(label).strip() for label in given)
    if len(set(found)) < len(found):
        twice = next(label for index, label in enumerate(found) if label in found[:index])
        raise ValueError(f"label {twice!r} is there twice")
    return found
