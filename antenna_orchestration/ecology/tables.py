"""The derived tables of one night, such as its observations and counts, as `columns` describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from antenna_orchestration.ecology import columns, nights, sun
from antenna_orchestration.ecology.model import Night
from antenna_orchestration.ecology.steps import best_picture
from antenna_orchestration.ecology.steps.best_picture import BestPictureParameters

Numbers = npt.NDArray[Any]

Tables = dict[str, pa.Table]
"""By name, with the columns of `columns.schema`."""

GAP: Final = 2.5
"""A pause of more than so many intervals is a gap: one photograph that is missing leaves a pause of two."""

FEWEST: Final = 3
"""Photographs from which there is a usual interval."""

HUMAN: Final = "human"

_NOON: Final = np.timedelta64(12, "h")
_DAY: Final = 86_400 * 10**6
"""Microseconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What a person says that a detection is."""

    # Null: nothing that would be counted, such as a box that shows no animal.
    taxon: str | None
    rank: str | None = None
    taxon_id: str | None = None
    reviewer: str | None = None
    reviewed_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What holds for all nights of which tables are made."""

    project: str
    pipeline: str
    # Hash of the recipe.
    recipe: str
    # Flags that keep a detection out of the counts.
    count_without: frozenset[str] = frozenset()
    # The newest human word on each detection, by job and detection.
    decisions: Mapping[tuple[int, str], Decision] = field(default_factory=dict)
    # Ids of taxa by their names.
    taxon_ids: Mapping[str, str | None] = field(default_factory=dict)
    # How best pictures are chosen anew where people decided; None: the recipe chooses none.
    best_picture: BestPictureParameters | None = None


def of_night(night: Night, scope: Scope) -> Tables:
    """The rows of one night, after the last step of the recipe. A human word wins over all that the steps decided.

    The detections are in the order of a `Night`, and so are the rows.
    """
    found = _decided(night, scope)
    keys = {
        "project": scope.project,
        "pipeline": scope.pipeline,
        "deployment": night.deployment,
        "night": night.night,
        "recipe": scope.recipe,
    }
    return {
        "observations": _table("observations", _observations(night, found), keys),
        "tracks": _table("tracks", _tracks(night, found), keys),
        "nights": _table("nights", _night(night), keys),
        "counts": _table("counts", _counts(night, found), keys),
        "photographs": _table("photographs", _photographs(night), keys),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """The determinations of a night's detections, and which of them are counted."""

    ids: Numbers
    taxon: Numbers
    rank: Numbers
    taxon_id: Numbers
    score: Numbers
    source: Numbers
    counted: Numbers
    reviewer: Numbers
    reviewed_at: Numbers
    best_picture: Numbers
    # Positions of their photographs.
    photograph: Numbers

    def __len__(self) -> int:
        return len(self.ids)


def _decided(night: Night, scope: Scope) -> _Found:
    frame = night.detections
    jobs, detections = frame["job_id"].tolist(), frame["detection_id"].tolist()
    taxon, rank, source = (frame[name].to_numpy(object).copy() for name in ("taxon", "rank", "source"))
    score = frame["score"].to_numpy(np.float32).copy()
    taxon_id = np.array([scope.taxon_ids.get(name) for name in taxon], object)
    counted = np.array([scope.count_without.isdisjoint(flags) for flags in frame["flags"]], bool)
    reviewer, reviewed_at = np.full(len(frame), None, object), np.full(len(frame), None, object)
    if scope.decisions:
        for row, key in enumerate(zip(jobs, detections, strict=True)):
            if said := scope.decisions.get(key):
                taxon[row], rank[row], taxon_id[row] = said.taxon, said.rank, said.taxon_id
                score[row], source[row], counted[row] = np.nan, HUMAN, said.taxon is not None
                reviewer[row], reviewed_at[row] = said.reviewer, said.reviewed_at
    best = frame["best_picture"].to_numpy(bool)
    is_human = source == HUMAN
    if scope.best_picture is not None and is_human.any():
        # Nothing is surer than what a person said.
        sure = np.where(is_human, np.float32(1), score)
        best = best_picture.chosen(frame.assign(taxon=taxon, score=sure), scope.best_picture)
    images = {image: row for row, image in enumerate(night.captures["image_id"].tolist())}
    return _Found(
        ids=np.array([f"{job}-{detection}" for job, detection in zip(jobs, detections, strict=True)], object),
        taxon=taxon,
        rank=rank,
        taxon_id=taxon_id,
        score=score,
        source=source,
        counted=counted,
        reviewer=reviewer,
        reviewed_at=reviewed_at,
        best_picture=best,
        photograph=np.array([images[image] for image in frame["image_id"].tolist()], np.intp),
    )


def _observations(night: Night, found: _Found) -> dict[str, Any]:
    frame, place = night.detections, night.place
    of_photograph = night.captures[["url", "stamp"]].iloc[found.photograph]
    per_mm = place.pixels_per_mm if place else None
    longer = np.maximum(frame["x2"] - frame["x1"], frame["y2"] - frame["y1"]) if per_mm else None
    wanted = (*columns.OBSERVATIONS, *columns.FURTHER["observations"])
    given = {name: frame[name] for name in wanted if name in frame}
    return {
        **given,
        "observation_id": found.ids,
        "url": of_photograph["url"],
        "stamp": of_photograph["stamp"],
        "length_mm": None if longer is None else longer / per_mm,
        "taxon": found.taxon,
        "rank": found.rank,
        "taxon_id": found.taxon_id,
        "score": found.score,
        "source": found.source,
        "flags": [list(flags) for flags in frame["flags"]],
        "counted": found.counted,
        "best_picture": found.best_picture,
        "reviewer": found.reviewer,
        "reviewed_at": found.reviewed_at,
    }


def _photographs(night: Night) -> dict[str, Any]:
    captures = night.captures
    found = captures["detections"].where(captures["status"] == "done")
    wanted = (*columns.PHOTOGRAPHS, *columns.FURTHER["photographs"])
    return {name: captures[name] for name in wanted if name in captures} | {"detections": found}


def _tracks(night: Night, found: _Found) -> dict[str, Any]:
    rows: dict[str, list[int]] = {}
    for row, track in enumerate(night.detections["track"].tolist()):
        # What is not on any is None, or NaN after a step that joined frames.
        if isinstance(track, str):
            rows.setdefault(track, []).append(row)
    local = night.detections["local_time"].to_numpy()
    moment = nights.clock(night.detections)
    made: dict[str, list[Any]] = {name: [] for name in columns.TRACKS if name not in _KEYS}
    for track, own in rows.items():
        names = found.taxon[own].tolist()
        # The commonest; of equally common ones the first by name, and nothing known last.
        taxon = min(set(names), key=lambda name: (-names.count(name), name is None, name or ""))
        same = [row for row, name in zip(own, names, strict=True) if name == taxon]
        best = max(same, key=lambda row: (-1.0 if np.isnan(found.score[row]) else found.score[row], -row))
        made["track"].append(track)
        made["taxon"].append(taxon)
        made["rank"].append(found.rank[best])
        made["score"].append(found.score[best])
        made["detections"].append(len(own))
        made["first"].append(local[own[0]])
        made["last"].append(local[own[-1]])
        made["seconds"].append((moment[own[-1]] - moment[own[0]]) / np.timedelta64(1, "s"))
        made["best_observation"].append(found.ids[best])
    times = {name: np.array(made[name], "datetime64[us]") for name in ("first", "last")}
    return {**made, **times, "score": np.array(made["score"], np.float32)}


def _night(night: Night) -> dict[str, Any]:
    captures = night.captures
    done = (captures["status"] == "done").to_numpy()
    moments = nights.clock(captures)
    known = ~np.isnat(moments)
    local = captures["local_time"].to_numpy()[known]
    pauses = np.diff(np.sort(moments[known])) / np.timedelta64(1, "s")
    interval = float(np.median(pauses)) if len(pauses) >= FEWEST - 1 else None
    expected = round(float(pauses.sum()) / interval) + 1 if interval else None
    sunset, sunrise = sun.of_night(night.place, night.night)
    sizes = captures[["width", "height"]].dropna().drop_duplicates()
    return {
        "expected": [expected],
        "found": [len(captures)],
        "done": [int(done.sum())],
        "failed": [int((~done).sum())],
        "empty": [int((done & (captures["detections"].fillna(0) == 0).to_numpy()).sum())],
        "detections": [len(night.detections)],
        "first": [local.min() if len(local) else None],
        "last": [local.max() if len(local) else None],
        "interval_seconds": [interval],
        "gaps": [int((pauses > GAP * interval).sum()) if interval else None],
        "longest_gap_seconds": [float(pauses.max()) if len(pauses) else None],
        "sunset": [sunset],
        "sunrise": [sunrise],
        "zone": [night.place.time_zone if night.place and night.place.zone else None],
        "sizes": [len(sizes)],
        "same_time": [_shared(moments[known])],
        "tracked": [night.tracked],
    }


def _counts(night: Night, found: _Found) -> dict[str, Any]:
    rows = np.flatnonzero(found.counted)
    names = found.taxon[rows]
    # Sorted by name; nothing known comes last.
    listed = sorted({str(name or "") for name in names}, key=lambda name: (not name, name))
    of_name = {name: number for number, name in enumerate(listed)}
    groups = np.array([of_name[str(name or "")] for name in names], np.intp)
    order = np.argsort(groups, kind="stable")
    rows, groups = rows[order], groups[order]
    bounds = np.searchsorted(groups, np.arange(len(listed) + 1))
    local = night.detections["local_time"].to_numpy("datetime64[us]")
    tracks = night.detections["track"].to_numpy(object)
    made: dict[str, list[Any]] = {name: [] for name in columns.COUNTS if name not in _KEYS}
    for taxon, start, end in zip(listed, bounds[:-1], bounds[1:], strict=True):
        own = rows[start:end]
        _, on_photograph = np.unique(found.photograph[own], return_counts=True)
        times, scores = local[own], found.score[own]
        times, scores = times[~np.isnat(times)], scores[~np.isnan(scores)]
        made["taxon"].append(taxon or None)
        made["rank"].append(_first(found.rank[own]))
        made["taxon_id"].append(_first(found.taxon_id[own]))
        made["detections"].append(len(own))
        made["photographs"].append(len(on_photograph))
        made["max_n"].append(int(on_photograph.max()))
        made["tracks"].append(len({one for one in tracks[own] if isinstance(one, str)}) if night.tracked else None)
        made["first"].append(times.min() if len(times) else None)
        made["last"].append(times.max() if len(times) else None)
        made["median_time"].append(_median_time(times))
        made["best_score"].append(scores.max() if len(scores) else None)
    return made


def _median_time(times: Numbers) -> int | None:
    """The median in microseconds since midnight of times in one night; those after midnight are later, not earlier."""
    if not len(times):
        return None
    noon = (times.min() - _NOON).astype("datetime64[D]") + _NOON
    middle = int(np.median((times - noon).astype(np.int64)))
    return (middle + _DAY // 2) % _DAY


def _shared(times: Numbers) -> int:
    """How many photographs have the time of another one."""
    _, often = np.unique(times, return_counts=True)
    return int(often[often > 1].sum())


def _first(values: Numbers) -> Any:
    return next((value for value in values if isinstance(value, str)), None)


_KEYS: Final = ("project", "pipeline", "deployment", "night", "recipe")


def _table(name: str, given: Mapping[str, Any], keys: Mapping[str, Any]) -> pa.Table:
    schema = columns.schema(name, given)
    rows = max((len(values) for values in given.values() if values is not None), default=0)
    arrays = []
    for one in schema:
        if one.name in keys:
            arrays.append(pa.repeat(pa.scalar(keys[one.name], one.type), rows))
        elif (values := given.get(one.name)) is None:
            arrays.append(pa.nulls(rows, one.type))
        else:
            arrays.append(pa.array(values, one.type, from_pandas=True))
    return pa.Table.from_arrays(arrays, schema=schema)
