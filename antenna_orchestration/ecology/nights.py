"""One night from the rows of the results: in order, with the scores of each classifier as a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import columns
from antenna_orchestration.ecology.model import Classes, Night, Place, Vectors

if TYPE_CHECKING:
    import pandas as pd

Numbers = npt.NDArray[Any]

CAPTURES: Final = pa.schema(
    [
        ("job_id", pa.int64()),
        ("image_id", pa.int64()),
        ("url", pa.string()),
        ("stamp", columns.LOCAL),
        ("captured_at", columns.MOMENT),
        ("local_time", columns.LOCAL),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
        ("detections", pa.int32()),
        ("reason", pa.string()),
    ]
)
"""What `of_rows` needs of each photograph; the further columns of photographs may follow."""

DETECTIONS: Final = pa.schema(
    [
        ("job_id", pa.int64()),
        ("image_id", pa.int64()),
        ("detection_id", pa.string()),
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("detector", pa.string()),
        ("detector_version", pa.string()),
        ("detector_score", pa.float32()),
    ]
)
"""What it needs of each detection; the further columns of observations may follow."""

CLASSIFICATIONS: Final = pa.schema(
    [
        ("image_id", pa.int64()),
        ("detection_id", pa.string()),
        ("classifier", pa.string()),
        ("classifier_version", pa.string()),
        ("label", pa.string()),
        ("label_score", pa.float32()),
        ("terminal", pa.bool_()),
        ("created_at", columns.MOMENT),
        ("scores", pa.binary()),
        ("top_labels", pa.list_(pa.string())),
        ("top_scores", pa.list_(pa.float32())),
    ]
)
"""What it needs of each classification."""

_VECTORS: Final = ("scores", "top_labels", "top_scores")


def of_rows(
    captures: pa.Table,
    detections: pa.Table,
    classifications: pa.Table,
    *,
    deployment: str | None,
    night: date | None,
    place: Place | None = None,
    classes: Mapping[AlgorithmRef, Classes],
    species: frozenset[str] | None = None,
    fixtures: frozenset[tuple[int, str]] = frozenset(),
) -> Night:
    """A night from rows in any order; every photograph of the detections is among the captures.

    Of several classifications of a detection one decides: the last step of its pipeline, and of those the newest, then
    the one with the best score. `classes` has every classifier that they name.
    """
    captures = captures.sort_by([(name, "ascending") for name in ("captured_at", "local_time", "url")])
    detections, photograph = _ordered(captures, detections)
    detections = _classified(detections, classifications)
    algorithms = _algorithms(detections)
    return Night(
        deployment=deployment,
        night=night,
        place=place,
        captures=_frame(captures),
        detections=_begun(captures, detections, photograph, algorithms, classes),
        classes={one: classes[one] for one in algorithms},
        vectors={one: _vectors(detections, rows, classes[one]) for one, rows in algorithms.items()},
        species=species,
        fixtures=fixtures,
    )


def clock(frame: pd.DataFrame) -> Numbers:
    """Moments if all are known, so that a change to summer time is not a pause, else local times."""
    captured = frame["captured_at"]
    known = captured.dt.tz_convert(None) if captured.notna().all() else frame["local_time"]
    times: Numbers = known.to_numpy("datetime64[us]")
    return times


def _ordered(captures: pa.Table, detections: pa.Table) -> tuple[pa.Table, Numbers]:
    """The detections in the order of their photographs, and of each the row of its photograph."""
    photograph = pc.index_in(detections["image_id"], value_set=captures["image_id"].combine_chunks())
    # `<image>-<number>`: as texts, 10 would come before 2.
    number = pc.struct_field(pc.extract_regex(detections["detection_id"], r"-(?P<number>[0-9]{1,9})$"), "number")
    keys = pa.table({"photograph": photograph, "number": number.cast(pa.int64()), "id": detections["detection_id"]})
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.schema.names])
    return detections.take(order), photograph.take(order).to_numpy().astype(np.intp)


def _classified(detections: pa.Table, classifications: pa.Table) -> pa.Table:
    """The detections with the columns of the classification that decides; nulls where there is none."""
    first = [("terminal", "descending"), ("created_at", "descending"), ("label_score", "descending")]
    # So that the order of the rows decides nothing.
    rest = [(name, "ascending") for name in ("classifier", "classifier_version", "label")]
    order = pc.sort_indices(classifications.select([name for name, _ in first + rest]), first + rest)
    # Of equal values, `index_in` finds the first.
    deciding = order.take(pc.index_in(detections["detection_id"], value_set=_taken(classifications, order)))
    names = [name for name in CLASSIFICATIONS.names if name not in (*DETECTIONS.names, "terminal", "created_at")]
    said = classifications.select(names).take(deciding)
    return pa.table({**_columns(detections), **_columns(said)})


def _taken(classifications: pa.Table, order: pa.Array) -> pa.Array:
    return classifications["detection_id"].take(order).combine_chunks()


def _columns(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return dict(zip(table.schema.names, table.columns, strict=True))


def _algorithms(detections: pa.Table) -> dict[AlgorithmRef, npt.NDArray[np.intp]]:
    """The classifiers that decided, by key and version, each with its rows."""
    key = pc.fill_null(detections["classifier"], "").to_numpy()
    version = pc.fill_null(detections["classifier_version"], "").to_numpy()
    named = sorted(set(zip(key.tolist(), version.tolist(), strict=True)))
    return {AlgorithmRef(*one): np.flatnonzero((key == one[0]) & (version == one[1])) for one in named if one[0]}


def _vectors(detections: pa.Table, rows: npt.NDArray[np.intp], classes: Classes) -> Vectors:
    """The scores of the rows: whole vectors where there are such of these classes, else the best few."""
    labels = classes.labels
    own = detections.select(["label", "label_score", *_VECTORS]).take(pa.array(rows))
    scores = np.zeros((len(rows), len(labels)), np.float32)
    is_whole = pc.fill_null(pc.equal(pc.binary_length(own["scores"]), 2 * len(labels)), False).to_numpy()
    if not classes.is_in_order:
        is_whole = np.zeros(len(rows), bool)
    whole, rest = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
    start = 0
    for chunk in own["scores"].filter(pa.array(is_whole)).chunks:
        values = np.frombuffer(b"".join(chunk.to_pylist()), "<f2").reshape(len(chunk), len(labels))
        scores[whole[start : start + len(chunk)]] = values
        start += len(chunk)
    if len(rest):
        few = own.take(pa.array(rest))
        known = pa.array(labels, pa.string())
        named = [
            (np.arange(len(rest)), few["label"], few["label_score"]),
            (
                pc.list_parent_indices(few["top_labels"]).to_numpy(),
                pc.list_flatten(few["top_labels"]),
                pc.list_flatten(few["top_scores"]),
            ),
        ]
        for parents, names, values in named:
            column = pc.fill_null(pc.index_in(names, value_set=known), -1).to_numpy()
            fits = column >= 0
            scores[rest[parents[fits]], column[fits]] = pc.fill_null(values, 0.0).to_numpy()[fits]
    np.nan_to_num(scores, copy=False)
    return Vectors(rows=rows, scores=scores, partial=~is_whole)


def _begun(
    captures: pa.Table,
    detections: pa.Table,
    photograph: Numbers,
    algorithms: Mapping[AlgorithmRef, npt.NDArray[np.intp]],
    classes: Mapping[AlgorithmRef, Classes],
) -> pd.DataFrame:
    """The detections as the first step gets them: each is what its label means."""
    of_photograph = captures.select(["captured_at", "local_time", "width", "height"]).take(pa.array(photograph))
    frame = _frame(pa.table({**_columns(of_photograph), **_columns(detections.drop_columns(list(_VECTORS)))}))
    labels = frame["label"].to_numpy()
    taxon, rank = labels.copy(), np.full(len(frame), None, object)
    source = np.full(len(frame), "detector", object)
    for algorithm, rows in algorithms.items():
        means = dict(zip(classes[algorithm].labels, classes[algorithm].taxa, strict=True))
        source[rows] = "classifier"
        for row in rows:
            if found := means.get(labels[row]):
                taxon[row], rank[row] = found.name, found.rank
    flags = np.empty(len(frame), object)
    flags.fill(())
    frame = frame.assign(
        taxon=_objects(taxon, frame),
        rank=_objects(rank, frame),
        score=frame["label_score"],
        source=_objects(source, frame),
        kept_mass=np.full(len(frame), np.nan, np.float32),
        flags=_objects(flags, frame),
        track=_objects(np.full(len(frame), None, object), frame),
        best_picture=np.zeros(len(frame), bool),
    )
    return frame[[*columns.DETECTION, *(name for name in columns.FURTHER["observations"] if name in frame)]]


def _frame(table: pa.Table) -> pd.DataFrame:
    """A frame in which texts are objects with None for null: pandas 2 and 3 would have types and nulls of their own."""
    import pandas as pd

    return pd.DataFrame(
        {
            field.name: pd.Series(table[field.name].to_numpy(), dtype=object)
            if pa.types.is_string(field.type)
            else pd.Series(table[field.name].to_pylist(), dtype=object)
            if pa.types.is_list(field.type)
            else table[field.name].to_pandas()
            for field in table.schema
        }
    )


def _objects(values: Numbers, frame: pd.DataFrame) -> pd.Series[Any]:
    import pandas as pd

    return pd.Series(values, index=frame.index, dtype=object)
