"""Whether what processes an image is what its job was submitted with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from antenna_orchestration.domain.messages import AlgorithmRef, Result

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


def _named(result: Result) -> Iterable[AlgorithmRef]:
    for detection in result.detections:
        yield detection.algorithm
        for classification in detection.classifications:
            yield classification.algorithm
