"""The step `best_picture`: of each taxon in a night, the detection that shows it best."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import field_validator

from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps.step import Parameters, parameter

if TYPE_CHECKING:
    import pandas as pd

Flag = Literal["too_small", "at_edge", "below_threshold", "fixture", "masked_out", "from_top_k", "unsure"]


class BestPictureParameters(Parameters):
    """Which detections are not chosen."""

    without: list[Flag] = parameter(
        ["fixture", "below_threshold"], "flags of detections that are not chosen", unit="flags"
    )

    @field_validator("without")
    @classmethod
    def _in_order(cls, flags: list[Flag]) -> list[Flag]:
        return sorted(set(flags))


def apply(night: Night, parameters: BestPictureParameters) -> Night:
    """Choose one detection of each taxon: by score and size, and one that is not cut before one that is.

    The value is `score x min(1, area / median area of the taxon)`; a score that is not known is 0. Of equal ones the
    larger counts, then the earlier. What is not determined has no best picture.
    """
    return replace(night, detections=night.detections.assign(best_picture=chosen(night.detections, parameters)))


def chosen(frame: pd.DataFrame, parameters: BestPictureParameters) -> npt.NDArray[np.bool_]:
    """Which detections are the best of their taxa."""
    import pandas as pd

    codes, _ = pd.factorize(frame["taxon"].to_numpy(object))
    barred = frozenset(parameters.without)
    flags = frame["flags"].tolist()
    is_barred = np.fromiter((not barred.isdisjoint(one) for one in flags), bool, len(frame))
    is_cut = np.fromiter(("at_edge" in one for one in flags), bool, len(frame))
    rows = np.flatnonzero((codes >= 0) & ~is_barred)
    box = {name: frame[name].to_numpy(np.float64)[rows] for name in ("x1", "y1", "x2", "y2")}
    area = (box["x2"] - box["x1"]) * (box["y2"] - box["y1"])
    median = pd.Series(area).groupby(codes[rows]).transform("median").to_numpy()
    # A taxon whose boxes have no area: none is smaller than another.
    size = np.minimum(1.0, np.divide(area, median, out=np.ones_like(area), where=median > 0))
    score = np.nan_to_num(frame["score"].to_numpy(np.float64)[rows])
    order = np.lexsort((rows, -area, -score * size, is_cut[rows], codes[rows]))
    is_first = np.diff(codes[rows][order], prepend=-1) != 0
    best = np.zeros(len(frame), bool)
    best[rows[order][is_first]] = True
    return best
