"""Names: which taxon a classifier's label stands for, and which classes a species list keeps.

A label is matched as it is; then by its GBIF key, if it is one or its worker registered one; then by its canonical
name, which is the name without its author; then by its genus. Names are compared without regard to case, and `_` counts
as a space. `ecology/name_files.py` reads the files that names come in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from antenna_orchestration import errors
from antenna_orchestration.domain.list_columns import key as column_key
from antenna_orchestration.domain.messages import AlgorithmRef
from antenna_orchestration.ecology.model import RANKS, Classes, Taxon

_OTHER_RANKS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("subspecies", "variety", "subvariety", "form", "forma", "aberration", "cultivar",
                     "infraspecificname", "infrasubspecificname", "speciesaggregate", "speciescomplex"), "species"),
    **dict.fromkeys(("subgenus", "section", "series", "infragenericname"), "genus"),
    **dict.fromkeys(("subfamily", "supertribe", "tribe", "subtribe"), "family"),
    **dict.fromkeys(("suborder", "infraorder", "parvorder", "superfamily", "epifamily"), "order"),
    **dict.fromkeys(("subclass", "infraclass", "cohort", "superorder", "magnorder"), "class"),
    **dict.fromkeys(("subphylum", "infraphylum", "superclass"), "phylum"),
    **dict.fromkeys(("subkingdom", "infrakingdom", "superphylum"), "kingdom"),
}  # fmt: skip
"""Ranks between those of `RANKS`, with the next coarser of them."""

UNRANKED: Final = frozenset({"", "unranked", "norank", "other", "unknown"})
"""What stands for no rank, as `column_key` spells it."""

_PARTICLES: Final = frozenset(
    ("de", "der", "den", "des", "del", "della", "di", "da", "das", "do", "dos", "du", "la", "le", "von", "vom", "van",
     "zu", "zur", "ter", "ten", "af", "ex", "et", "in", "and", "auct", "nec", "non", "sensu", "bis")
)  # fmt: skip
"""Words of authors' names that are written like an epithet."""

_UNCERTAIN: Final = frozenset(
    ("sp", "spp", "cf", "aff", "nr", "agg", "indet", "group", "complex", "other", "unknown", "unidentified", "species",
     "female", "male", "adult", "larva")
)  # fmt: skip
"""Words behind a genus or a species that are not part of its name."""

_MARKS: Final = frozenset({"subsp.", "ssp.", "var.", "f.", "forma", "ab."})
"""What stands before the third word of a name, and is left out of it."""

_EPITHET: Final = re.compile(r"(?:\d{1,2}-)?[^\W\d_]{2,}(?:-[^\W\d_]+)*|[^\W\d_]-[^\W\d_]+(?:-[^\W\d_]+)*")
_SUBGENUS: Final = re.compile(r"\([^\W\d_]+\)")
_GBIF: Final = re.compile(r"(?:https?://(?:www\.)?gbif\.org/species/)?(\d{1,12})/?")

_LISTED_NAMES_TRIED: Final = 300
"""Names of a list for which near labels are looked for; more would take seconds."""


class Unfit(ValueError):
    """A row that is not a taxon: in which column, and why."""

    def __init__(self, column: str, why: str) -> None:
        super().__init__(f"{column}: {why}")
        self.column = column
        self.why = why


class UnknownRank(Unfit):
    """A row with a rank that there is not."""


def canonical(text: str) -> str:
    """The name without author and year, subgenus and marks: `Noctua pronuba (Linnaeus, 1758)` is `Noctua pronuba`.

    What is not certain is left out: `Noctua sp.` and `Noctua cf. pronuba` are `Noctua`.
    """
    words = text.replace("_", " ").replace("\N{MULTIPLICATION SIGN}", " ").split()
    if not words:
        return ""
    parts, rest = [words[0].rstrip(",;")], words[1:]
    if len(rest) > 1 and _SUBGENUS.fullmatch(rest[0]) and _is_epithet(rest[1]):
        rest = rest[1:]
    for word in rest:
        if len(parts) > 1 and word in _MARKS:
            continue
        if len(parts) == _LONGEST_NAME or not _is_epithet(word):
            break
        parts.append(word)
    return " ".join(parts)


_LONGEST_NAME: Final = 3
"""Words of a name in zoology: genus, species, subspecies."""


def _is_epithet(word: str) -> bool:
    return word.islower() and word not in _PARTICLES | _UNCERTAIN and _EPITHET.fullmatch(word) is not None


def folded(name: str) -> str:
    """The canonical name as names are compared."""
    return canonical(name).casefold()


def rank_of(text: str) -> str | None:
    """The rank of `RANKS` that a word stands for, or the next coarser one; None for none. Raises `ValueError`."""
    word = column_key(text)
    if word in UNRANKED:
        return None
    if word not in RANKS and word not in _OTHER_RANKS:
        raise ValueError(f"{text.strip()[:40]!r} is not a rank; the ranks are {', '.join(RANKS)}")
    return _OTHER_RANKS.get(word, word)


_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "label": ("label",),
    "name": ("scientificname", "canonicalname", "name", "taxonname", "taxon"),
    "rank": ("taxonrank", "rank"),
    "taxon_id": ("taxonid", "gbifkey", "gbiftaxonkey", "taxonkey", "usagekey"),
    "vernacular": ("vernacularname", "commonname"),
    "finest_rank": ("finestrank",),
}
"""What a column is called, as `column_key` spells it; the first one with a value counts."""


def field(row: Mapping[str, str], what: str) -> str:
    """What a row says of one of the keys of `_COLUMNS`, empty if nothing. `column_key` spells the row's columns."""
    return next((row[name] for name in _COLUMNS[what] if row.get(name)), "")


def columns_of(what: str) -> tuple[str, ...]:
    """The columns that `field` reads."""
    return _COLUMNS[what]


def taxon_of(row: Mapping[str, str]) -> Taxon:
    """The taxon that a row describes. Its columns are as `column_key` spells them; without a name, the label is one.

    A rank between those of `RANKS` becomes the next coarser one. Without a rank, it is that of the column which has the
    name, or species for a name of two words. Raises `Unfit`.
    """
    name = canonical(field(row, "name") or field(row, "label"))
    if not name:
        raise Unfit("scientificName", "the name is missing")
    lineage = {rank: canonical(row[rank]) for rank in RANKS if row.get(rank)}
    if "species" in lineage and " " not in lineage["species"] and lineage.get("genus"):
        # Some programs write the epithet alone.
        lineage["species"] = f"{lineage['genus']} {lineage['species']}"
    try:
        rank = rank_of(field(row, "rank"))
    except ValueError as error:
        raise UnknownRank("taxonRank", str(error)) from None
    # A subspecies is its species, a subfamily its family.
    is_between = rank is not None and column_key(field(row, "rank")) not in RANKS
    if rank is None:
        rank = next((one for one in RANKS if lineage.get(one, "").casefold() == name.casefold()), None)
        if rank is None and not field(row, "rank") and " " in name and name[0].isupper():
            rank = "species"
    if rank is None and field(row, "rank") and lineage:
        # Said to have no rank, such as a cluster of DNA: it is the finest that is known of it.
        rank = max(lineage, key=RANKS.index)
        name = lineage[rank]
    if rank is None:
        raise Unfit("taxonRank", f"the rank of {name} is missing")
    words = name.split()
    if is_between or (rank == "species" and len(words) > 2):
        coarser = lineage.get(rank) or (" ".join(words[:2]) if rank == "species" and len(words) > 1 else "")
        if not coarser:
            raise Unfit(rank, f"{name} stands between two ranks, so its {rank} must be given")
        name = coarser
    if rank == "species" and len(words) > 1:
        lineage.setdefault("genus", words[0])
    try:
        finest = rank_of(field(row, "finest_rank"))
    except ValueError as error:
        raise Unfit("finest_rank", str(error)) from None
    return Taxon(
        name=name,
        rank=rank,
        lineage={one: lineage[one] if one != rank else name for one in _down_to(rank) if one == rank or one in lineage},
        taxon_id=field(row, "taxon_id") or None,
        vernacular=field(row, "vernacular") or None,
        finest_rank=finest,
    )


def check_consistent(row: Mapping[str, str], taxon: Taxon) -> None:
    """Check that the columns by rank of a row that people wrote say what its name and rank say. Raises `Unfit`.

    `taxon` is what `taxon_of` made of the row.
    """
    for rank in RANKS:
        said = canonical(row.get(rank, ""))
        if not said:
            continue
        if RANKS.index(rank) > RANKS.index(taxon.rank):
            raise Unfit(rank, f"{said} stands below {taxon.name}, which is of the rank {taxon.rank}: empty one of them")
        named = taxon.lineage.get(rank, said)
        if rank == "species" and " " not in said:
            named = named.split()[-1]
        if rank == "genus" and taxon.rank == "species" and " " in taxon.name:
            named = taxon.name.split()[0]
        if said.casefold() != named.casefold():
            raise Unfit(rank, f"{said}, but the name of the row is {taxon.name} (rank {taxon.rank}): they contradict")


def _down_to(rank: str) -> tuple[str, ...]:
    return RANKS[: RANKS.index(rank) + 1]


def gbif_key(text: str | None) -> str | None:
    """The GBIF key in a taxon's id or in a label; None if it is something else."""
    found = _GBIF.fullmatch((text or "").strip())
    return found[1] if found else None


class Names:
    """The taxa of a project, to look labels up in.

    Names of their lineages are found as well: who imports species knows genera and families, too. Where taxa disagree
    about what stands above one of those, it is left out.
    """

    def __init__(self, taxa: Mapping[str, Taxon]) -> None:
        self._by_label = taxa
        self._by_key: dict[str, Taxon] = {}
        self._by_name: dict[str, Taxon] = {}
        # Sorted, and the fullest first, so that the order of the rows decides nothing.
        rows = sorted(taxa.items(), key=lambda row: (-len(row[1].lineage), row[0]))
        for label, taxon in rows:
            if key := gbif_key(taxon.taxon_id):
                self._by_key.setdefault(key, taxon)
            self._by_name.setdefault(folded(label) if label != taxon.name else label.casefold(), taxon)
        for _, taxon in rows:
            self._by_name.setdefault(taxon.name.casefold(), taxon)
        for taxon in _above(taxa.values()):
            self._by_name.setdefault(taxon.name.casefold(), taxon)

    @property
    def taxa(self) -> Mapping[str, Taxon]:
        """What the project imported, by label."""
        return self._by_label

    def match(self, label: str, category: Mapping[str, Any] | None = None) -> Taxon | None:
        """The taxon of a label, with what its worker registered of it; None if neither knows it."""
        row = _texts(category or {})
        key = gbif_key(label) or gbif_key(field(row, "taxon_id"))
        found = self._by_label.get(label) or (self._by_key.get(key) if key else None)
        found = found or self._named(field(row, "name") or label, field(row, "taxon_id") or None)
        if found is None and field(row, "rank"):
            try:
                found = taxon_of({"label": label, **row})
            except Unfit:
                return None
        if found and not found.taxon_id and folded(label) == found.name.casefold():
            found = replace(found, taxon_id=field(row, "taxon_id") or None)
        return found and self._capped(found)

    def _named(self, text: str, taxon_id: str | None) -> Taxon | None:
        words = canonical(text).split()
        # A subspecies without a row of its own is its species.
        for length in range(len(words), 0, -1):
            if length == 1 < len(words):
                break
            found = self._by_name.get(" ".join(words[:length]).casefold())
            if found:
                return found
        # Only what is written like a name has a genus: not `io moth`.
        genus = self._by_name.get(words[0].casefold()) if len(words) > 1 and words[0].istitle() else None
        if genus is None or genus.rank != "genus":
            return None
        name = f"{genus.name} {words[1]}"
        return Taxon(name=name, rank="species", lineage={**genus.lineage, "species": name}, taxon_id=taxon_id)

    def _capped(self, taxon: Taxon) -> Taxon:
        """With the finest rank of its genus, if it has none of its own."""
        genus = self._by_name.get(taxon.lineage.get("genus", "").casefold())
        if taxon.finest_rank or genus is None or genus.rank != "genus" or not genus.finest_rank:
            return taxon
        return replace(taxon, finest_rank=genus.finest_rank)


def _above(taxa: Iterable[Taxon]) -> list[Taxon]:
    """The taxa in the lineages, from the coarsest rank to the finest."""
    said: dict[tuple[int, str], dict[str, set[str]]] = {}
    # Each taxon without itself: most have their ranks in common with many others.
    for names in {tuple(one.lineage.get(rank) if rank != one.rank else None for rank in RANKS) for one in taxa}:
        for depth, name in enumerate(names):
            if name:
                above = said.setdefault((depth, name), {})
                for rank, one in zip(RANKS[: depth + 1], names[: depth + 1], strict=True):
                    if one:
                        above.setdefault(rank, set()).add(one)
    return [
        Taxon(
            name=name,
            rank=RANKS[depth],
            lineage={rank: next(iter(above[rank])) for rank in RANKS if len(above.get(rank, ())) == 1},
        )
        for (depth, name), above in sorted(said.items())
    ]


def _texts(category: Mapping[str, Any]) -> dict[str, str]:
    return {column_key(str(name)): str(value).strip() for name, value in category.items() if value is not None}


def classes_of(
    algorithm: AlgorithmRef,
    labels: Sequence[str],
    categories: Sequence[Mapping[str, Any]] = (),
    taxa: Mapping[str, Taxon] | Names | None = None,
) -> Classes:
    """The classes of a classifier with their taxa.

    `categories` are what its worker registered, in the order of the labels, or empty; `taxa` what the project imported,
    by label. What people imported counts first.
    """
    names = taxa if isinstance(taxa, Names) else Names(taxa or {})
    known = categories if len(categories) == len(labels) else [{}] * len(labels)
    found = tuple(names.match(label, category) for label, category in zip(labels, known, strict=True))
    return Classes(algorithm=algorithm, labels=tuple(labels), taxa=found)


def unmatched(classes: Classes) -> list[str]:
    """The labels without a taxon, in order."""
    return [label for label, taxon in zip(classes.labels, classes.taxa, strict=True) if taxon is None]


def kept(classes: Classes, species: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which classes a species list keeps.

    A class is kept if the list has its name or a name above it, or if its label is a name in the list. What stands
    above a name in the list is kept as well (the genus of a species; anything above a class that is kept): an animal
    that is only seen to be of that genus may live there. All others are masked, those without a taxon among them.
    """
    names = frozenset(folded(name) for name in species)
    genera = frozenset(name.split()[0] for name in names if " " in name)
    keeps = np.zeros(len(classes.labels), dtype=bool)
    above: set[str] = set()
    for index, (label, taxon) in enumerate(zip(classes.labels, classes.taxa, strict=True)):
        lineage = {name.casefold() for name in (taxon.name, *taxon.lineage.values())} if taxon else set()
        is_above = taxon is not None and taxon.rank == "genus" and taxon.name.casefold() in genera
        keeps[index] = is_above or not names.isdisjoint(lineage) or folded(label) in names
        if keeps[index]:
            above |= lineage
    for index, taxon in enumerate(classes.taxa):
        keeps[index] |= taxon is not None and taxon.name.casefold() in above
    return keeps


def require_kept(name: str, species: Iterable[str], pipeline: str, classes: Iterable[Classes]) -> None:
    """Raise `InvalidInput` if a species list, by its name, keeps no class of any classifier of a pipeline."""
    listed, every = sorted(species), list(classes)
    if not any(one.labels for one in every) or any(kept(one, listed).any() for one in every):
        return
    labels = sorted({label for one in every for label in one.labels})
    total = len(labels)
    near = list(islice(_near(listed, labels), 3))
    if near:
        hint = "nearest: " + ", ".join(f"{theirs!r} in the list and {ours!r} in the pipeline" for theirs, ours in near)
    elif not any(taxon for one in every for taxon in one.taxa):
        hint = f"none of its labels, such as {labels[0]!r}, has a match: import names with `antenna taxa import` first"
    else:
        hint = f"the list has names such as {listed[0]!r}, the pipeline labels such as {labels[0]!r}"
    raise errors.InvalidInput(f"species list {name} keeps none of the {total:,} classes of pipeline {pipeline}; {hint}")


K = TypeVar("K")


class Judged(NamedTuple):
    """A species list, and a pipeline with its classifiers' classes that it is for."""

    name: str
    species: Iterable[str]
    pipeline: str
    classes: Sequence[Classes]


def refused(judged: Mapping[K, Judged]) -> dict[K, errors.InvalidInput]:
    """Where a list keeps no class of its pipeline, with the reason; those without classes are not judged.

    Such a pipeline, as one that tells moths from others, may do without the list. Raises `InvalidInput` if nothing is
    kept anywhere: then the list is the wrong one, and the pipeline with the most classes is the one it is made for.
    """
    with_classes = {key: one for key, one in judged.items() if any(own.labels for own in one.classes)}
    found: dict[K, errors.InvalidInput] = {}
    for key, one in with_classes.items():
        try:
            require_kept(one.name, one.species, one.pipeline, one.classes)
        except errors.InvalidInput as error:
            found[key] = error
    if found and len(found) == len(with_classes):
        raise found[max(found, key=lambda key: sum(len(own.labels) for own in with_classes[key].classes))]
    return found


def _near(listed: Sequence[str], labels: Sequence[str]) -> Iterable[tuple[str, str]]:
    spelled = {folded(label): label for label in labels}
    for name in listed[:_LISTED_NAMES_TRIED]:
        for found in get_close_matches(name.casefold(), spelled, n=1, cutoff=0.8):
            yield name, spelled[found]
