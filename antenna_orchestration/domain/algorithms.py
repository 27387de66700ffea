"""Whether what processes an image is what its job was submitted with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from antenna_orchestration.domain.messages import AlgorithmRef, Result


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
