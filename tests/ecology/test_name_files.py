"""Files of names: what they say, and that bad ones name file, row and column."""

from __future__ import annotations

import io
import json
import zipfile
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA

import pytest

from antenna_orchestration import errors
from antenna_orchestration.ecology.name_files import read_species, read_taxa
from antenna_orchestration.ecology.names import Names

TAXA_CSV = """\
label,scientificName,taxonRank,kingdom,phylum,class,order,family,genus,taxonID,vernacularName,finest_rank
moth,Lepidoptera,order,Animalia,Arthropoda,Insecta,Lepidoptera,,,https://www.gbif.org/species/797,moths,order
nonmoth,Insecta,class,Animalia,Arthropoda,Insecta,,,,https://www.gbif.org/species/216,insects,class
"""

_GBIF_COLUMNS = (
    "taxonKey\tscientificName\tacceptedTaxonKey\tacceptedScientificName\tnumberOfOccurrences\ttaxonRank\t"
    "taxonomicStatus\tkingdom\tkingdomKey\tphylum\tphylumKey\tclass\tclassKey\torder\torderKey\tfamily\tfamilyKey\t"
    "genus\tgenusKey\tspecies\tspeciesKey\tiucnRedListCategory"
)
_ABOVE = "Animalia\t1\tArthropoda\t54\tInsecta\t216\tLepidoptera\t797\tNoctuidae\t7015"


def gbif(*rows: str) -> bytes:
    """A GBIF download; in the rows, {above} is from kingdom to family with keys."""
    return "\n".join([_GBIF_COLUMNS, *(row.replace("{above}", _ABOVE) for row in rows), ""]).encode()


PRONUBA = (
    "1784810\tNoctua pronuba (Linnaeus, 1758)\t1784810\tNoctua pronuba (Linnaeus, 1758)\t51\tSPECIES\tACCEPTED\t"
    "{above}\tNoctua\t1783894\tNoctua pronuba\t1784810\tLC"
)
INNUBA = (
    "77\tNoctua innuba Treitschke, 1825\t1784810\tNoctua pronuba (Linnaeus, 1758)\t1\tSPECIES\tSYNONYM\t"
    "{above}\tNoctua\t1783894\tNoctua pronuba\t1784810\t"
)
GENUS = (
    "1783894\tNoctua Linnaeus, 1758\t1783894\tNoctua Linnaeus, 1758\t3\tGENUS\tACCEPTED\t{above}\tNoctua\t1783894\t\t\t"
)
OTHER_GENUS = '5\tXestia "Hübner", 1818\t5\tXestia Hübner, 1818\t3\tGENUS\tACCEPTED\t{above}\tXestia\t5\t\t\t'
NOTHING = "9\tincertae sedis\t9\tincertae sedis\t3\tUNRANKED\tDOUBTFUL\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t"


def test_our_table_has_a_taxon_for_each_label() -> None:
    taxa = read_taxa(TAXA_CSV.encode(), "taxa.csv").taxa
    moth = taxa["moth"]
    assert list(taxa) == ["moth", "nonmoth"]
    assert (moth.name, moth.rank, moth.vernacular, moth.finest_rank) == ("Lepidoptera", "order", "moths", "order")
    assert moth.taxon_id == "https://www.gbif.org/species/797"
    assert list(moth.lineage) == ["kingdom", "phylum", "class", "order"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_come_as_spreadsheets_write_them(delimiter: str, encoding: str) -> None:
    data = TAXA_CSV.replace(",", delimiter).replace("\n", "\r\n").encode(encoding)
    assert read_taxa(data, "x") == read_taxa(TAXA_CSV.encode(), "x")


def test_lines_may_end_with_a_carriage_return_alone() -> None:
    assert read_taxa(TAXA_CSV.replace("\n", "\r").encode(), "f") == read_taxa(TAXA_CSV.encode(), "f")


def test_a_gbif_download_is_read_as_it_is() -> None:
    read = read_taxa(gbif(INNUBA, PRONUBA, GENUS, OTHER_GENUS, NOTHING), "0001.csv")
    assert set(read.taxa) == {"Noctua pronuba", "Noctua innuba", "77", "Noctua", "Xestia"}
    assert read.left_out == 1
    pronuba = read.taxa["Noctua pronuba"]
    assert (pronuba.rank, pronuba.taxon_id, pronuba.lineage["family"]) == ("species", "1784810", "Noctuidae")
    assert read.taxa["Noctua innuba"] == read.taxa["77"] == pronuba
    names = Names(read.taxa)
    assert names.match("1784810") == names.match("77") == names.match("Noctua_pronuba") == pronuba


def test_gbif_sends_its_table_in_an_archive() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0001.csv", gbif(PRONUBA))
    assert read_taxa(packed.getvalue(), "0001.zip") == read_taxa(gbif(PRONUBA), "0001.csv")


def test_of_equal_names_the_accepted_one_counts() -> None:
    homonym = PRONUBA.replace("1784810", "99").replace("ACCEPTED", "SYNONYM").replace("\t51\t", "\t999\t")
    for rows in ([homonym, PRONUBA], [PRONUBA, homonym]):
        assert read_taxa(gbif(*rows), "x").taxa["Noctua pronuba"].taxon_id == "1784810"


def test_a_category_map_gives_ranks() -> None:
    entries = [
        {"index": 0, "label": "Noctua pronuba", "taxon_rank": "SPECIES", "gbif_key": 1784810},
        {"index": 1, "label": "Noctuidae", "taxon_rank": "FAMILY", "gbif_key": None},
        {"index": 2, "label": "other"},
    ]
    for value in (entries, {"data": entries, "labels": ["a", "b", "c"], "uri": None}):
        read = read_taxa(json.dumps(value).encode(), "map.json")
        assert {label: taxon.rank for label, taxon in read.taxa.items()} == {
            "Noctua pronuba": "species",
            "Noctuidae": "family",
        }
        assert read.left_out == 1
        assert read.taxa["Noctua pronuba"].taxon_id == "1784810"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Noctua pronuba (Linnaeus, 1758)\n\n# comment\nErebidae\n", ("Erebidae", "Noctua pronuba")),
        ("name\nNoctua pronuba\nNoctua pronuba L.\n", ("Noctua pronuba",)),
        ("id,scientificName\n1,Noctua pronuba\n", ("Noctua pronuba",)),
        (TAXA_CSV, ("Insecta", "Lepidoptera")),
        ('["Noctua pronuba", "Erebidae"]', ("Erebidae", "Noctua pronuba")),
        ('{"Noctua pronuba": 0}', ("Noctua pronuba",)),
        ('{"labels": ["Noctua pronuba"]}', ("Noctua pronuba",)),
    ],
)
def test_a_species_list_is_any_list_of_names(text: str, names: tuple[str, ...]) -> None:
    assert read_species(text.encode(), "list") == names


def test_unidentified_records_of_gbif_do_not_open_the_list() -> None:
    order = (
        "797\tLepidoptera\t797\tLepidoptera\t9\tORDER\tACCEPTED\tAnimalia\t1\tArthropoda\t54\tInsecta\t216\t"
        "Lepidoptera\t797\t\t\t\t\t\t\t"
    )
    found = read_species(gbif(INNUBA, PRONUBA, GENUS, OTHER_GENUS, order, NOTHING), "denmark.csv")
    assert found == ("Noctua innuba", "Noctua pronuba", "Xestia")


def damaged(method: int) -> bytes:
    """An archive whose directory is whole, and whose content is not."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("taxa.csv", "".join(f"Noctua {number}\n" for number in range(500)))
    data = bytearray(packed.getvalue())
    data[50:150] = bytes(byte ^ 0xFF for byte in data[50:150])
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"label,scientificName,taxonRank\na,Noctua,specie\n", "f, row 2, column taxonRank: 'specie' is not a rank"),
        (b"label,scientificName,taxonRank\na,Noctua,genus\na,Xestia,genus\n", "f, row 3, column label: 'a' has other"),
        (b"scientificName;taxonRank\n;genus\n", "f, row 2, column scientificName: the name is missing"),
        (
            b"label,scientific_name\nmoth,Lepidoptera\n",
            "f, row 2, column taxonRank: the rank of Lepidoptera is missing",
        ),
        (b"label,rank\nmoth,order,x\n", "f, row 2: 3 cells, but the header has 2 columns"),
        (b"label,label\nx,y\n", "f has several columns called 'label'"),
        (b"a\tb\nx\ty\n", "f has no column scientificName or label; its columns: a, b"),
        (b"Noctua pronuba\n", "f is not a file of names"),
        (b"genus,family\nNoctua,Noctuidae\n", "f is not a file of names: .*its columns: genus, family"),
        (b"label,scientificName\n", "f holds no names"),
        (b"", "f is not a file of names"),
        (b"label\nN\xf6\n", "f, row 2: not UTF-8"),
        (b"label\rname\nx,y\n", "f, row 1: new-line character"),
        (b"label" * 30_000, "f, row 1: field larger than"),
        (b"label\nN\0\n", "f: not a CSV file"),
        (b"PK\x03\x04garbage", "f cannot be unpacked"),
        *((damaged(method), "f cannot be unpacked") for method in (ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA)),
        (b"x" * 200_000, "f, row 1: field larger than field limit"),
        (b"[" + b"1" * 5000 + b"]", "f is not JSON"),
        (b"[1]", "f is not a category map"),
        (b"{", "f is not JSON"),
        (b'[{"label": "x", "taxon_rank": "specie"}]', "f, entry 1, column taxon_rank: 'specie' is not a rank"),
        (gbif(PRONUBA.replace("SPECIES", "SPECIE")), "f, row 2, column taxonRank: 'SPECIE' is not a rank"),
        (gbif(PRONUBA.replace("Noctua pronuba (Linnaeus, 1758)\t1784810", "\t1784810")), "f, row 2, column sci"),
        (b"label,taxonRank\n" + b"x" * 501 + b",genus\n", "f, row 2, column label: longer than 500"),
        (b"label,taxonRank\na\x1b[2J,genus\n", "f, row 2, column label: .* cannot be printed"),
    ],
)
def test_a_bad_file_names_row_and_column(data: bytes, says: str) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        read_taxa(data, "f")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "f holds no names"),
        (b"# nothing\n", "f holds no names"),
        (b"genus,family\nNoctua,Noctuidae\n", "f has no column scientificName; its columns: genus, family"),
        (b"a\tb\nx\ty\n", "f has no column scientificName or label"),
        (b"Noctua\nXestia\tfoo\n", "f, row 2: this is not a name"),
        (b"scientificName,x\n,1\n", "f, row 2, column scientificName: the name is missing"),
    ],
)
def test_a_bad_species_list_says_where(data: bytes, says: str) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        read_species(data, "f")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("moth,Lepidoptera,order,Diptera,,,", "row 2, column order: Diptera, but the name of the row is Lepidoptera"),
        ("owlet,Noctuidae,family,Lepidoptera,Noctuidae,Noctua,", "row 2, column genus: Noctua stands below Noctuidae"),
        ("owlet,Noctuidae,,Lepidoptera,Noctuidae,Noctua,", "row 2, column genus: Noctua stands below Noctuidae"),
        ("a,Noctua pronuba,species,Lepidoptera,Noctuidae,Xestia,", "row 2, column genus: Xestia, but the name"),
        ("a,Noctua pronuba,species,Lepidoptera,Noctuidae,,comes", "row 2, column species: comes, but the name"),
        ("a,Noctua pronuba,species,Lepidoptera,Noctuidae,,Noctua comes", "row 2, column species: Noctua comes, but"),
    ],
)
def test_columns_that_contradict_the_name_are_a_fault(row: str, fault: str) -> None:
    with pytest.raises(errors.InvalidInput, match=fault):
        read_taxa(f"label,scientificName,taxonRank,order,family,genus,species\n{row}\n".encode(), "taxa.csv")


@pytest.mark.parametrize(
    "row",
    [
        "a,Noctua pronuba (Linnaeus 1758),species,Lepidoptera,Noctuidae,Noctua,pronuba",
        "a,NOCTUIDAE,family,Lepidoptera,Noctuidae,,",
        "a,Noctuinae,subfamily,Lepidoptera,Noctuidae,,",
        "a,Noctua pronuba innuba,subspecies,Lepidoptera,Noctuidae,Noctua,Noctua pronuba",
        "a,BOLD:ACE2477,unranked,Lepidoptera,Noctuidae,Noctua,",
    ],
)
def test_columns_that_agree_are_no_fault(row: str) -> None:
    read_taxa(f"label,scientificName,taxonRank,order,family,genus,species\n{row}\n".encode(), "taxa.csv")
