"""What people's words say of a classifier's labels, with numbers worked out by hand."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology import agreement, plots, reviews
from antenna_orchestration.ecology.agreement import AGREED, COARSER, NOTHING, OTHER, UNKNOWN
from antenna_orchestration.ecology.model import RANKS, Classes, Taxon
from antenna_orchestration.ecology.names import Names, classes_of
from antenna_orchestration.ecology.reviews import Review


def taxon(*names: str) -> Taxon:
    """A taxon of these names from the class Insecta on: order, family, genus, species."""
    lineage = dict(zip(RANKS[2:], ("Insecta", *names), strict=False))
    rank, name = list(lineage.items())[-1]
    return Taxon(name=name, rank=rank, lineage=lineage)


MOTH, INSECT = taxon("Lepidoptera"), taxon()
NOCTUA = taxon("Lepidoptera", "Noctuidae", "Noctua", "Noctua pronuba")
FLY = taxon("Diptera", "Muscidae", "Musca", "Musca domestica")
NAMES = Names(
    {
        "moth": MOTH,
        "nonmoth": INSECT,
        "GBIF:1": NOCTUA,
        "house fly": FLY,
        "owlet": taxon("Lepidoptera", "Noctuidae"),
    }
)
C = AlgorithmRef("c", "1")
TRAP = ("moth", "nonmoth")
SPECIES = ("GBIF:1", "house fly")


def known(*labels: str) -> Classes:
    return classes_of(C, labels, taxa=NAMES)


JUDGED = [
    # What the classifier said, what a person said, among which classes, what it means.
    ("moth", "moth", TRAP, ("moth", AGREED)),
    ("moth", "Moth", TRAP, ("moth", AGREED)),
    ("moth", "nonmoth", TRAP, ("nonmoth", OTHER)),
    # The finest class that includes it: a moth is not a nonmoth, although it is an insect.
    ("moth", "Noctua pronuba", TRAP, ("moth", AGREED)),
    ("nonmoth", "Noctua pronuba", TRAP, ("moth", OTHER)),
    ("nonmoth", "musca domestica", TRAP, ("nonmoth", AGREED)),
    ("nonmoth", "house fly", TRAP, ("nonmoth", AGREED)),
    # By its scientific name where the label is a number.
    ("GBIF:1", "Noctua pronuba", SPECIES, ("GBIF:1", AGREED)),
    # Less than what the classifier says: neither right nor wrong.
    ("GBIF:1", "owlet", SPECIES, ("owlet", COARSER)),
    ("house fly", "owlet", SPECIES, ("owlet", OTHER)),
    ("GBIF:1", "Lepidoptera", SPECIES, ("Lepidoptera", COARSER)),
    # Classes without a name.
    ("beetle", "Beetle", ("beetle", "bug"), ("beetle", AGREED)),
    ("beetle", "bug", ("beetle", "bug"), ("bug", OTHER)),
    # Whether it is a moth, nobody said.
    ("moth", "Saturnia pavonia", TRAP, ("Saturnia pavonia", UNKNOWN)),
    ("moth", "Not_an_insect", TRAP, ("not an insect", NOTHING)),
    ("GBIF:1", "false positive", SPECIES, ("not an insect", NOTHING)),
]


@pytest.mark.parametrize(("label", "human", "classes", "expected"), JUDGED)
def test_a_persons_name_is_compared_with_the_class_that_includes_it(
    label: str, human: str, classes: tuple[str, ...], expected: tuple[str, str]
) -> None:
    assert agreement.judge(label, human, known(*classes), NAMES) == expected


def observed(*labels: tuple[str | None, float | None], **values: Any) -> pd.DataFrame:
    """Observations with these labels and scores, one each of the photograph of its number."""
    rows = [
        {
            "job_id": 42, "detection_id": f"{number}-0", "pipeline": "p", "detector": "d", "detector_version": "1",
            "classifier": None if label is None else "c", "classifier_version": None if label is None else "1",
            "label": label, "label_score": score, **values,
        }
        for number, (label, score) in enumerate(labels)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(agreement.OBSERVED))


def said(*labels: str) -> pd.DataFrame:
    return reviews.newest([Review(JobId(42), f"{number}-0", one, "", None) for number, one in enumerate(labels)])


def test_the_tables_are_what_a_person_counts() -> None:
    observations = observed(
        ("moth", 0.95), ("moth", 0.91), ("moth", 0.62), ("moth", 1.0), ("nonmoth", 0.6), ("nonmoth", None),
        (None, None), ("moth", 0.5),
    )  # fmt: skip
    words = said("moth", "Noctua pronuba", "Musca domestica", "not an insect", "moth", "nonmoth", "not an insect")
    found = agreement.compare(observations, words, classes={C: known(*TRAP)}, names=NAMES)

    [box] = found.boxes.to_dict("records")
    assert (box["reviewed"], box["animals"], round(box["share"], 3)) == (7, 5, 0.714)

    counts = found.labels[["label", "reviewed", AGREED, COARSER, NOTHING, OTHER]].to_numpy().tolist()
    assert counts == [["moth", 4, 2, 0, 1, 1], ["nonmoth", 2, 1, 0, 0, 1]]
    # Wilson's interval of 2 of 4, by his formula with z = 1.96.
    assert found.labels[["share", "low", "high"]].iloc[0].round(3).tolist() == [0.5, 0.150, 0.850]

    pairs = found.confusion[["human", "label", "detections"]].to_numpy().tolist()
    assert pairs == [
        ["moth", "moth", 2],
        ["moth", "nonmoth", 1],
        ["nonmoth", "moth", 1],
        ["nonmoth", "nonmoth", 1],
        ["not an insect", "moth", 1],
    ]
    bins = found.reliability[["score_from", "score_to", "reviewed", AGREED]].to_numpy().tolist()
    assert bins == [[0.6, 0.7, 2, 0], [0.9, 1.0, 3, 2]]
    assert found.reliability["mean_score"].round(3).tolist() == [0.61, 0.953]


def test_a_coarser_word_is_no_part_of_the_share() -> None:
    observations = observed(("GBIF:1", 0.9), ("GBIF:1", 0.9), ("GBIF:1", 0.9))
    words = said("GBIF:1", "owlet", "house fly")
    [row] = agreement.compare(observations, words, classes={C: known(*SPECIES)}, names=NAMES).labels.to_dict("records")
    assert (row["reviewed"], row[AGREED], row[COARSER], row[OTHER], row["share"]) == (3, 1, 1, 1, 0.5)


def test_pipelines_and_versions_are_not_added_up() -> None:
    first = observed(("moth", 0.9))
    other = observed(("moth", 0.9), pipeline="q")
    later = observed(("moth", 0.9), classifier_version="2")
    together = pd.concat([first, other.assign(job_id=43), later.assign(job_id=44)])
    words = pd.concat([said("moth").assign(job_id=job) for job in (42, 43, 44)])
    found = agreement.compare(together, words, classes={}, names=Names({}))
    assert [len(found.labels), len(found.confusion), len(found.reliability)] == [3, 3, 3]
    assert set(found.labels["reviewed"]) == {1}


@pytest.mark.long
@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(TRAP), st.sampled_from(["moth", "nonmoth", "not an insect", "x"]))))
def test_every_reviewed_detection_is_counted_once_in_each_table(pairs: list[tuple[str, str]]) -> None:
    observations = observed(*((label, 0.5) for label, _ in pairs))
    found = agreement.compare(observations, said(*(word for _, word in pairs)), classes={C: known(*TRAP)}, names=NAMES)
    assert found.boxes["reviewed"].sum() == len(pairs)
    assert found.labels["reviewed"].sum() == len(pairs)
    assert found.confusion["detections"].sum() == len(pairs)
    assert found.reliability["reviewed"].sum() == len(pairs) - found.unknown["detections"].sum()
    assert found.unknown["detections"].sum() == sum(word == "x" for _, word in pairs)
    verdicts = found.labels[[AGREED, COARSER, UNKNOWN, NOTHING, OTHER]].sum(axis=1)
    assert verdicts.tolist() == found.labels["reviewed"].tolist()
    shares = found.labels.dropna(subset=["share"])
    assert ((shares["low"] <= shares["share"]) & (shares["share"] <= shares["high"])).all()


def test_nothing_reviewed_gives_empty_tables() -> None:
    found = agreement.compare(observed(("moth", 0.9)), said(), classes={}, names=Names({}))
    assert [len(table) for table in found] == [0, 0, 0, 0, 0]


def test_a_plot_shows_labels_as_they_are() -> None:
    """Dollar signs are not formulas, and letters that no font has are not a fault."""
    labels = ["moth", "$\\frac{1}$", "\N{CJK UNIFIED IDEOGRAPH-86FE}", "x" * 200]
    found = agreement.compare(
        observed(*((label, 0.9) for label in labels)), said(*labels[1:], "moth"), classes={}, names=Names({})
    )
    picture = Image.open(io.BytesIO(plots.agreement(found, title="$project")))
    assert picture.format == "PNG"
    assert picture.width > 1000


def test_names_that_only_a_worker_registered_are_known() -> None:
    category = {"scientificName": "Noctua pronuba", "taxonRank": "species"}
    classes = classes_of(C, ("1", "2"), [category, {"scientificName": "Noctua comes", "taxonRank": "species"}])
    judged = [agreement.judge(label, "noctua pronuba", classes, Names({})) for label in ("1", "2")]
    assert judged == [("1", AGREED), ("1", OTHER)]
