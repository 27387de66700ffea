"""The step `consensus`: what the detections of a track say together.

Each detection of a track gets the mean of the score vectors of the track, and is what that mean says; masking and
roll-up after this step act on the mean. It is taken over the vectors of one classifier: where two classifiers judged
the detections of a track, each has its own mean. Vectors of the best few classes count only if the track has no whole
one, and detections without any score say nothing: a track of such stays as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from antenna_orchestration.ecology.model import Classes, Night, Vectors
from antenna_orchestration.ecology.steps.step import Parameters, Same, meanings, objects, sourced

if TYPE_CHECKING:
    import pandas as pd


class ConsensusParameters(Parameters):
    """It has none."""


def apply(night: Night, parameters: ConsensusParameters) -> Night:
    """Replace the vectors of tracks with two and more detections by their mean; without tracks, nothing changes."""
    import pandas as pd

    if not night.tracked:
        return night
    frame = night.detections.copy(deep=False)
    tracks = pd.factorize(frame["track"])[0]
    vectors = dict(night.vectors)
    changed = np.zeros(len(frame), bool)
    for algorithm, own in night.vectors.items():
        vectors[algorithm], rows = _mean(own, tracks[own.rows])
        changed[own.rows[rows]] = True
        frame = _determined(frame, vectors[algorithm], rows, night.classes[algorithm])
    frame["source"] = sourced(frame, changed, "track")
    return replace(night, detections=frame, vectors=vectors)


def _mean(own: Vectors, tracks: npt.NDArray[np.intp]) -> tuple[Vectors, npt.NDArray[np.intp]]:
    """The vectors with means in place of those of tracks, and which were replaced; without a track it is -1."""
    order = np.flatnonzero(tracks >= 0)
    order = order[np.argsort(tracks[order], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(tracks[order]) != 0]) if len(order) else np.zeros(0, np.intp)
    scores, partial = own.scores.copy(), own.partial.copy()
    replaced = []
    for group in np.split(order, starts[1:]):
        scored = group[own.scores[group].any(axis=1)]
        if len(group) < 2 or not len(scored):
            continue
        whole = scored[~own.partial[scored]]
        # In float64: the order of the rows must not show.
        scores[group] = own.scores[whole if len(whole) else scored].astype(np.float64).mean(axis=0)
        partial[group] = not len(whole)
        replaced.append(group)
    rows = np.sort(np.concatenate(replaced)) if replaced else np.zeros(0, np.intp)
    return Vectors(rows=own.rows, scores=scores, partial=partial), rows


def _determined(frame: pd.DataFrame, vectors: Vectors, rows: npt.NDArray[np.intp], classes: Classes) -> pd.DataFrame:
    """The frame in which these rows of the vectors are what their best class means."""
    if not len(rows):
        return frame
    where, best = vectors.rows[rows], vectors.scores[rows].argmax(axis=1)
    for column, meant in zip(("taxon", "rank"), meanings(Same(classes)), strict=True):
        values = frame[column].to_numpy(object).copy()
        values[where] = meant[best]
        frame[column] = objects(values, frame)
    score = frame["score"].to_numpy(np.float32).copy()
    score[where] = vectors.scores[rows].max(axis=1)
    frame["score"] = score
    return frame
