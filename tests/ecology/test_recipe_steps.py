"""The steps of recipes: by hand on small nights, and on any night."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from antenna_orchestration.ecology import recipes
from antenna_orchestration.ecology.model import RANKS, Night, Taxon
from antenna_orchestration.ecology.steps import STEPS
from tests.ecology.recipe_nights import (
    ALGORITHM,
    COMES,
    GRISEA,
    IPSILON,
    MOTHS,
    PRONUBA,
    classes_of_taxa,
    in_order,
    night_of_scores,
    species,
)

ROUNDING = 2.0**-10
EXAMPLES = settings(deadline=None, max_examples=40)


def after(step: str, night: Night, **parameters: Any) -> Night:
    return STEPS[step].apply(night, STEPS[step].parameters.model_validate(parameters))


def rows(night: Night, *names: str) -> list[tuple[Any, ...]]:
    """These columns, with None for null and three decimals."""

    def plain(value: Any) -> Any:
        if isinstance(value, float | np.floating):
            return None if np.isnan(value) else round(float(value), 3)
        return value

    return [tuple(map(plain, row)) for row in night.detections[list(names)].itertuples(index=False)]


DETERMINATION = ("taxon", "rank", "score", "source", "flags")


# Flags.

BOX = {"x1": 100.0, "y1": 100.0, "x2": 140.0, "y2": 140.0}
FLAGS = [
    ({}, {}, ()),
    ({"x2": 120.0, "y2": 139.0}, {}, ("too_small",)),
    ({"x2": 120.0, "y2": 140.0}, {}, ()),
    ({"x2": 120.0, "y2": 139.0}, {"too_small": None}, ()),
    ({"x2": 120.0, "y2": 139.0, "width": pd.NA}, {}, ()),
    ({"width": 0}, {"at_edge": None}, ()),
    ({"x1": 1.9}, {}, ("at_edge",)),
    ({"x1": 2.0}, {}, ()),
    ({"y2": 998.1}, {}, ("at_edge",)),
    ({"x2": 998.5, "width": pd.NA}, {}, ()),
    ({"x1": -3.0, "x2": 1.0, "y1": 1.0, "y2": 3.0}, {}, ("too_small", "at_edge")),
    ({"x1": 1.0}, {"at_edge": None}, ()),
    ({"detector_score": 0.2}, {}, ()),
    ({"detector_score": 0.2}, {"detector_score": 0.21}, ("below_threshold",)),
    ({"detector_score": np.float32(0.7)}, {"detector_score": 0.7}, ()),
    ({"detector_score": np.nan}, {"detector_score": 0.5}, ()),
    ({"label_score": 0.3}, {"label_score": 0.5}, ("below_threshold",)),
    ({"label_score": np.nan}, {"label_score": 0.5}, ()),
    ({"label_score": 0.1, "detector_score": 0.1}, {"label_score": 0.5, "detector_score": 0.5}, ("below_threshold",)),
    ({"flags": ("fixture",), "x1": 0.0}, {}, ("fixture", "at_edge")),
    ({"flags": ("at_edge",), "x1": 0.0}, {}, ("at_edge",)),
]


@pytest.mark.parametrize(("changed", "parameters", "flags"), FLAGS)
def test_flags_mark_what_is_known_to_be_low(
    changed: dict[str, Any], parameters: dict[str, Any], flags: tuple[str, ...]
) -> None:
    night = night_of_scores([[1, 0, 0, 0]], rows=[{**BOX, **changed}])
    assert rows(after("flags", night, **parameters), "flags") == [(flags,)]


# Masking.


def test_masking_lets_only_the_list_compete() -> None:
    night = night_of_scores([[0.5, 0.25, 0.125, 0.125], [0.0, 1.0, 0.0, 0.0]], listed=[COMES, GRISEA])
    masked = after("masking", night)
    assert rows(masked, *DETERMINATION, "kept_mass") == [
        (COMES, "species", 0.667, "classifier+mask", (), 0.375),
        (COMES, "species", 1.0, "classifier+mask", (), 1.0),
    ]
    np.testing.assert_allclose(masked.vectors[ALGORITHM].scores, [[0, 2 / 3, 0, 1 / 3], [0, 1, 0, 0]], rtol=1e-6)


def test_without_reweighting_the_scores_stay_absolute() -> None:
    night = night_of_scores([[0.5, 0.25, 0.125, 0.125]], listed=[COMES, GRISEA])
    masked = after("masking", night, reweight=False)
    assert rows(masked, *DETERMINATION, "kept_mass") == [(COMES, "species", 0.25, "classifier+mask", (), 0.375)]
    assert masked.vectors[ALGORITHM].scores.tolist() == [[0, 0.25, 0, 0.125]]


def test_where_nothing_of_the_list_is_left_the_answer_stays() -> None:
    night = night_of_scores([[0.75, 0.25, 0, 0], [0.5, 0.25, 0.25, 1e-9]], listed=[GRISEA])
    masked = after("masking", night)
    assert rows(masked, *DETERMINATION, "kept_mass") == [
        (PRONUBA, "species", 0.75, "classifier", ("masked_out",), 0.0),
        (PRONUBA, "species", 0.5, "classifier", ("masked_out",), 0.0),
    ]
    np.testing.assert_array_equal(masked.vectors[ALGORITHM].scores, night.vectors[ALGORITHM].scores)


def test_of_the_best_few_the_kept_ones_are_not_reweighted() -> None:
    night = night_of_scores([[0.5, 0.25, 0, 0], [0.5, 0, 0.25, 0]], partial=[True, True], listed=[COMES])
    assert rows(after("masking", night), *DETERMINATION, "kept_mass") == [
        (COMES, "species", 0.25, "classifier+mask", ("from_top_k",), 0.25),
        (PRONUBA, "species", 0.5, "classifier", ("masked_out", "from_top_k"), 0.0),
    ]


def test_a_label_without_a_score_is_on_the_list_or_not() -> None:
    lone = [{"label": one, "taxon": one, "label_score": np.nan, "score": np.nan} for one in (COMES, PRONUBA)]
    night = night_of_scores([[0, 0, 0, 0], [0, 0, 0, 0]], partial=[True, True], listed=[COMES], rows=lone)
    assert rows(after("masking", night), *DETERMINATION, "kept_mass") == [
        (COMES, "species", None, "classifier", ("from_top_k",), None),
        (PRONUBA, "species", None, "classifier", ("masked_out", "from_top_k"), None),
    ]


def test_without_a_list_masking_changes_nothing() -> None:
    night = night_of_scores([[0.5, 0.25, 0.25, 0]])
    assert after("masking", night) is night


def test_a_filter_without_names_is_not_masked() -> None:
    night = night_of_scores(
        [[0.25, 0.75]], classes=classes_of_taxa(["moth", "nonmoth"], [None, None]), listed=[PRONUBA]
    )
    assert rows(after("masking", night), *DETERMINATION, "kept_mass") == [
        ("nonmoth", None, 0.75, "classifier", (), None)
    ]


def test_of_equal_scores_the_label_stays() -> None:
    night = night_of_scores([[0.5, 0.5, 0, 0]], rows=[{"label": COMES, "taxon": COMES}], listed=[COMES, PRONUBA])
    assert rows(after("masking", night), "taxon") == [(COMES,)]
    assert rows(after("roll_up", night, species=0.5), "taxon", "source") == [(COMES, "classifier")]


@st.composite
def softmaxes(draw: st.DrawFn, classes: int = len(MOTHS), least: int = 1) -> np.ndarray:
    logits = st.lists(st.floats(-6, 6), min_size=classes, max_size=classes)
    z = np.array(draw(st.lists(logits, min_size=least, max_size=6))).reshape(-1, classes)
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@EXAMPLES
@given(softmaxes(), st.sets(st.sampled_from(MOTHS), min_size=1))
def test_masking_equals_masking_of_logits(probabilities: np.ndarray, listed: set[str]) -> None:
    masked = after("masking", night_of_scores(probabilities, listed=listed))
    genera = {name.split()[0] for name in listed}
    kept = np.array([name in listed for name in MOTHS])
    assert genera  # a list of species keeps only these species, and nothing else of their genera
    logits = np.where(kept, np.log(probabilities), -np.inf)
    exact = np.exp(logits - logits.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    # Scores below 6e-5 lose digits in float16, so a small kept mass is less exact.
    mass = (probabilities * kept).sum(axis=1, keepdims=True)
    error = np.abs(masked.vectors[ALGORITHM].scores - exact)
    assert (error <= ROUNDING + 2.0**-24 / mass).all()
    np.testing.assert_allclose(masked.detections["kept_mass"], mass[:, 0], atol=ROUNDING)


# Roll-up.

SUMS = [
    # The cases of the literature, and sums exactly at a threshold.
    ([0.5, 0.3, 0.2, 0.0], {}, ("Noctua", "genus", 0.8, "classifier+rollup_to_genus", ())),
    ([0.9, 0.05, 0.05, 0.0], {}, (PRONUBA, "species", 0.9, "classifier", ())),
    ([0.8, 0.1, 0.1, 0.0], {}, (PRONUBA, "species", 0.8, "classifier", ())),
    ([0.4, 0.15, 0.45, 0.0], {}, ("Noctuidae", "family", 1.0, "classifier+rollup_to_family", ())),
    ([0.15, 0.1, 0.1, 0.15], {}, ("Lepidoptera", "order", 0.5, "classifier+rollup_to_order", ())),
    # The most probable family, not that of the best class.
    ([0.2, 0.2, 0.15, 0.45], {}, ("Noctuidae", "family", 0.55, "classifier+rollup_to_family", ())),
    # One threshold for all ranks; ranks that are left out.
    ([0.7, 0.1, 0.1, 0.1], {"threshold": 0.65}, (PRONUBA, "species", 0.7, "classifier", ())),
    ([0.4, 0.2, 0.1, 0.3], {"threshold": 0.65}, ("Noctuidae", "family", 0.7, "classifier+rollup_to_family", ())),
    ([0.9, 0.1, 0.0, 0.0], {"species": None}, ("Noctua", "genus", 1.0, "classifier+rollup_to_genus", ())),
    ([0.3, 0.2, 0.2, 0.3], {"order": 0.99, "family": None}, ("Lepidoptera", "order", 1.0,
                                                            "classifier+rollup_to_order", ())),
    ([0.2, 0.2, 0.2, 0.2], {"threshold": 0.9}, (None, None, None, "classifier", ("unsure",))),
]  # fmt: skip


@pytest.mark.parametrize(("scores", "parameters", "expected"), SUMS)
def test_the_finest_taxon_that_is_probable_enough(
    scores: list[float], parameters: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert rows(after("roll_up", night_of_scores([scores]), **parameters), *DETERMINATION) == [expected]


def test_no_class_counts_below_its_finest_rank() -> None:
    capped = classes_of_taxa(
        MOTHS,
        [species(PRONUBA, finest_rank="genus"), species(COMES), species(IPSILON), species(GRISEA, finest_rank="order")],
    )
    night = night_of_scores([[0.95, 0.0, 0.05, 0.0], [0.0, 0.95, 0.05, 0.0], [0.05, 0, 0, 0.95]], classes=capped)
    assert rows(after("roll_up", night), "taxon", "rank", "score", "source") == [
        ("Noctua", "genus", 0.95, "classifier+rollup_to_genus"),
        (COMES, "species", 0.95, "classifier"),
        ("Lepidoptera", "order", 1.0, "classifier+rollup_to_order"),
    ]


def test_no_label_is_rolled_up_into_a_less_probable_group() -> None:
    """Of `moth` and `nonmoth`, which is any other insect, the more probable one stays."""
    insect = {"class": "Insecta"}
    moth = Taxon(name="Lepidoptera", rank="order", lineage={**insect, "order": "Lepidoptera"})
    other = Taxon(name="Insecta", rank="class", lineage=insect)
    night = night_of_scores(
        [[0.48, 0.52], [0.51, 0.49], [0.02, 0.98]], classes=classes_of_taxa(["moth", "nonmoth"], [moth, other])
    )
    assert rows(after("roll_up", night), "taxon") == [("Insecta",), ("Lepidoptera",), ("Insecta",)]


def test_labels_of_one_species_are_added_up() -> None:
    both = classes_of_taxa(["male", "female", "dirt"], [species(COMES), species(COMES), None])
    night = night_of_scores([[0.45, 0.4, 0.15], [0.3, 0.3, 0.4]], classes=both)
    assert rows(after("roll_up", night), "taxon", "rank", "score", "source") == [
        (COMES, "species", 0.85, "classifier"),
        # The best class has no name: it stays.
        ("dirt", None, 0.4, "classifier"),
    ]


def test_of_the_best_few_the_sums_are_lower_bounds() -> None:
    night = night_of_scores([[0.5, 0.2, 0, 0], [0, 0, 0, 0]], partial=[True, True], rows=[{}, {"score": np.nan}])
    assert rows(after("roll_up", night), *DETERMINATION) == [
        ("Noctua", "genus", 0.7, "classifier+rollup_to_genus", ("from_top_k",)),
        # Without any score nothing can be added up.
        (PRONUBA, "species", None, "classifier", ()),
    ]


def test_without_names_roll_up_changes_nothing() -> None:
    night = night_of_scores([[0.5, 0.5]], classes=classes_of_taxa(["a", "b"], [None, None]))
    assert_frame_equal(after("roll_up", night).detections, night.detections)


@st.composite
def taxonomies(draw: st.DrawFn) -> list[Taxon]:
    """Species in genera in families, and some classes that are genera."""
    families = draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
    found = []
    for number, genus in enumerate(draw(st.lists(st.integers(0, 3), min_size=6, max_size=6))):
        lineage = {"order": "O", "family": f"F{families[genus]}", "genus": f"G{genus}"}
        finest = draw(st.sampled_from([None, None, "genus", "family"]))
        if draw(st.booleans()):
            name, lineage = f"G{genus} s{number}", {**lineage, "species": f"G{genus} s{number}"}
            found.append(Taxon(name=name, rank="species", lineage=lineage, finest_rank=finest))
        else:
            found.append(Taxon(name=f"G{genus}", rank="genus", lineage=lineage, finest_rank=finest))
    return found


def by_hand(scores: np.ndarray, taxa: list[Taxon], thresholds: dict[str, float]) -> tuple[str, float] | None:
    """The finest rank whose best sum reaches its threshold: the best taxon's name, and the sum."""
    for rank, least in thresholds.items():
        sums: Counter[str] = Counter()
        for score, taxon in zip(scores.tolist(), taxa, strict=True):
            finest = RANKS.index(taxon.finest_rank or "species")
            if rank in taxon.lineage and RANKS.index(rank) <= finest:
                sums[taxon.lineage[rank]] += score
        if sums and max(sums.values()) >= least * (1 - 2.0**-11):
            return max(sums, key=lambda name: sums[name]), max(sums.values())
    return None


@pytest.mark.long
@EXAMPLES
@given(softmaxes(6), taxonomies())
def test_roll_up_keeps_the_lineage_and_never_exceeds_one(probabilities: np.ndarray, taxa: list[Taxon]) -> None:
    night = night_of_scores(probabilities, classes=classes_of_taxa([f"class {n}" for n in range(6)], taxa))
    rolled = after("roll_up", night)
    thresholds = {"species": 0.8, "genus": 0.6, "family": 0.4, "order": 0.5}
    for row, scores in enumerate(night.vectors[ALGORITHM].scores.astype(np.float64)):
        taxon, rank, score = rolled.detections.loc[row, ["taxon", "rank", "score"]]
        expected = by_hand(scores, taxa, thresholds)
        assert expected
        assert score == pytest.approx(min(1.0, expected[1]), abs=ROUNDING)
        assert score <= 1
        below = [one.lineage for one in taxa if one.lineage.get(rank) == taxon]
        # All classes below the result have the same names above it, and each of those is at least as probable.
        assert below
        for coarser in RANKS[RANKS.index("order") : RANKS.index(rank)]:
            [name] = {lineage[coarser] for lineage in below}
            assert sum(s for s, one in zip(scores, taxa, strict=True) if one.lineage[coarser] == name) >= score - 1e-3
        # A result that is more probable than all else has the best class below it or beside it, not against it.
        if score > 0.5 and rank == "species":
            assert taxon == taxa[int(scores.argmax())].lineage.get("species")


# Best picture.


def test_the_best_picture_is_sure_large_and_whole() -> None:
    square = [(100.0, 100.0 + side) for side in (10, 20, 30, 40, 40)]
    changed = [{"x1": a, "y1": a, "x2": b, "y2": b, "score": s} for (a, b), s in zip(
        square, (0.95, 0.9, 0.8, 0.85, 1.0), strict=True)]  # fmt: skip
    changed[4]["flags"] = ("at_edge",)
    night = night_of_scores([[1, 0, 0, 0]] * 5, rows=changed)
    # Medians: 900. Values: 0.106, 0.4, 0.8, 0.85, cut.
    assert [best for (best,) in rows(after("best_picture", night), "best_picture")] == [
        False,
        False,
        False,
        True,
        False,
    ]


PICTURES = [
    # Of equal ones the first.
    ([{}, {}], [True, False]),
    # Each taxon has one; what is not determined has none.
    ([{"taxon": PRONUBA}, {"taxon": COMES}, {"taxon": None}], [True, True, False]),
    # A cut one is better than none.
    ([{"flags": ("at_edge",), "score": 0.5}, {"flags": ("at_edge",), "score": 0.6}], [False, True]),
    ([{"flags": ("at_edge",), "score": 0.9}, {"score": 0.1}], [False, True]),
    # A score that is not known is the least.
    ([{"score": np.nan}, {"score": 0.1}], [False, True]),
    ([{"score": np.nan}, {"score": np.nan}], [True, False]),
    # What is not counted is not shown.
    ([{"flags": ("fixture",), "score": 1.0}, {"score": 0.1}], [False, True]),
    ([{"flags": ("fixture",)}], [False]),
    # Boxes without an area.
    ([{"x2": 100.0, "y2": 100.0, "score": 0.3}, {"x2": 100.0, "score": 0.4}], [False, True]),
]


@pytest.mark.parametrize(("changed", "best"), PICTURES)
def test_one_best_picture_a_taxon_and_night(changed: list[dict[str, Any]], best: list[bool]) -> None:
    night = night_of_scores([[1, 0, 0, 0]] * len(changed), rows=changed)
    assert after("best_picture", night).detections["best_picture"].tolist() == best


# Whole recipes.

OF_ONE_DETECTION = recipes.parsed("steps: [flags, masking, roll_up, best_picture]", "recipe.yaml")


def spread(probabilities: np.ndarray, listed: set[str] | None) -> Night:
    """A night whose detections differ in size, so that no best picture is drawn by lot."""
    boxes = [{"x2": 110.0 + 7 * row, "x1": 1.0 * row} for row in range(len(probabilities))]
    partial = np.arange(len(probabilities)) % 3 == 2
    return night_of_scores(probabilities, listed=listed, rows=boxes, partial=partial)


@EXAMPLES
@given(softmaxes(least=0), st.none() | st.sets(st.sampled_from(MOTHS)), st.randoms())
def test_the_order_of_rows_changes_no_result(probabilities: np.ndarray, listed: set[str] | None, lot: Any) -> None:
    night = spread(probabilities, listed)
    order = list(range(len(night.detections)))
    lot.shuffle(order)
    straight = OF_ONE_DETECTION.apply(night).detections.iloc[order].reset_index(drop=True)
    assert_frame_equal(OF_ONE_DETECTION.apply(in_order(night, order)).detections, straight, check_exact=True)


@pytest.mark.long
@EXAMPLES
@given(softmaxes(least=0), st.none() | st.sets(st.sampled_from(MOTHS)))
def test_a_recipe_run_again_gives_the_same(probabilities: np.ndarray, listed: set[str] | None) -> None:
    night = spread(probabilities, listed)
    before, vectors = night.detections.copy(), night.vectors[ALGORITHM].scores.copy()
    once, again = OF_ONE_DETECTION.apply(night), OF_ONE_DETECTION.apply(night)
    assert_frame_equal(once.detections, again.detections, check_exact=True)
    # What it was given stays as it was.
    assert_frame_equal(night.detections, before, check_exact=True)
    np.testing.assert_array_equal(night.vectors[ALGORITHM].scores, vectors)
    assert list(once.detections) == list(before)
    assert once.detections.dtypes.to_dict() == before.dtypes.to_dict()


def test_many_rows_are_worked_on_in_blocks() -> None:
    rng = np.random.default_rng(7)
    probabilities = rng.dirichlet([0.3] * len(MOTHS), 9000)
    night = night_of_scores(probabilities, listed=[PRONUBA, IPSILON])
    order = rng.permutation(9000)
    steps = recipes.parsed("steps: [masking, roll_up]", "two.yaml")
    straight = steps.apply(night).detections.iloc[order].reset_index(drop=True)
    assert_frame_equal(steps.apply(in_order(night, order)).detections, straight, check_exact=True)


def test_the_example_of_the_docs_goes_through_these_steps() -> None:
    night = night_of_scores([[0.3, 0.2, 0.1, 0.4]], listed=[PRONUBA, COMES, IPSILON])
    done = OF_ONE_DETECTION.apply(night)
    # 0.3 of 0.6 is Noctua pronuba, 0.5 of 0.6 Noctua.
    assert rows(done, *DETERMINATION, "kept_mass", "best_picture") == [
        ("Noctua", "genus", 0.833, "classifier+mask+rollup_to_genus", (), 0.6, True)
    ]
