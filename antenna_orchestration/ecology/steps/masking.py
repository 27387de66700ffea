"""The step `masking`: only classes of the species list compete."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from antenna_orchestration.ecology import names
from antenna_orchestration.ecology.model import Classes, Night, Vectors
from antenna_orchestration.ecology.steps.step import (
    Parameters,
    Same,
    blocks,
    flagged,
    meanings,
    objects,
    parameter,
    sourced,
)

if TYPE_CHECKING:
    import pandas as pd


class MaskingParameters(Parameters):
    """How the score of the best class that is kept is counted."""

    reweight: bool = parameter(
        True, "whether the scores of the classes that are kept are divided by their sum", unit="yes or no"
    )


def apply(night: Night, parameters: MaskingParameters) -> Night:
    """Determine each detection to the best class that the species list keeps; without a list, do nothing.

    From a softmax this is what masking logits gives: `p_k / sum of the kept`. `kept_mass` is the share of the scores
    that was kept, and the vectors that later steps see have the kept classes only. Where nothing of them is left in
    float16 the answer stays, and so does its vector. A classifier none of whose classes has a name, such as a filter
    for moths, is left alone.
    """
    if night.species is None:
        return night
    frame = night.detections.copy(deep=False)
    taxon, rank = frame["taxon"].to_numpy(object).copy(), frame["rank"].to_numpy(object).copy()
    score, mass = frame["score"].to_numpy(np.float32).copy(), frame["kept_mass"].to_numpy(np.float32).copy()
    is_masked, is_out, is_partial = (np.zeros(len(frame), bool) for _ in range(3))
    vectors = dict(night.vectors)
    for algorithm, own in night.vectors.items():
        classes = night.classes[algorithm]
        keeps = _kept(Same(classes), night.species)
        if not keeps.any() and not any(classes.taxa):
            continue
        masked = _masked(own, keeps, _label(frame, own, classes), is_reweighted=parameters.reweight)
        best, rows = masked.best, own.rows[masked.best >= 0]
        names_, ranks = meanings(Same(classes))
        taxon[rows], rank[rows] = names_[best[best >= 0]], ranks[best[best >= 0]]
        score[rows] = masked.score[best >= 0]
        mass[own.rows] = masked.mass
        is_masked[rows] = True
        is_out[own.rows[masked.is_out]] = True
        is_partial[own.rows[own.partial]] = True
        vectors[algorithm] = replace(own, scores=masked.scores)
    frame["taxon"], frame["rank"] = objects(taxon, frame), objects(rank, frame)
    frame["score"], frame["kept_mass"] = score, mass
    frame["source"] = sourced(frame, is_masked, "mask")
    frame["flags"] = flagged(frame, is_out, "masked_out")
    frame["flags"] = flagged(frame, is_partial, "from_top_k")
    return replace(night, detections=frame, vectors=vectors)


@dataclass(frozen=True, slots=True)
class _Masked:
    # The vectors that later steps see.
    scores: npt.NDArray[np.float32]
    # The best class that is kept, -1 where the answer stays; its score.
    best: npt.NDArray[np.intp]
    score: npt.NDArray[np.float32]
    # Share of the scores that was kept; NaN where there are no scores.
    mass: npt.NDArray[np.float32]
    is_out: npt.NDArray[np.bool_]


def _masked(own: Vectors, keeps: npt.NDArray[np.bool_], label: npt.NDArray[np.intp], *, is_reweighted: bool) -> _Masked:
    columns = np.flatnonzero(keeps)
    count = len(own.rows)
    scores, best = np.zeros_like(own.scores), np.full(count, -1, np.intp)
    score, mass = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)
    is_out = np.zeros(count, bool)
    # Where the label is among the kept ones, -1 if it is not.
    position = np.append(np.where(keeps, np.cumsum(keeps) - 1, -1), -1)[label]
    for block in blocks(count):
        every, partial = np.ascontiguousarray(own.scores[block]), own.partial[block]
        at = np.arange(len(every))
        kept = np.take(every, columns, axis=1)
        # Sums of rows that lie in one piece: neither the other rows nor their order decides a bit of them.
        sums, total = kept.sum(axis=1), every.sum(axis=1)
        some = sums > 0
        if some.any():
            mine, first = position[block], kept.argmax(axis=1)
            # Of equal scores, which float16 makes of nearly equal ones, the label's.
            first = np.where((mine >= 0) & (kept[at, mine] >= kept[at, first]), mine, first)
            if is_reweighted:
                kept /= np.where(some & ~partial, sums, 1)[:, None]
            score[block] = np.minimum(kept[at, first], 1)
            best[block] = np.where(some, columns[first], -1)
            scores[block, columns] = kept
        scores[block][~some] = every[~some]
        # A label whose score is not stored is kept, or it is not.
        is_out[block] = ~some & ((total > 0) | (position[block] < 0))
        # Of a partial vector the rest of the probability is with classes that are not known.
        share = np.divide(sums, np.where(partial, 1, total), out=np.zeros_like(sums), where=total > 0)
        mass[block] = np.where(total > 0, np.minimum(share, 1), np.nan)
    return _Masked(scores, best, score, mass, is_out)


def _label(frame: pd.DataFrame, own: Vectors, classes: Classes) -> npt.NDArray[np.intp]:
    """Of each row its label's class; -1 for a label that is none."""
    of_label = {label: number for number, label in enumerate(classes.labels)}
    labels = frame["label"].to_numpy(object)[own.rows]
    return np.fromiter((of_label.get(label, -1) for label in labels), np.intp, len(labels))


@functools.lru_cache(maxsize=256)
def _kept(same: Same, species: frozenset[str]) -> npt.NDArray[np.bool_]:
    return names.kept(same.classes, species)
