"""Files of names: our `taxa.csv`, a GBIF species-list download as it is, category maps of workers, and plain lists.

Whether a file is a table, JSON or a plain list is seen from its contents, not from its name. Each function takes the
file's bytes, and its name for messages, and raises `InvalidInput` that names file, row and column. Rows are counted as
a spreadsheet counts them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain.list_columns import key as column_key
from antenna_orchestration.domain.messages import MAX_LABEL
from antenna_orchestration.ecology import table_text
from antenna_orchestration.ecology.model import RANKS, Taxon
from antenna_orchestration.ecology.names import (
    Unfit,
    UnknownRank,
    canonical,
    check_consistent,
    columns_of,
    field,
    taxon_of,
)

MOST_BYTES: Final = 100 * 2**20
"""Bytes of a file, unpacked. All described moths and butterflies with their synonyms take about 80 MB."""

MOST_ROWS: Final = 500_000
"""Rows of a file."""

_DELIMITERS: Final = "\t;,"

_FORMATS: Final = (
    "a table with a column scientificName or label, a GBIF species list, or a category map in JSON with its ranks"
)

_STATUS: Final[Mapping[str, int]] = {"ACCEPTED": 0, "": 0, "DOUBTFUL": 1}
"""Which of two rows of a GBIF list counts that have the same name: the lower one; synonyms come last."""

Rows = Iterator[tuple[int, dict[str, str]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class NamesRead:
    """What a file of names says."""

    # By label. The labels of a GBIF list are its names without authors, and the keys of its synonyms.
    taxa: Mapping[str, Taxon]
    # Rows of a GBIF list or a category map that say no rank of the seven, such as a virus or the label `other`.
    left_out: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """The rows of a file with their numbers; columns are as `column_key` spells them."""

    # As the file spells them.
    columns: Sequence[str]
    rows: Rows
    is_gbif: bool = False
    # JSON has no rows, but entries.
    word: str = "row"

    def has(self, *names: str) -> bool:
        spelled = {column_key(name) for name in self.columns}
        return any(name in spelled for name in names)


def read_taxa(data: bytes, file: str) -> NamesRead:
    """The taxa of a file by label. Raises `InvalidInput`, also for a label that stands for two taxa."""
    text = _text(data, file)
    table = _json_table(text, file) if text.lstrip()[:1] in ("[", "{") else _table(text, file)
    if table is None or not table.has(*columns_of("label"), *columns_of("name")):
        columns = f"; its columns: {', '.join(table.columns)[:500]}" if table else ""
        raise errors.InvalidInput(f"{file} is not a file of names: that is {_FORMATS}{columns}")
    if table.is_gbif:
        return _gbif_taxa(table, file)
    found: dict[str, tuple[int, Taxon]] = {}
    left_out = 0
    for number, row in table.rows:
        try:
            taxon = taxon_of(row)
            check_consistent(row, taxon)
        except Unfit as unfit:
            if table.word == "entry" and not field(row, "rank"):
                left_out += 1
                continue
            raise _fault(file, table, number, unfit.column, unfit.why) from None
        label = field(row, "label") or taxon.name
        before = found.setdefault(label, (number, taxon))
        if before[1] != taxon:
            why = f"{label!r} has other contents in {table.word} {before[0]}; keep one of them"
            raise _fault(file, table, number, "label", why)
    if not found:
        raise errors.InvalidInput(f"{file} holds no names")
    return NamesRead(taxa={label: taxon for label, (_, taxon) in found.items()}, left_out=left_out)


def read_species(data: bytes, file: str) -> tuple[str, ...]:
    """The names of a species list, sorted, without authors. Raises `InvalidInput`.

    It is a table with a column of names, a list in JSON, a GBIF download, or text with one name a line, in which lines
    that begin with # are left out. In a GBIF download, a name above species counts only if the download names nothing
    below it: such a row stands for records that nobody identified further, not for all that belongs there.
    """
    text = _text(data, file)
    table = _json_table(text, file) if text.lstrip()[:1] in ("[", "{") else _table(text, file)
    names: set[str] = set()
    if table is None:
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip() and not line.startswith("#"):
                if any(mark in line for mark in "\t;") or len(line) > MAX_LABEL or not line.strip().isprintable():
                    raise errors.InvalidInput(
                        f"{file}, row {number}: this is not a name; a species list has one name a line, or is a table "
                        "with a column scientificName"
                    )
                names.add(canonical(line))
    elif table.is_gbif:
        taxa = _gbif_taxa(table, file).taxa
        divided = {name for taxon in taxa.values() for name in taxon.lineage.values() if name != taxon.name}
        listed = {label: taxon for label, taxon in taxa.items() if taxon.name not in divided}
        names = {taxon.name for taxon in listed.values()} | {label for label in listed if not label.isdigit()}
    else:
        if not table.has(*columns_of("name"), *columns_of("label")):
            columns = ", ".join(table.columns)[:500]
            raise errors.InvalidInput(f"{file} has no column scientificName; its columns: {columns}")
        for number, row in table.rows:
            name = canonical(field(row, "name") or field(row, "label"))
            if not name:
                raise _fault(file, table, number, "scientificName", "the name is missing")
            names.add(name)
    if not names - {""}:
        raise errors.InvalidInput(f"{file} holds no names")
    return tuple(sorted(names - {""}))


def _gbif_taxa(table: _Table, file: str) -> NamesRead:
    """The taxa of a GBIF list: synonyms lead to the accepted name. Of equal names, the accepted one counts."""
    found: dict[str, tuple[tuple[int, int, str], Taxon]] = {}
    left_out = 0
    for number, row in table.rows:
        name, own_key = row.get("scientificname", ""), row.get("taxonkey", "")
        if not name:
            raise _fault(file, table, number, "scientificName", "the name is missing")
        accepted_key = row.get("acceptedtaxonkey") or own_key
        rank = row.get("taxonrank", "").lower()
        # The columns by rank have the accepted name, without its author.
        accepted = row.get(rank) if rank in RANKS else None
        try:
            taxon = taxon_of(
                {
                    **row,
                    "scientificname": accepted or row.get("acceptedscientificname") or name,
                    "taxonid": accepted_key,
                }
            )
        except UnknownRank as unfit:
            raise _fault(file, table, number, unfit.column, unfit.why) from None
        except Unfit:
            left_out += 1
            continue
        occurrences = row.get("numberofoccurrences", "")
        order = (
            _STATUS.get(row.get("taxonomicstatus", "").upper(), 2),
            -int(occurrences) if occurrences.isdecimal() else 0,
            own_key.rjust(20, "0"),
        )
        labels = {canonical(name), *([own_key] if own_key.isdecimal() and own_key != accepted_key else [])}
        for label in labels:
            if label not in found or order < found[label][0]:
                found[label] = (order, taxon)
    if not found:
        raise errors.InvalidInput(f"{file} holds no names")
    return NamesRead(taxa={label: taxon for label, (_, taxon) in found.items()}, left_out=left_out)


def _fault(file: str, table: _Table, number: int, column: str, why: str) -> errors.InvalidInput:
    what = {"scientificName": "name", "taxonRank": "rank"}.get(column)
    wanted = columns_of(what) if what else (column_key(column),)
    spelled = next((one for one in table.columns if column_key(one) in wanted), column)
    return errors.InvalidInput(f"{file}, {table.word} {number}, column {spelled}: {why}")


def _text(data: bytes, file: str) -> str:
    """The text of a file, or of the one file in a zip archive, as GBIF sends it."""
    if data[:4] == b"PK\x03\x04":
        data = _unpacked(data, file)
    if len(data) > MOST_BYTES:
        raise errors.InvalidInput(
            f"{file} has more than {MOST_BYTES // 2**20} MB, which is too much for one file of names"
        )
    try:
        return table_text.decoded(data)
    except table_text.NotText as error:
        where = "" if error.line is None else f", row {error.line}"
        raise errors.InvalidInput(f"{file}{where}: {error.why}") from None


def _unpacked(data: bytes, file: str) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inside = [one for one in archive.infolist() if not one.is_dir()]
            if len(inside) != 1:
                raise errors.InvalidInput(
                    f"{file} holds {len(inside)} files: unpack it, and name the one with the names"
                )
            with archive.open(inside[0]) as packed:
                return packed.read(MOST_BYTES + 1)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        NotImplementedError,
        RuntimeError,
        EOFError,
        OSError,
    ) as error:
        raise errors.InvalidInput(f"{file} cannot be unpacked: {error}") from None


def _table(text: str, file: str) -> _Table | None:
    """A table with a header; None if the first line is not one."""
    said = table_text.opened(text, _DELIMITERS)
    delimiter = said.delimiter
    try:
        columns = [name.strip() for name in next(csv.reader([said.header], delimiter=delimiter), [])]
    except csv.Error as error:
        raise errors.InvalidInput(f"{file}, row 1: {error}") from None
    spelled = [column_key(name) for name in columns]
    known = {*columns_of("label"), *columns_of("name"), *columns_of("rank"), *RANKS}
    if known.isdisjoint(spelled):
        if len(columns) > 1 and delimiter != ",":
            raise errors.InvalidInput(
                f"{file} has no column scientificName or label; its columns: {', '.join(columns)[:500]}"
            )
        return None
    if twice := next(
        (name for name, key in zip(columns, spelled, strict=True) if key and spelled.count(key) > 1), None
    ):
        raise errors.InvalidInput(f"{file} has several columns called {twice!r}: keep one of them")
    is_gbif = {"taxonkey", "scientificname"} <= set(spelled)
    lines = io.StringIO(said.text, newline="")
    if is_gbif and delimiter == "\t":
        # GBIF writes no quotes around cells, and names may have some within.
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter)
    return _Table(columns=columns, rows=_rows(reader, spelled, file), is_gbif=is_gbif)


def _rows(reader: Any, spelled: Sequence[str], file: str) -> Rows:
    try:
        is_header = True
        count = 0
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if is_header:
                is_header = False
                continue
            count += 1
            if count > MOST_ROWS:
                raise errors.InvalidInput(f"{file} has more than {MOST_ROWS:,} rows; cut it up, and import the parts")
            if len(cells) > len(spelled) and any(cell.strip() for cell in cells[len(spelled) :]):
                raise errors.InvalidInput(
                    f"{file}, row {reader.line_num}: {len(cells)} cells, but the header has {len(spelled)} columns"
                )
            row = {name: cell.strip() for name, cell in zip(spelled, cells, strict=False)}
            _check_cells(row, file, f"row {reader.line_num}")
            yield reader.line_num, row
    except csv.Error as error:
        raise errors.InvalidInput(f"{file}, row {reader.line_num}: {error}") from None


def _check_cells(row: Mapping[str, str], file: str, where: str) -> None:
    used = {*columns_of("label"), *columns_of("name"), *columns_of("taxon_id"), *columns_of("vernacular"), *RANKS}
    for column in used & row.keys():
        cell = row[column]
        if len(cell) > MAX_LABEL:
            raise errors.InvalidInput(f"{file}, {where}, column {column}: longer than {MAX_LABEL} characters")
        if not cell.isprintable():
            raise errors.InvalidInput(
                f"{file}, {where}, column {column}: {cell!r} has characters that cannot be printed"
            )


def _json_table(text: str, file: str) -> _Table:
    """A category map, as workers register it, or a list of names."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidInput(f"{file} is not JSON: {error}") from None
    entries: Any = value
    if isinstance(value, dict):
        entries = value.get("data") or value.get("labels") or [{"label": label} for label in value]
    if not isinstance(entries, list) or not all(isinstance(one, (dict, str)) for one in entries):
        raise errors.InvalidInput(f"{file} is not a category map: that is a list of objects with label and taxon_rank")
    if len(entries) > MOST_ROWS:
        raise errors.InvalidInput(f"{file} has more than {MOST_ROWS:,} entries; cut it up, and import the parts")
    rows = [{"label": one} if isinstance(one, str) else one for one in entries]
    columns = list(dict.fromkeys(str(name) for row in rows for name in row))
    return _Table(columns=columns, rows=_entries(rows, file), word="entry")


def _entries(entries: Sequence[Mapping[str, Any]], file: str) -> Rows:
    for number, one in enumerate(entries, start=1):
        row = {column_key(str(name)): str(value).strip() for name, value in one.items() if value is not None}
        _check_cells(row, file, f"entry {number}")
        yield number, row
