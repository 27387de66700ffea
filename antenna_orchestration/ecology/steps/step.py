"""What a step of a recipe is, and what steps have in common: their parameters, and how they mark rows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from antenna_orchestration.ecology.model import Classes, Night

if TYPE_CHECKING:
    import pandas as pd

FLAGS: Final = {
    "too_small": "its box is a smaller share of the photograph than the recipe asks for",
    "at_edge": "its box touches the edge of the photograph, so the animal may be cut",
    "below_threshold": "the detector's or the classifier's score is below the recipe's threshold",
    "fixture": "the same box is there on several nights: dirt, a screw, a stain",
    "masked_out": "no class of the species list has any probability; the classifier's answer stays",
    "from_top_k": "only the best few classes are stored, so its sums are lower bounds",
    "unsure": "no rank reaches its threshold, so nothing is determined; the label says what the classifier had in mind",
}
"""What `flags` of a detection can say. A recipe names some of them in `count_without`."""


class Parameters(BaseModel):
    """The parameters of a step. Every one has a default, a description, and a unit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True)


def parameter(default: Any, description: str, *, unit: str, **limits: Any) -> Any:
    """A parameter of a step; `limits` are those of pydantic's `Field`."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **limits)


ROWS_AT_A_TIME: Final = 4096
"""Rows of a matrix of scores that are worked on together: 16 MB with 1,000 classes."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step as a recipe names it."""

    parameters: type[Parameters]
    # Takes a night and the parameters, and returns a new night; what it was given stays as it is.
    apply: Callable[[Night, Any], Night]


class Same:
    """Classes as the key of a cache, by identity: comparing a thousand names each night would cost as much as the work.

    All nights of a derivation share the objects.
    """

    def __init__(self, classes: Classes) -> None:
        self.classes = classes

    def __hash__(self) -> int:
        return id(self.classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.classes is self.classes


@functools.lru_cache(maxsize=32)
def meanings(same: Same) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Of each class the determination and its rank: its taxon's, else the label without a rank."""
    classes = same.classes
    pairs = [
        (taxon.name, taxon.rank) if taxon else (label, None)
        for label, taxon in zip(classes.labels, classes.taxa, strict=True)
    ]
    return np.array([name for name, _ in pairs], object), np.array([rank for _, rank in pairs], object)


def blocks(rows: int) -> Iterator[slice]:
    """Slices of `ROWS_AT_A_TIME` that make up so many rows."""
    for start in range(0, rows, ROWS_AT_A_TIME):
        yield slice(start, min(start + ROWS_AT_A_TIME, rows))


def flagged(detections: pd.DataFrame, rows: npt.NDArray[np.bool_], flag: str) -> pd.Series[Any]:
    """The column `flags` with one more flag in these rows; a row has it once."""
    return _changed(detections["flags"], rows, lambda flags: flags if flag in flags else (*flags, flag))


def sourced(detections: pd.DataFrame, rows: npt.NDArray[np.bool_], what: str) -> pd.Series[Any]:
    """The column `source` with `+<what>` behind these rows' sources."""
    return _changed(detections["source"], rows, lambda source: f"{source}+{what}")


def _changed(column: pd.Series[Any], rows: npt.NDArray[np.bool_], change: Callable[[Any], Any]) -> pd.Series[Any]:
    values = column.to_numpy(object).copy()
    # Few values differ, and rows with the same one share it.
    known: dict[Any, Any] = {}
    for row in np.flatnonzero(rows):
        value = values[row]
        if value not in known:
            known[value] = change(value)
        values[row] = known[value]
    return objects(values, column)


def objects(values: npt.NDArray[Any], like: pd.DataFrame | pd.Series[Any]) -> pd.Series[Any]:
    """A column of texts or tuples, with None for null: pandas would otherwise choose a type by what is in it."""
    import pandas as pd

    return pd.Series(values, index=like.index, dtype=object)
