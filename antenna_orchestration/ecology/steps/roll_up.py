"""The step `roll_up`: coarser, but sure. The determination becomes the finest taxon that is probable enough."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from antenna_orchestration.ecology.model import RANKS, Classes, Night
from antenna_orchestration.ecology.steps.step import Parameters, Same, blocks, flagged, objects, parameter, sourced

ROUNDING: Final = 2.0**-11
"""How much smaller than the true sum, as a share of it, a sum of float16 can be."""


def _threshold(default: float, of: str) -> Any:
    return parameter(
        default,
        f"least probability of {of}; null: nothing is determined to this rank",
        unit="probability",
        ge=0,
        le=1,
    )


class RollUpParameters(Parameters):
    """What a rank's best taxon needs: thresholds by rank, or one for all of them."""

    species: float | None = _threshold(0.8, "a species")
    genus: float | None = _threshold(0.6, "a genus")
    family: float | None = _threshold(0.4, "a family")
    order: float | None = _threshold(0.5, "an order")
    # `class` is a word of Python.
    class_: float | None = Field(
        0.5,
        alias="class",
        description="least probability of a class; null: nothing is determined to this rank",
        json_schema_extra={"unit": "probability"},
        ge=0,
        le=1,
    )
    phylum: float | None = _threshold(0.5, "a phylum")
    kingdom: float | None = _threshold(0.5, "a kingdom")
    threshold: float | None = parameter(
        None, "one threshold for all ranks, in place of those above", unit="probability", ge=0, le=1
    )

    @model_validator(mode="before")
    @classmethod
    def _one_or_the_other(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("threshold") is None:
            return given
        both = [rank for rank in RANKS if given.get(rank) is not None]
        if both:
            raise ValueError(f"threshold stands for all ranks: leave out {' and '.join(both)}, or threshold")
        return {**given, **dict.fromkeys(RANKS)}

    @property
    def by_rank(self) -> Mapping[str, float]:
        """The thresholds of the ranks that have one, the finest rank first."""
        own = {rank: getattr(self, "class_" if rank == "class" else rank) for rank in reversed(RANKS)}
        every = own if self.threshold is None else dict.fromkeys(own, self.threshold)
        return {rank: least for rank, least in every.items() if least is not None}


def apply(night: Night, parameters: RollUpParameters) -> Night:
    """Determine each detection to the finest rank at which a taxon is as probable as its threshold asks.

    The probability of a taxon is the sum over the classes below it. Of each rank the most probable one counts, also
    where the best class is not below it. A class counts only down to the `finest_rank` of its taxon. Where no rank is
    reached nothing is determined (`unsure`). Detections whose label has no name, or no scores, stay as they are.
    """
    frame = night.detections.copy(deep=False)
    taxon, rank = frame["taxon"].to_numpy(object).copy(), frame["rank"].to_numpy(object).copy()
    score = frame["score"].to_numpy(np.float32).copy()
    is_named = frame["rank"].notna().to_numpy()
    is_partial = np.zeros(len(frame), bool)
    # For each rank of `RANKS`, the rows that came to it from another determination.
    came_to = np.full(len(frame), _NOWHERE, np.int8)
    for algorithm, own in night.vectors.items():
        groups = _groups(Same(night.classes[algorithm]))
        if not groups:
            continue
        named = np.flatnonzero(is_named[own.rows])
        for block in blocks(len(named)):
            at = named[block]
            scores = np.ascontiguousarray(own.scores[at])
            some = scores.max(axis=1) > 0
            if not some.all():
                at, scores = at[some], scores[some]
            rows = own.rows[at]
            found = _rolled(scores, taxon[rows], groups, parameters.by_rank)
            is_same = (found.taxon == taxon[rows]) & (found.rank == rank[rows])
            # As it came it is more exact than as float16.
            is_close = is_same & np.isclose(found.score, score[rows], rtol=2 * ROUNDING, atol=0)
            came_to[rows] = np.where(is_same, _NOWHERE, found.depth)
            taxon[rows], rank[rows] = found.taxon, found.rank
            score[rows] = np.where(is_close, score[rows], found.score)
            is_partial[rows] = own.partial[at]
    frame["taxon"], frame["rank"], frame["score"] = objects(taxon, frame), objects(rank, frame), score
    for depth, name in enumerate(RANKS):
        frame["source"] = sourced(frame, came_to == depth, f"rollup_to_{name}")
    frame["flags"] = flagged(frame, came_to == _UNSURE, "unsure")
    frame["flags"] = flagged(frame, is_partial, "from_top_k")
    return replace(night, detections=frame)


_UNSURE: Final = -1
_NOWHERE: Final = -2


@dataclass(frozen=True, slots=True)
class _Group:
    """The taxa of one rank, and the classes below each."""

    # Their names, in the order of their first classes.
    names: npt.NDArray[Any]
    # The classes that have one, those of one taxon beside each other, and where each taxon begins.
    columns: npt.NDArray[np.intp]
    starts: npt.NDArray[np.intp]
    # Whether that is all classes, in their order.
    is_in_order: bool
    # Of determinations that are classes, the number of their taxon in this rank.
    of_name: Mapping[str, int]

    def sums(self, scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of each row the probability of each taxon."""
        ordered = scores if self.is_in_order else np.take(scores, self.columns, axis=1)
        # Sums of pieces of one row: neither the other rows nor their order decides a bit of them.
        return ordered if len(self.starts) == len(self.columns) else np.add.reduceat(ordered, self.starts, axis=1)


@functools.lru_cache(maxsize=32)
def _groups(same: Same) -> Mapping[str, _Group]:
    """The taxa of each rank that has any. A class is below none that is finer than its taxon may be told."""
    return {rank: group for rank in RANKS if (group := _group(same.classes, rank)) is not None}


def _group(classes: Classes, rank: str) -> _Group | None:
    depth = RANKS.index(rank)
    below: dict[str, list[int]] = {}
    for column, taxon in enumerate(classes.taxa):
        if taxon is None or not taxon.lineage.get(rank):
            continue
        if taxon.finest_rank is None or depth <= RANKS.index(taxon.finest_rank):
            below.setdefault(taxon.lineage[rank], []).append(column)
    if not below:
        return None
    columns = np.concatenate([np.array(own, np.intp) for own in below.values()])
    number = {name: index for index, name in enumerate(below)}
    taxa = [taxon for taxon in classes.taxa if taxon is not None]
    return _Group(
        names=np.array(list(below), object),
        columns=columns,
        starts=np.cumsum([0, *map(len, below.values())][:-1]),
        is_in_order=np.array_equal(columns, np.arange(len(classes.labels))),
        of_name={taxon.name: number[name] for taxon in taxa if (name := taxon.lineage.get(rank)) in number},
    )


@dataclass(frozen=True, slots=True)
class _Rolled:
    taxon: npt.NDArray[Any]
    rank: npt.NDArray[Any]
    # Index into `RANKS`, or `_UNSURE`.
    depth: npt.NDArray[np.int8]
    score: npt.NDArray[np.float32]


def _rolled(
    scores: npt.NDArray[np.float32],
    current: npt.NDArray[Any],
    groups: Mapping[str, _Group],
    thresholds: Mapping[str, float],
) -> _Rolled:
    count = len(scores)
    taxon, rank = np.full(count, None, object), np.full(count, None, object)
    depth, score = np.full(count, _UNSURE, np.int8), np.full(count, np.nan, np.float32)
    left = np.arange(count)
    for name, least in thresholds.items():
        group = groups.get(name)
        if group is None or not len(left):
            continue
        sums = group.sums(scores[left] if len(left) < count else scores)
        at = np.arange(len(left))
        best = sums.argmax(axis=1)
        # Of equal sums, that of the determination so far.
        mine = np.fromiter((group.of_name.get(one, -1) for one in current[left]), np.intp, len(left))
        best = np.where((mine >= 0) & (sums[at, np.maximum(mine, 0)] >= sums[at, best]), mine, best)
        reached = sums[at, best] >= least * (1 - ROUNDING)
        rows = left[reached]
        taxon[rows], rank[rows], depth[rows] = group.names[best[reached]], name, RANKS.index(name)
        score[rows] = np.minimum(sums[at, best][reached], 1.0)
        left = left[~reached]
    return _Rolled(taxon, rank, depth, score)
