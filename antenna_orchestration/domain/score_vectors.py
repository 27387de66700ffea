"""When a classification carries the whole vector of its classes' scores, and as which bytes.

Post-processing needs it: masking to a species list, sums by genus, the mean over a track.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

SETTING: Final = "scores"
"""The job's setting. Where it is `auto`, a job's configuration leaves it out: workers of an older version, which do not
know that value, take the job too, and keep the best classes only."""

AUTO: Final = "auto"
CHOICES: Final = (AUTO, "top", "full")

MOST_CLASSES: Final = 1_000
"""Classes of a classifier whose whole vector is kept unless the job says otherwise: 2 kB a detection."""

MEANING: Final = (
    f"full keeps the scores of all classes of each classification, top only those of the best; auto is full up to "
    f"{MOST_CLASSES:,} classes."
)


def is_kept(asked: Any, classes: int) -> bool:
    """Whether the whole vector of a classifier of so many classes is kept. What is not a choice counts as `auto`."""
    return asked == "full" or (asked != "top" and 0 < classes <= MOST_CLASSES)


def packed(scores: Any) -> bytes:
    """Scores as little-endian float16, in their order. What is less than 3e-8 becomes 0."""
    # Not at the top: reading the list of pipelines needs no numpy.
    import numpy as np

    return np.asarray(scores, np.float64).astype("<f2").tobytes()


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities of logits."""
    import numpy as np

    values = np.asarray(logits, np.float64)
    powers = np.exp(values - values.max())
    shares: list[float] = (powers / powers.sum()).tolist()
    return shares
