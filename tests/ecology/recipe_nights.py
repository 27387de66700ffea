"""Nights for the steps of recipes, made of vectors of scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import columns
from antenna_orchestration.ecology.model import Classes, Night, Taxon, Vectors

ALGORITHM = AlgorithmRef("moths", "1")

PRONUBA, COMES, IPSILON, GRISEA = "Noctua pronuba", "Noctua comes", "Agrotis ipsilon", "Eilema grisea"
MOTHS = (PRONUBA, COMES, IPSILON, GRISEA)
TEXTS = ("detection_id", "detector", "detector_version", "classifier", "classifier_version", "label")
TEXTS += ("taxon", "rank", "source", "flags", "track")
FAMILIES = {"Noctua": "Noctuidae", "Agrotis": "Noctuidae", "Eilema": "Erebidae"}


def species(name: str, **changed: Any) -> Taxon:
    genus = name.split(maxsplit=1)[0]
    above = {"order": "Lepidoptera", "family": FAMILIES[genus], "genus": genus}
    return replace(Taxon(name=name, rank="species", lineage={**above, "species": name}), **changed)


def classes_of_taxa(labels: Sequence[str], taxa: Iterable[Taxon | None]) -> Classes:
    return Classes(algorithm=ALGORITHM, labels=tuple(labels), taxa=tuple(taxa))


MOTH_CLASSES = classes_of_taxa(MOTHS, map(species, MOTHS))


def night_of_scores(
    scores: Any,
    *,
    classes: Classes = MOTH_CLASSES,
    partial: Sequence[bool] | None = None,
    listed: Iterable[str] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
) -> Night:
    """One detection a row of scores, which are rounded to float16 as the lake has them; `rows` change columns."""
    exact = np.asarray(scores, np.float64).reshape(-1, len(classes.labels))
    vectors = exact.astype(np.float16).astype(np.float32)
    best = vectors.argmax(axis=1)
    taxa = [classes.taxa[one] for one in best]
    begun: dict[str, Any] = {
        **dict.fromkeys(columns.DETECTION),
        "job_id": 1,
        "image_id": np.arange(len(exact)),
        "detection_id": [f"{row}-0" for row in range(len(exact))],
        "width": pd.array([1000] * len(exact), "Int32"),
        "height": pd.array([1000] * len(exact), "Int32"),
        **{"x1": 100.0, "y1": 100.0, "x2": 200.0, "y2": 200.0},
        "detector": "boxes",
        "detector_version": "1",
        "detector_score": np.float32(0.9),
        "classifier": ALGORITHM.key,
        "classifier_version": ALGORITHM.version,
        "label": [classes.labels[one] for one in best],
        "label_score": exact.max(axis=1).astype(np.float32),
        "taxon": [taxon.name if taxon else classes.labels[one] for taxon, one in zip(taxa, best, strict=True)],
        "rank": pd.Series([taxon.rank if taxon else None for taxon in taxa], dtype=object),
        "score": exact.max(axis=1).astype(np.float32),
        "source": "classifier",
        "kept_mass": np.float32(np.nan),
        "flags": [()] * len(exact),
        "best_picture": False,
    }
    frame = pd.DataFrame(begun, index=range(len(exact)))
    for name in TEXTS:
        column = frame[name].astype(object)
        frame[name] = column.where(column.notna(), None)
    for row, changed in enumerate(rows):
        for name, value in changed.items():
            frame.at[row, name] = value
    few = np.zeros(len(exact), bool) if partial is None else np.asarray(partial, bool)
    return Night(
        deployment="by the pond",
        night=None,
        place=None,
        captures=pd.DataFrame(),
        detections=frame,
        classes={ALGORITHM: classes},
        vectors={ALGORITHM: Vectors(rows=np.arange(len(exact)), scores=vectors, partial=few)},
        species=None if listed is None else frozenset(listed),
    )


def in_order(night: Night, order: Any) -> Night:
    """The same night with its detections in another order."""
    [(algorithm, own)] = night.vectors.items()
    vectors = replace(own, scores=own.scores[order], partial=own.partial[order])
    return replace(night, detections=night.detections.iloc[order].reset_index(drop=True), vectors={algorithm: vectors})
