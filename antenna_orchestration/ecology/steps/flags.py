"""The step `flags`: marks detections that are small, cut by the edge, or below a threshold. It removes none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps.step import Parameters, flagged, parameter


class FlagsParameters(Parameters):
    """What is marked. Null: nothing is."""

    too_small: float | None = parameter(
        0.0008, "smallest share of the photograph's area that a box may have", unit="share", ge=0, le=1
    )
    at_edge: float | None = parameter(2.0, "smallest distance of a box from the edge", unit="pixels", ge=0, le=1e6)
    detector_score: float | None = parameter(None, "lowest score of the detector", unit="probability", ge=0, le=1)
    label_score: float | None = parameter(
        None, "lowest score of the classifier's label, as it came", unit="probability", ge=0, le=1
    )


def apply(night: Night, parameters: FlagsParameters) -> Night:
    """Mark with `too_small`, `at_edge` and `below_threshold`. What is not known (a size, a score) is never too low."""
    frame = night.detections.copy(deep=False)
    numbers = frame[["x1", "y1", "x2", "y2", "width", "height"]].astype("float64")
    x1, y1, x2, y2, width, height = (numbers[name].to_numpy() for name in numbers)
    # A comparison with NaN is false.
    with np.errstate(invalid="ignore", divide="ignore"):
        if parameters.too_small is not None:
            share = (x2 - x1) * (y2 - y1) / np.where(width * height > 0, width * height, np.nan)
            frame["flags"] = flagged(frame, share < parameters.too_small, "too_small")
        if parameters.at_edge is not None:
            room = np.minimum.reduce([x1, y1, width - x2, height - y2])
            frame["flags"] = flagged(frame, room < parameters.at_edge, "at_edge")
    for column, least in (
        ("detector_score", parameters.detector_score),
        ("label_score", parameters.label_score),
    ):
        if least is not None:
            # As float32 both: 0.7 as such is a little less than 0.7.
            scores = frame[column].to_numpy("float32", na_value=np.nan)
            frame["flags"] = flagged(frame, scores < np.float32(least), "below_threshold")
    return replace(night, detections=frame)
