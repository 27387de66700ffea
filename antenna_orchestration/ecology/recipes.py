"""Post-processing recipes: YAML that names steps in order, with their parameters.

    steps:
      - flags: {too_small: 0.001}
      - roll_up: {threshold: 0.65}
    count_without: [fixture]

The steps themselves are in `ecology/steps/`.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from antenna_orchestration import errors
from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps import STEPS
from antenna_orchestration.ecology.steps.step import FLAGS, Parameters

COUNT_WITHOUT: Final = ("fixture", "below_threshold")
"""Flags that keep a detection out of the counts where a recipe does not say it."""

LARGEST: Final = 100_000
"""Characters of a recipe; a longer text is something else."""

HASH_LENGTH: Final = 12
"""Hexadecimal digits of a recipe's hash."""

_SET_BY: Final[Mapping[str, tuple[str, ...]]] = {
    "too_small": ("flags",),
    "at_edge": ("flags",),
    "below_threshold": ("flags",),
    "fixture": ("fixtures",),
    "masked_out": ("masking",),
    "from_top_k": ("masking", "roll_up"),
    "unsure": ("roll_up",),
}
"""Which steps set a flag."""

_DEFAULT: Final = Path(__file__).with_name("default_recipe.yaml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Steps in order, each with all of its parameters. Made by `parsed` and `default`."""

    steps: tuple[tuple[str, Parameters], ...]
    # Flags that keep a detection out of the counts.
    count_without: frozenset[str]
    # As it was written.
    text: str

    @property
    def hash(self) -> str:
        """Names what the recipe does: the same for every spelling of it, another one for another parameter."""
        canonical = json.dumps(self.as_data(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]

    def as_data(self) -> dict[str, Any]:
        """The recipe with every parameter, those left out among them, as plain data."""
        return {
            "steps": [{name: parameters.model_dump(mode="json", by_alias=True)} for name, parameters in self.steps],
            "count_without": sorted(self.count_without),
        }

    def parameters(self, step: str) -> Any:
        """The parameters of a step; None if the recipe does not have it."""
        return dict(self.steps).get(step)

    @property
    def hints(self) -> list[str]:
        """Steps that do nothing, or whose work is undone, where they stand; a line each, for people."""
        names = [name for name, _ in self.steps]
        place = {name: number for number, name in enumerate(names)}
        lines = []
        if "consensus" in place and place.get("tracking", len(names)) > place["consensus"]:
            lines.append("consensus does nothing: it needs the tracks of a step tracking before it")
        for later in ("consensus", "masking"):
            if place.get(later, -1) > place.get("roll_up", len(names)):
                lines.append(f"{later} undoes roll_up: it determines anew from the scores; let roll_up stand behind it")
        if (best := self.parameters("best_picture")) is not None:
            behind = set(names[place["best_picture"] + 1 :])
            flags = [flag for flag in best.without if behind & set(_SET_BY.get(flag, ()))]
            if flags:
                lines.append(f"best_picture does not see {', '.join(flags)}, which steps behind it set")
            if anew := [name for name in names if name in behind and name in ("consensus", "masking", "roll_up")]:
                lines.append(f"best_picture chooses by taxa that {', '.join(anew)} behind it may change")
        return lines

    def apply(self, night: Night) -> Night:
        """Do all steps in order. The same night gives the same; the one that was given stays as it is."""
        for name, parameters in self.steps:
            night = STEPS[name].apply(night, parameters)
        return night


@functools.cache
def default() -> Recipe:
    """The built-in recipe, which holds for projects that have none."""
    return parsed(_DEFAULT.read_text(encoding="utf-8"), _DEFAULT.name)


def parsed(text: str, file: str) -> Recipe:
    """Read a recipe. Raises `InvalidInput` in one line with file, line, step and parameter; `file` is for people."""
    try:
        return _Reader(text).recipe()
    except _At as error:
        raise errors.InvalidInput(f"{file}, line {error.line}: {error}") from None


class _At(ValueError):
    """What is wrong, and in which line."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class _Loader(yaml.SafeLoader):
    """Takes `8e-4` for a number, as everybody but YAML 1.1 does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+"), list("-+.0123456789")
)


def composed(text: str) -> yaml.Node:
    """The nodes of a text, which know where they stand; what they say is not looked at."""
    if len(text) > LARGEST:
        raise _At(1, f"a recipe has at most {LARGEST:,} characters, this has {len(text):,}")
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(filter(None, (error.context, error.problem)))
        raise _At(mark.line + 1 if mark else 1, f"not YAML: {why}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _At(1, f"not YAML: {' '.join(str(error).split())[:200]}") from None
    if root is None:
        raise _At(1, "the recipe is empty: list its steps under `steps:`")
    return root


class _Reader:
    """Reads the nodes of a text, which know their lines."""

    def __init__(self, text: str) -> None:
        self._text = text

    def recipe(self) -> Recipe:
        root = composed(self._text)
        fields = self._fields(root, "the recipe")
        for name, (key, _) in fields.items():
            if name not in ("steps", "count_without"):
                raise _At(_line(key), f"a recipe has steps and count_without, not {_short(name)}")
        if "steps" not in fields:
            raise _At(_line(root), "the recipe has no steps: list them under `steps:`")
        return Recipe(
            steps=tuple(self._steps(fields["steps"][1])),
            count_without=self._flags(fields["count_without"][1]) if "count_without" in fields else _without(),
            text=self._text,
        )

    def _steps(self, node: yaml.Node) -> list[tuple[str, Parameters]]:
        if not isinstance(node, yaml.SequenceNode):
            raise _At(_line(node), "steps is a list: begin each step with a dash, such as `- masking: {}`")
        steps: dict[str, tuple[int, Parameters]] = {}
        for item in node.value:
            name, key, given = self._step(item)
            if name not in STEPS:
                raise _At(_line(key), f"there is no step {_short(name)}{_near(name, STEPS)}")
            if name in steps:
                raise _At(_line(key), f"step {name} is there twice; the first is in line {steps[name][0]}")
            steps[name] = (_line(key), self._parameters(name, key, given))
        return [(name, parameters) for name, (_, parameters) in steps.items()]

    def _step(self, node: yaml.Node) -> tuple[str, yaml.Node, yaml.Node | None]:
        """A step's name, the node that says it, and its parameters if there are any."""
        if isinstance(node, yaml.ScalarNode):
            return str(_value(node)), node, None
        fields = self._fields(node, "a step")
        if len(fields) != 1:
            raise _At(_line(node), "each dash under steps begins one step, such as `- masking: {}`")
        [(name, (key, given))] = fields.items()
        return name, key, given

    def _parameters(self, step: str, key: yaml.Node, given: yaml.Node | None) -> Parameters:
        model = STEPS[step].parameters
        is_empty = given is None or (isinstance(given, yaml.ScalarNode) and _value(given) is None)
        fields = {} if is_empty or given is None else self._fields(given, f"step {step}")
        try:
            return model.model_validate({name: _value(node) for name, (_, node) in fields.items()})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            at = fields[name][0] if name in fields else key
            raise _At(_line(at), f"step {step}{_why(first, name, model)}") from None

    def _flags(self, node: yaml.Node) -> frozenset[str]:
        if not isinstance(node, yaml.SequenceNode):
            raise _At(_line(node), "count_without is a list of flags, such as [fixture, below_threshold]; [] for none")
        for item in node.value:
            value = str(_value(item))
            if value not in FLAGS:
                raise _At(_line(item), f"count_without: there is no flag {_short(value)}{_near(value, FLAGS)}")
        return frozenset(str(_value(item)) for item in node.value)

    def _fields(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Of each key of a mapping the nodes of key and value."""
        if not isinstance(node, yaml.MappingNode):
            raise _At(_line(node), f"{what} is written as names with values, such as `name: value`")
        fields: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = str(_value(key))
            if name in fields:
                raise _At(_line(key), f"{what} has {_short(name)} twice; the first is in line {_line(fields[name][0])}")
            fields[name] = (key, value)
        return fields


def _without() -> frozenset[str]:
    return frozenset(COUNT_WITHOUT)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _value(node: yaml.Node) -> Any:
    """The plain value of a node: a number, a word, null, or a list of them. Raises `_At` for anything else."""
    if isinstance(node, yaml.SequenceNode):
        if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
            raise _At(_line(node), "a list has only words and numbers")
        return [_value(item) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        raise _At(_line(node), "here stands a number, a word, or a list of them, and not names with values")
    loader = _Loader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        raise _At(_line(node), f"not YAML that can be read: {' '.join(str(error).split())[:200]}") from None
    finally:
        loader.dispose()


def _why(problem: Any, name: str, model: type[Parameters]) -> str:
    """The rest of a message about a step, after its name."""
    if problem["type"] == "extra_forbidden":
        known = [field.alias or one for one, field in model.model_fields.items()]
        hint = _near(name, known) if known else ": it has none"
        return f" has no parameter {_short(name)}{hint}"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return f", parameter {name}: {message}, not {_short(problem['input'])}" if name else f": {message}"


def _near(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """A hint that names what there is, the likely one first."""
    names = list(known)
    if found := get_close_matches(name, names, n=1):
        return f"; did you mean {found[0]}?"
    return f"; there are {', '.join(names)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
