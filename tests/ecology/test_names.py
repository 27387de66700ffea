"""Names: labels find their taxa, and species lists keep their classes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology.model import RANKS, Taxon
from antenna_orchestration.ecology.names import (
    Names,
    Unfit,
    canonical,
    classes_of,
    kept,
    require_kept,
    taxon_of,
    unmatched,
)

ALGORITHM = AlgorithmRef("classifier", "1")


def a_taxon(*names: str, rank: str | None = None, **more: str) -> Taxon:
    """A taxon with these names from order down; the rank is that of the last one."""
    ranks = RANKS[RANKS.index("order") :]
    lineage = dict(zip(ranks, names, strict=False))
    return Taxon(name=names[-1], rank=rank or ranks[len(names) - 1], lineage=lineage, **more)


PRONUBA = a_taxon("Lepidoptera", "Noctuidae", "Noctua", "Noctua pronuba", taxon_id="1784810")
TAXA = {
    "Noctua pronuba": PRONUBA,
    "Noctua innuba": PRONUBA,
    "moth": a_taxon("Lepidoptera", finest_rank="order"),
    "Euceron": a_taxon("Lepidoptera", "Erebidae", "Euceron", finest_rank="genus"),
}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Noctua pronuba", "Noctua pronuba"),
        ("Noctua pronuba (Linnaeus, 1758)", "Noctua pronuba"),
        ("Noctua pronuba Linnaeus, 1758", "Noctua pronuba"),
        ("Noctua Linnaeus, 1758", "Noctua"),
        ("Noctuidae Latreille, 1809", "Noctuidae"),
        ("Noctua (Noctua) pronuba Linnaeus", "Noctua pronuba"),
        ("Noctua (Linnaeus, 1758)", "Noctua"),
        ("Noctua pronuba innuba Treitschke, 1825", "Noctua pronuba innuba"),
        ("Aus bus subsp. cus Author", "Aus bus cus"),
        ("Aus bus van der Wulp, 1867", "Aus bus"),
        ("Aus bus de Geer", "Aus bus"),
        ("Trichoplusia ni (Hübner)", "Trichoplusia ni"),
        ("Polygonia c-album (Linnaeus)", "Polygonia c-album"),
        ("Coccinella 7-punctata L.", "Coccinella 7-punctata"),
        ("Salix \N{MULTIPLICATION SIGN}rubens Schrank", "Salix rubens"),
        ("Noctua sp.", "Noctua"),
        ("Noctua cf. pronuba", "Noctua"),
        ("Noctua_pronuba", "Noctua pronuba"),
        ("  Noctua   pronuba ", "Noctua pronuba"),
        ("BOLD:AAA1234", "BOLD:AAA1234"),
        ("moth", "moth"),
        ("", ""),
    ],
)
def test_a_canonical_name_has_no_author(text: str, name: str) -> None:
    assert canonical(text) == name
    assert canonical(name) == name


@pytest.mark.parametrize(
    ("label", "category", "found"),
    [
        ("Noctua pronuba", {}, "species Noctua pronuba"),
        ("moth", {}, "order Lepidoptera"),
        ("noctua_pronuba", {}, "species Noctua pronuba"),
        ("Noctua pronuba (Linnaeus, 1758)", {}, "species Noctua pronuba"),
        ("Noctua innuba", {}, "species Noctua pronuba"),
        ("Noctua pronuba innuba", {}, "species Noctua pronuba"),
        ("1784810", {}, "species Noctua pronuba"),
        ("class 7", {"gbif_key": 1784810}, "species Noctua pronuba"),
        ("Noctua fimbriata", {}, "species Noctua fimbriata"),
        ("Noctua sp.", {}, "genus Noctua"),
        ("Noctuidae", {}, "family Noctuidae"),
        ("Lepidoptera", {}, "order Lepidoptera"),
        ("Vanessa atalanta", {}, None),
        ("Vanessa atalanta", {"taxon_rank": "SPECIES"}, "species Vanessa atalanta"),
        ("Vanessa", {"taxon_rank": "GENUS"}, "genus Vanessa"),
        ("Vanessa", {"taxon_rank": "whatever"}, None),
        ("io moth", {}, None),
        ("Lepidoptera other", {}, "order Lepidoptera"),
        ("_", {}, None),
    ],
)
def test_a_label_finds_its_taxon(label: str, category: dict[str, Any], found: str | None) -> None:
    taxon = Names(TAXA).match(label, category)
    assert (taxon and f"{taxon.rank} {taxon.name}") == found
    if taxon:
        assert taxon.lineage[taxon.rank] == taxon.name


def test_a_species_of_a_known_genus_gets_its_lineage() -> None:
    [taxon] = classes_of(ALGORITHM, ["Noctua fimbriata"], [{"gbif_key": 1783900, "taxon_rank": "SPECIES"}], TAXA).taxa
    assert taxon == a_taxon("Lepidoptera", "Noctuidae", "Noctua", "Noctua fimbriata", taxon_id="1783900")


def test_a_species_may_be_no_finer_than_its_genus_allows() -> None:
    classes = classes_of(ALGORITHM, ["Euceron tarona", "Noctua pronuba"], (), TAXA)
    assert [taxon and taxon.finest_rank for taxon in classes.taxa] == ["genus", None]


def test_labels_without_a_match_are_listed_in_order() -> None:
    assert unmatched(classes_of(ALGORITHM, ["zzz", "moth", "aaa"], (), TAXA)) == ["zzz", "aaa"]


def test_names_above_that_contradict_are_left_out() -> None:
    taxa = {
        "Aus bus": a_taxon("Lepidoptera", "Noctuidae", "Aus", "Aus bus"),
        "Aus cus": a_taxon("Lepidoptera", "Erebidae", "Aus", "Aus cus"),
    }
    genus = Names(taxa).match("Aus")
    assert genus and genus.lineage == {"order": "Lepidoptera", "genus": "Aus"}


@given(st.permutations(list(TAXA.items())))
def test_the_order_of_names_changes_nothing(rows: list[tuple[str, Taxon]]) -> None:
    labels = ["Noctua pronuba", "noctua_innuba", "Noctua fimbriata", "Noctua", "1784810", "Erebidae", "Euceron x"]
    assert classes_of(ALGORITHM, labels, (), dict(rows)) == classes_of(ALGORITHM, labels, (), TAXA)


@pytest.mark.parametrize(
    ("row", "taxon"),
    [
        ({"scientificname": "Lepidoptera", "taxonrank": "order"}, "order Lepidoptera"),
        ({"scientificname": "Lepidoptera", "order": "Lepidoptera"}, "order Lepidoptera"),
        ({"scientificname": "Noctua pronuba (L.)"}, "species Noctua pronuba"),
        ({"label": "Noctua pronuba", "rank": "SPECIES"}, "species Noctua pronuba"),
        ({"scientificname": "Noctua pronuba innuba", "taxonrank": "SUBSPECIES"}, "species Noctua pronuba"),
        ({"scientificname": "Noctuinae", "taxonrank": "subfamily", "family": "Noctuidae"}, "family Noctuidae"),
        ({"scientificname": "BOLD:AAA1", "taxonrank": "UNRANKED", "genus": "Noctua"}, "genus Noctua"),
        ({"scientificname": "Noctua pronuba", "taxonrank": "species", "species": "pronuba"}, "species Noctua pronuba"),
    ],
)
def test_a_row_is_a_taxon_of_one_of_seven_ranks(row: dict[str, str], taxon: str) -> None:
    found = taxon_of(row)
    assert f"{found.rank} {found.name}" == taxon
    assert found.lineage[found.rank] == found.name


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"label": "", "taxonrank": "order"}, "scientificName"),
        ({"scientificname": "Noctua", "taxonrank": "specie"}, "taxonRank"),
        ({"scientificname": "Noctua", "taxonrank": ""}, "taxonRank"),
        ({"scientificname": "Noctuinae", "taxonrank": "subfamily"}, "family"),
        ({"scientificname": "Noctua", "taxonrank": "genus", "finestrank": "best"}, "finest_rank"),
    ],
)
def test_a_row_that_is_no_taxon_names_the_column(row: dict[str, str], column: str) -> None:
    with pytest.raises(Unfit) as caught:
        taxon_of(row)
    assert caught.value.column == column


LABELS = ["Noctua pronuba", "Noctua fimbriata", "Noctua", "Noctuidae", "Euceron", "moth", "Vanessa atalanta"]


@pytest.mark.parametrize(
    ("species", "keeps"),
    [
        (["Noctua pronuba"], ["Noctua pronuba", "Noctua", "Noctuidae", "moth"]),
        (["Noctua"], ["Noctua pronuba", "Noctua fimbriata", "Noctua", "Noctuidae", "moth"]),
        (["noctuidae Latreille, 1809"], ["Noctua pronuba", "Noctua fimbriata", "Noctua", "Noctuidae", "moth"]),
        (["Euceron tarona"], ["Euceron", "moth"]),
        (["Vanessa atalanta"], ["Vanessa atalanta"]),
        (["Vanessa"], []),
        ([], []),
    ],
)
def test_a_list_keeps_its_names_and_what_they_belong_to(species: list[str], keeps: list[str]) -> None:
    mask = kept(classes_of(ALGORITHM, LABELS, (), TAXA), species)
    assert [label for label, one in zip(LABELS, mask, strict=True) if one] == keeps


def test_a_list_that_keeps_nothing_names_near_labels() -> None:
    classes = classes_of(ALGORITHM, LABELS, (), TAXA)
    require_kept("denmark", ["Noctua pronuba"], "moths", [classes])
    with pytest.raises(errors.InvalidInput, match=r"denmark keeps none of the 7 classes of pipeline moths; .*pronubra"):
        require_kept("denmark", ["Noctuella pronubra"], "moths", [classes])


def test_without_any_names_a_list_asks_for_them() -> None:
    with pytest.raises(errors.InvalidInput, match="antenna taxa import"):
        require_kept("denmark", ["Aglais io"], "moths", [classes_of(ALGORITHM, ["peacock"])])
