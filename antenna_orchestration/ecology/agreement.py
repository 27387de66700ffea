"""How often people agree with classifiers: per label, per score, and what is taken for what.

Belongs here: comparing what people said with labels as they came from a classifier. What such shares say and do not
say is in `docs/howto/review.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology.model import RANKS, Classes, Taxon
from antenna_orchestration.ecology.names import Names, classes_of
from antenna_orchestration.ecology.reviews import REJECTED, rejects

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE: Final = 0.95
"""Of the intervals."""

BINS: Final = 10
"""Intervals of scores from 0 to 1, of equal width."""

OBSERVED: Final = (
    *("job_id", "detection_id", "pipeline", "detector", "detector_version"),
    *("classifier", "classifier_version", "label", "label_score"),
)
"""The columns of the observations that are compared."""

_CLASSIFIER: Final = ["pipeline", "classifier", "classifier_version"]

AGREED, COARSER, UNKNOWN, NOTHING, OTHER = "agreed", "coarser", "unknown", "rejected", "other"
"""What a person said of a label: the same; a group that includes it, or one that is neither a class nor a known name,
which neither confirm nor refute it; that there is no animal; something else."""

_UNDECIDED: Final = (COARSER, UNKNOWN)


class Judged(NamedTuple):
    """What a person's label means to a classifier."""

    # Its class; the label itself where it has none for it.
    human: str
    verdict: str


class Agreement(NamedTuple):
    """The comparison. Pipelines are never added up, nor are versions of a classifier."""

    # pipeline, detector, detector_version, reviewed, animals, share, low, high: how many of the boxes are animals.
    boxes: pd.DataFrame
    # pipeline, classifier, classifier_version, label, reviewed, agreed, coarser, unknown, rejected, other, share,
    # low, high.
    labels: pd.DataFrame
    # pipeline, classifier, classifier_version, human, label, detections.
    confusion: pd.DataFrame
    # pipeline, classifier, classifier_version, score_from, score_to, reviewed, agreed, mean_score, share, low, high.
    reliability: pd.DataFrame
    # label, detections: people's words that are neither a class nor a name that is known.
    unknown: pd.DataFrame


def judge(label: str, human: str, classes: Classes, names: Names) -> Judged:
    """Compare a classifier's label with a person's.

    A person's name counts as the finest of the classifier's classes that includes it: *Noctua pronuba* is a `moth`, and
    therefore not the `nonmoth` that stands for all other insects.
    """
    if rejects(human):
        return Judged(REJECTED, NOTHING)
    if same := [one for one in classes.labels if one.casefold() == human.casefold()]:
        # Two classes may differ in case only.
        meant = human if human in same else same[0]
        return Judged(meant, AGREED if meant == label else OTHER)
    # What only a worker registered is a name, too.
    of_classes = (its for its in classes.taxa if its is not None and its.name.casefold() == human.casefold())
    taxon = names.match(human) or next(of_classes, None)
    if taxon is None:
        return Judged(human, UNKNOWN)
    lineage = {taxon.name, *taxon.lineage.values()}
    known = [(one, its) for one, its in zip(classes.labels, classes.taxa, strict=True) if its is not None]
    if including := [(_fineness(its), one == label, one) for one, its in known if its.name in lineage]:
        # Of several classes of one taxon, the one that the classifier chose.
        *_, finest = max(including)
        return Judged(finest, AGREED if finest == label else OTHER)
    own = next((its for one, its in known if one == label), None)
    is_coarser = own is not None and taxon.name in own.lineage.values()
    return Judged(human, COARSER if is_coarser else OTHER)


def _fineness(taxon: Taxon) -> int:
    return RANKS.index(taxon.rank) if taxon.rank in RANKS else -1


def compare(
    observations: pd.DataFrame,
    reviews: pd.DataFrame,
    *,
    classes: Mapping[AlgorithmRef, Classes],
    names: Names,
) -> Agreement:
    """Compare observations, with the columns `OBSERVED`, with the newest reviews, as `reviews.newest` gives them.

    A classifier that is not in `classes` has those that occur in the observations. Reviews of other detections are
    ignored.
    """
    known = dict(classes)
    for (key, version), rows in observations.groupby(["classifier", "classifier_version"]):
        algorithm = AlgorithmRef(key, version)
        if algorithm not in known:
            known[algorithm] = classes_of(algorithm, sorted(set(rows["label"].dropna())), taxa=names)
    said = reviews.rename(columns={"label": "said"})[["job_id", "detection_id", "said"]]
    joined = observations[list(OBSERVED)].merge(said, on=["job_id", "detection_id"])
    named = joined.dropna(subset=["label"]).reset_index(drop=True)

    @cache
    def judged(key: str, version: str, label: str, human: str) -> Judged:
        # Few different words are said of few labels.
        return judge(label, human, known[AlgorithmRef(key, version)], names)

    columns = [named[one] for one in ("classifier", "classifier_version", "label", "said")]
    all_judged = [judged(*words) for words in zip(*columns, strict=True)]
    named["human"] = [one.human for one in all_judged]
    named["verdict"] = [one.verdict for one in all_judged]
    return Agreement(_boxes(joined), _labels(named), _confusion(named), _reliability(named), _unknown(named))


def wilson(hits: int, of: int) -> tuple[float, float, float]:
    """A share with its interval (Wilson's score interval); NaN of nothing."""
    from scipy.stats import binomtest

    if not of:
        return float("nan"), float("nan"), float("nan")
    interval = binomtest(hits, of).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return hits / of, float(interval.low), float(interval.high)


def _boxes(joined: pd.DataFrame) -> pd.DataFrame:
    keys = ["pipeline", "detector", "detector_version"]

    def rows() -> Iterator[tuple[object, ...]]:
        for key, group in joined.groupby(keys, sort=True):
            animals = len(group) - int(group["said"].map(rejects).sum())
            yield (*key, len(group), animals, *wilson(animals, len(group)))

    return _frame(rows(), [*keys, "reviewed", "animals", "share", "low", "high"])


def _labels(named: pd.DataFrame) -> pd.DataFrame:
    def rows() -> Iterator[tuple[object, ...]]:
        for key, group in named.groupby([*_CLASSIFIER, "label"], sort=True):
            of = {one: int((group["verdict"] == one).sum()) for one in (AGREED, COARSER, UNKNOWN, NOTHING, OTHER)}
            # What neither confirms nor refutes is not part of the share.
            decided = len(group) - sum(of[one] for one in _UNDECIDED)
            yield (*key, len(group), *of.values(), *wilson(of[AGREED], decided))

    columns = [*_CLASSIFIER, "label", "reviewed", AGREED, COARSER, UNKNOWN, NOTHING, OTHER, "share", "low", "high"]
    return _frame(rows(), columns)


def _confusion(named: pd.DataFrame) -> pd.DataFrame:
    keys = [*_CLASSIFIER, "human", "label"]
    return _frame(((*key, len(group)) for key, group in named.groupby(keys, sort=True)), [*keys, "detections"])


def _unknown(named: pd.DataFrame) -> pd.DataFrame:
    words = named[named["verdict"] == UNKNOWN].groupby("human", sort=True)
    return _frame(((word, len(group)) for word, group in words), ["label", "detections"])


def _reliability(named: pd.DataFrame) -> pd.DataFrame:
    decided = named[~named["verdict"].isin(_UNDECIDED) & named["label_score"].notna()]

    def rows() -> Iterator[tuple[object, ...]]:
        # The best score belongs to the last interval.
        number = (decided["label_score"].astype("float64").clip(0, 1) * BINS).astype("int64").clip(upper=BINS - 1)
        for key, group in decided.groupby([*(decided[one] for one in _CLASSIFIER), number], sort=True):
            hits = int((group["verdict"] == AGREED).sum())
            mean = float(group["label_score"].astype("float64").mean())
            *classifier, place = key
            ends = place / BINS, (place + 1) / BINS
            yield (*classifier, *ends, len(group), hits, mean, *wilson(hits, len(group)))

    ends = ["score_from", "score_to"]
    return _frame(rows(), [*_CLASSIFIER, *ends, "reviewed", AGREED, "mean_score", "share", "low", "high"])


def _frame(rows: Iterator[tuple[object, ...]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=columns)
