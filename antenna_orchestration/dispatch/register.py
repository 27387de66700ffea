"""Register: a worker behind the gateway declares the pipelines that it serves, with their algorithms and labels.

An algorithm is identified by key and version, and its labels belong to that identity. A registration that contradicts
an earlier one is refused, never merged.

A pipeline belongs to the project that registered it first. Others may serve the very same, and run it then, but only a
token that reaches the owner may change it. One that is public, of this installation or published by an admin of all
projects, may be run by all, and changed by such an admin only. Slugs are one namespace, and using a slug is what holds
it: one of which its projects have no jobs, and whose workers were silent for a week or have no valid token any more,
goes to who registers it next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow, TakeOver
from antenna_orchestration.contract import models
from antenna_orchestration.dispatch.services import HttpServices
from antenna_orchestration.domain import ids, messages, score_vectors
from antenna_orchestration.domain.access import Token
from antenna_orchestration.domain.ids import ProjectId
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing.submit import pipeline_row

SETTINGS: Final[Mapping[str, Any]] = {
    # Classes kept of each classification, best first.
    "top_k": 10,
    # Whether the scores of all classes are kept, too.
    score_vectors.SETTING: score_vectors.AUTO,
}
"""What a job can configure for a pipeline that a worker registered; the gateway applies it to the results."""

MOST_DETAILS: Final = 16_000
"""Longest description that a worker may give of itself, in characters of JSON."""


MOST_FIELDS: Final = 20
"""Fields of a row of a category map that are kept, besides index and label."""

_LARGEST: Final = 2**53
"""Numbers of a category map are below it: all that read JSON read these alike."""

HELD_FOR: Final = 7
"""Days after which a slug without jobs is free whose workers are silent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """What a registration changed."""

    worker_id: int
    pipelines: tuple[str, ...]
    # Pipelines that are new for the project, and those that it had before.
    created: tuple[str, ...]
    updated: tuple[str, ...]
    algorithms_created: tuple[str, ...]


async def register(
    http: HttpServices,
    project: ProjectId,
    worker: Token,
    pipelines: Sequence[PipelineRow],
    *,
    service: str,
    host: str,
    client_info: Mapping[str, Any] | None,
    kind: str = "http",
    public: bool = False,
) -> Registered:
    """Register pipelines for a project, or with `public` for all projects; idempotent.

    What is refused is refused before anything is written, unless another worker registers a slug at the same moment.
    Raises `InvalidInput` for a slug or text that cannot be used, and `Conflict` when a pipeline or an algorithm was
    registered differently under the same version, or when it would be changed for projects beyond the token's. Raises
    `Forbidden` when a token of some projects would publish for all.
    """
    if public and worker.scope is not None:
        raise errors.Forbidden("only a token of an admin of all projects may publish pipelines for all of them")
    owner = None if public else project
    asked = [replace(pipeline, is_public=public, owner_id=owner) for pipeline in pipelines]
    rows: list[_Allowed] = []
    for pipeline in asked:
        _check(pipeline)
        rows.append(await _allowed(http, worker, pipeline))
    keys = {(one.key, one.version) for pipeline in pipelines for one in pipeline.algorithms}
    known = await http.services.catalog.pipelines.known_algorithms(key for key, _ in keys)
    details = {"service": service, **({"client_info": dict(client_info)} if client_info else {})}
    if len(json.dumps(details)) > MOST_DETAILS:
        raise errors.InvalidInput(f"client_info is longer than {MOST_DETAILS} characters")
    worker_id = await http.services.catalog.pipelines.note_worker(
        worker.name, token=worker.token_id, host=host, details=details, kind=kind
    )
    created: list[str] = []
    updated: list[str] = []
    for pipeline, allowed in zip(asked, rows, strict=True):
        fresh = await _write(http, project, worker_id, allowed)
        while fresh is None:
            # Another worker has registered the slug since.
            fresh = await _write(http, project, worker_id, await _allowed(http, worker, pipeline))
        (created if fresh else updated).append(pipeline.slug)
    return Registered(
        worker_id=worker_id,
        pipelines=tuple(pipeline.slug for pipeline in pipelines),
        created=tuple(created),
        updated=tuple(updated),
        algorithms_created=tuple(sorted({key for key, version in keys - known})),
    )


def _check(pipeline: PipelineRow) -> None:
    ids.slug(pipeline.slug, "pipeline slug")
    texts = [pipeline.name, pipeline.description]
    for algorithm in pipeline.algorithms:
        texts += [
            algorithm.key,
            algorithm.name,
            algorithm.task,
            algorithm.description,
            algorithm.uri or "",
            *algorithm.labels,
        ]
    for text in texts:
        if "\0" in text:
            raise errors.InvalidInput(f"pipeline {pipeline.slug}: a text holds a zero byte")
    longest = max((len(label) for algorithm in pipeline.algorithms for label in algorithm.labels), default=0)
    if longest > messages.MAX_LABEL:
        raise errors.InvalidInput(
            f"pipeline {pipeline.slug}: a label has {longest} characters; the limit is {messages.MAX_LABEL}"
        )
    keys = [algorithm.key for algorithm in pipeline.algorithms]
    if len(keys) != len(set(keys)):
        raise errors.InvalidInput(f"pipeline {pipeline.slug} names an algorithm twice")


class _Allowed(NamedTuple):
    row: PipelineRow
    # What was registered when this was judged.
    before: PipelineRow | None
    # If the slug was another project's, who does not use it.
    take_over: TakeOver | None = None


async def _write(http: HttpServices, project: ProjectId, worker_id: int, allowed: _Allowed) -> bool | None:
    """Register it for the project; see `Pipelines.register_for`."""
    return await http.services.catalog.pipelines.register_for(
        project, allowed.row, worker=worker_id, before=allowed.before, take_over=allowed.take_over
    )


async def _allowed(http: HttpServices, worker: Token, pipeline: PipelineRow) -> _Allowed:
    """What to register; for a pipeline that is not the token's to change, this is what was registered before.

    Raises `Conflict` for a change that the worker may not make.
    """
    before = await http.services.catalog.pipelines.find(pipeline.slug)
    if pipeline.slug in registry.all_pipelines():
        if _algorithms(pipeline_row(registry.get(pipeline.slug))) != _algorithms(pipeline):
            raise errors.Conflict(f"pipeline {pipeline.slug} belongs to this installation; choose another slug")
        return _Allowed(pipeline_row(registry.get(pipeline.slug)), before)
    if before is None:
        return _Allowed(pipeline, before)
    is_ours = worker.scope is None or (
        not before.is_public and before.owner_id is not None and worker.reaches(before.owner_id)
    )
    if is_ours and not pipeline.is_public:
        # An admin of all projects, too, registers for whose it is.
        pipeline = replace(pipeline, owner_id=before.owner_id)
    if (before.version, _algorithms(before)) == (pipeline.version, _algorithms(pipeline)):
        return _Allowed(pipeline if is_ours else before, before)
    if not is_ours:
        take_over = TakeOver(list(worker.scope or ()), days=HELD_FOR)
        if before.is_public or await http.services.catalog.pipelines.is_held(pipeline.slug, take_over):
            whose = "is public" if before.is_public else "serves other projects"
            raise errors.Conflict(
                f"pipeline {pipeline.slug} {whose} and is registered otherwise: choose another slug for yours"
            )
        return _Allowed(pipeline, before, take_over)
    if before.version == pipeline.version:
        old, new = (", ".join(sorted({f"{key} {version}" for key, version, _ in _algorithms(one)}) or ["none"])
                    for one in (before, pipeline))  # fmt: skip
        raise errors.Conflict(
            f"pipeline {pipeline.slug} version {pipeline.version} is registered with the algorithms {old}, "
            f"not {new}, or with other labels; give the change a new version"
        )
    return _Allowed(pipeline, before)


def _algorithms(pipeline: PipelineRow) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.key, one.version, tuple(one.labels)) for one in pipeline.algorithms]


def labels_of(data: object, labels: Sequence[str] | None) -> tuple[str, ...]:
    """The labels of a category map, from its list or from its rows, in the order of the model's outputs.

    Raises `InvalidInput` when the rows' indices have gaps.
    """
    if labels:
        return tuple(labels)
    rows = data if isinstance(data, list) else []
    try:
        by_index = {int(row["index"]): str(row["label"]) for row in rows}
    except (KeyError, TypeError, ValueError):
        raise errors.InvalidInput("a row of a category map has no index or no label") from None
    if sorted(by_index) != list(range(len(rows))):
        raise errors.InvalidInput("the indices of a category map do not count from 0 without gaps")
    return tuple(by_index[index] for index in range(len(rows)))


def categories_of(data: object, labels: Sequence[str]) -> tuple[dict[str, Any], ...]:
    """What the rows of a category map say of each label, such as its rank and GBIF key; empty if they say nothing.

    Texts, numbers and truth values are kept, 20 of each row at most, if they are no longer than a label may be. A row
    that says anything else is registered all the same, without that: no worker is refused for what it says of names.
    """
    known: dict[str, dict[str, Any]] = {}
    for row in data if isinstance(data, list) else ():
        said = {name: value for name, value in row.items() if name not in ("index", "label") and _is_kept(name, value)}
        if said and isinstance(row.get("label"), str):
            known.setdefault(row["label"], dict(sorted(said.items())[:MOST_FIELDS]))
    return tuple(known.get(label, {}) for label in labels) if known.keys() & set(labels) else ()


def _is_kept(name: str, value: object) -> bool:
    texts = (name, value) if isinstance(value, str) else (name,)
    if not all(len(text) <= messages.MAX_LABEL and text.isprintable() and text for text in texts):
        return False
    return isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and abs(value) < _LARGEST)


def pipeline_row_of(said: models.WirePipeline) -> PipelineRow:
    """A catalog row from a worker's or a service's description of a pipeline. Raises `InvalidInput`."""
    return PipelineRow(
        slug=said.slug,
        name=said.name,
        version=str(said.version),
        description=said.description or "",
        default_config=SETTINGS,
        takes_detections=said.takes_detections,
        algorithms=tuple(
            algorithm_row(
                key=one.key,
                version=one.version,
                name=one.name,
                task_type=one.task_type,
                description=one.description or "",
                uri=one.uri,
                category_map=one.category_map,
            )
            for one in said.algorithms
        ),
    )


def algorithm_row(
    *, key: str, version: int, name: str, task_type: str | None, description: str, uri: str | None,
    category_map: models.CategoryMap | None
) -> AlgorithmRow:  # fmt: skip
    """A catalog row for an algorithm. Its task is what the worker calls it, or else follows from the labels."""
    data = category_map.data if category_map else None
    labels = labels_of(data, category_map.labels) if category_map else ()
    task = task_type or ("classification" if labels else "localization")
    return AlgorithmRow(
        key=key,
        version=str(version),
        name=name,
        task=task,
        description=description,
        uri=uri,
        labels=list(labels),
        categories=categories_of(data, labels),
    )
