"""Whether what processes an image is what its job was submitted with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Result
from antenna_orchestration.domain.texts import counted, listed

Declared = Mapping[AlgorithmRef, Collection[str]]
"""The algorithms that a pipeline declares, each with its labels, which are empty where they are not known.

A pipeline that declares no algorithm may name any."""

SHOWN_DIGITS: Final = 12
"""Digits of a digest that people see."""


def why_other(
    pipeline: str,
    asked: tuple[str, Sequence[AlgorithmRef]],
    here: tuple[str, Sequence[AlgorithmRef]],
) -> str | None:
    """Why a worker leaves a job alone; None if it serves it.

    `asked` are the version and the algorithms of the pipeline that the job was submitted for, `here` the worker's.
    """
    version, algorithms = asked
    # A pipeline may have been registered without naming its algorithms; then its version alone tells.
    is_same = not algorithms or list(algorithms) == list(here[1])
    if not version or (version == here[0] and is_same):
        return None
    wanted, ours = _spelled(version, algorithms), _spelled(*here)
    return f"it was submitted for {pipeline} {wanted}, here is {ours}; cancel and retry it to change that"


def _spelled(version: str, algorithms: Sequence[AlgorithmRef]) -> str:
    parts = ", ".join(f"{one.key} {one.version}" for one in algorithms)
    return f"{version} ({parts})" if parts else version


def why_other_digest(pipeline: str, version: str, *, asked: str | None, here: str) -> str | None:
    """Why a worker leaves a job alone that is bound to the digest `asked`, if any; None if it serves it.

    `here` is the digest of what the worker has, empty if that is not known.
    """
    if not asked or asked == here:
        return None
    if not here:
        ours = "files of it are missing here"
    else:
        ours = f"here is {shortened(here)}: its code, weights or labels are others"
    wanted = f"{pipeline} {version}, digest {shortened(asked)}"
    return f"it was submitted for {wanted}, {ours}; cancel and retry it to change that"


def why_of_other_code(result: Result, digest: str | None) -> str | None:
    """Why a result does not count: it comes of another digest than its job's, which both tell; None if it counts.

    Workers from before there were digests, and those behind the gateway, tell none.
    """
    if not digest or not result.digest or result.digest == digest:
        return None
    return (
        f"{result.worker} made it with other code, weights or labels (digest {shortened(result.digest)}) than the job "
        f"was submitted for (digest {shortened(digest)})"
    )


def shortened(digest: str) -> str:
    """A digest for people."""
    return digest[:SHOWN_DIGITS]


def ran_others(result: Result, of_job: frozenset[AlgorithmRef]) -> bool:
    """Whether a result comes of other algorithms than the job's, so that it says nothing about those.

    A worker that does not tell what ran is judged by what its detections name; one that found nothing is believed.
    """
    if not of_job or result.outcome != "done":
        return False
    if result.algorithms:
        return not of_job.issubset(result.algorithms)
    named = frozenset(_named(result))
    versions = {one.key: one.version for one in of_job}
    is_other = any(versions.get(one.key, one.version) != one.version for one in named)
    return is_other or bool(named and not named & of_job)


def why_undeclared(declared: Declared, algorithm: AlgorithmRef, labels: Iterable[str] = ()) -> str | None:
    """Why a result may not name this algorithm with these labels; None if its pipeline declares them."""
    if not declared:
        return None
    known = declared.get(algorithm)
    if known is None:
        return (
            f"algorithm {_of(algorithm)} is none of those that the pipeline declares: {listed([*map(_of, declared)])}"
        )
    if known:
        for label in labels:
            if label not in known:
                return (
                    f"label {label[:100]!r} is not among the {counted(len(known), 'label')} of {_of(algorithm)}: "
                    f"{listed([label[:100] for label in known])}"
                )
    return None


def why_refused(result: Result, declared: Declared, *, given: bool) -> str | None:
    """Why the collector refuses a result: what it says is of an algorithm or label that the job's pipeline lacks.

    With `given`, the boxes are those of another job, and so are their detectors. A worker that does not tell what ran
    is one of somebody else's behind the gateway, whose words are taken as they are, see `ran_others`.
    """
    if not declared or not result.algorithms or result.outcome != "done":
        return None
    for detection in result.detections:
        if not given and detection.algorithm not in declared:
            return why_undeclared(declared, detection.algorithm)
        if (why := _why_undeclared(detection.classifications, declared)) is not None:
            return why
    return _why_undeclared(result.labels or (), declared)


def _why_undeclared(said: Iterable[Classification], declared: Declared) -> str | None:
    for one in said:
        labels = declared.get(one.algorithm)
        # The common case first: this is asked for every row of a job.
        if labels is None or (labels and not (one.label in labels and all(map(labels.__contains__, one.top_labels)))):
            return why_undeclared(declared, one.algorithm, (one.label, *one.top_labels))
    return None


def _of(algorithm: AlgorithmRef) -> str:
    return f"{algorithm.key} {algorithm.version}"


def _named(result: Result) -> Iterable[AlgorithmRef]:
    for detection in result.detections:
        yield detection.algorithm
        for classification in detection.classifications:
            yield classification.algorithm
