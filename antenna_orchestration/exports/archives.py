"""What the archives share, Camtrap DP and Darwin Core: which photographs can be in one, names, boxes, and nights.

An archive demands of each photograph a place and a moment, and of the data set who made it and under which licences.
`opened` finds out what is missing, and gives a DuckDB session with the tables of `archives.sql` beside those of the
material: the photographs that can be written are `taken`, their observations that are counted `seen`, nights of
deployments `events`, and a taxon in a night is a row of `best_of_nights`.
"""

from __future__ import annotations

import re
import shlex
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from antenna_orchestration import errors
from antenna_orchestration.domain import signatures
from antenna_orchestration.domain.texts import counted, listed
from antenna_orchestration.ecology.model import RANKS, Place
from antenna_orchestration.ecology.names import gbif_key
from antenna_orchestration.exports import pipelines
from antenna_orchestration.exports.dataset import Contributor
from antenna_orchestration.exports.formats import Incomplete
from antenna_orchestration.exports.material import Material, path_below

if TYPE_CHECKING:
    import duckdb

RANKS_ABOVE: Final = RANKS[:-1]
"""The ranks of which archives have a column."""

NO_VALUE: Final = frozenset({"", "NA", "NaN", "nan"})
"""What readers of archives take for a missing value, so that it cannot be an id."""

MEDIA_TYPES: Final = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "hif": "image/heif",
    "dng": "image/x-adobe-dng",
    "cr2": "image/x-canon-cr2",
    "cr3": "image/x-canon-cr3",
    "nef": "image/x-nikon-nef",
    "arw": "image/x-sony-arw",
}
"""By the suffix of a photograph's file."""

OTHER_MEDIA_TYPE: Final = "image/*"
"""Of a photograph whose name does not tell."""

_KINDS: Final = {
    "animal": "animal",
    "human": "human",
    "person": "human",
    "people": "human",
    "homo sapiens": "human",
    "vehicle": "vehicle",
    "car": "vehicle",
}
"""What labels say that are not scientific names, as Camtrap DP names it."""

BLANKS: Final = frozenset({"empty", "blank", "nothing", "none", "background", "no animal"})
"""What labels of whole photographs say of those on which there is nothing; in lower case."""

_LIKE_A_NAME: Final = re.compile(r"[^\W\d_]{2,}( [^\W\d_]+(-[^\W\d_]+)*){0,2}")

_SECRET: Final = re.compile(r"[?&][^=&]*(sig|token|key|auth|pass|secret|cred|expires|policy)[^=&]*=|//[^/?#]*@", re.I)
"""What in a URL may let whoever has it read more than others may."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(kw_only=True, slots=True)
class Gaps:
    """What a format demands and nobody gave. In the end, all of it is said at once."""

    format: str
    # With it, what is missing is left out.
    partial: bool
    # A line each: what, and how to give it.
    lines: list[str] = field(default_factory=list)

    def note(self, what: str, how: str) -> None:
        """Something is missing."""
        self.lines.append(f"{what}: {how}")

    def left_out(self) -> list[str]:
        """What is left out for want of it. Raises `Incomplete` where nothing may be left out."""
        if self.lines and not self.partial:
            raise Incomplete(self.format, self.lines)
        return list(self.lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A session with the tables of an archive."""

    session: duckdb.DuckDBPyConnection
    # Those that have photographs in the archive, by their names.
    places: Mapping[str, Place]
    # First and last moment of the photographs of each.
    spans: Mapping[str, tuple[str, str]]
    # A line each.
    left_out: Sequence[str]
    notes: Sequence[str]

    def count(self, query: str) -> int:
        """The number that a query gives."""
        return int((self.session.execute(query).fetchone() or (0,))[0] or 0)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """A small table."""
        made = self.session.execute(query)
        names = [column[0] for column in made.description or ()]
        return [dict(zip(names, row, strict=True)) for row in made.fetchall()]


@contextmanager
def opened(
    material: Material, gaps: Gaps, *, judge: Callable[[Place], Iterable[str]] = lambda place: ()
) -> Iterator[Opened]:
    """A session with the tables of an archive. `gaps` has what the data set lacks; what places lack is added.

    `judge` says which values of a place the format cannot have; they are left out.

    Raises `Incomplete`, `InvalidInput` for results of several pipelines, and `Unavailable`.
    """
    pipelines.require_one(material)
    with material.session() as session, tempfile.TemporaryDirectory(prefix="antenna-archive-") as spilled:
        session.execute("SET temp_directory = ?", [spilled])
        of_the_dataset = len(gaps.lines)
        usable = _usable(material, session, gaps, judge)
        left_out = gaps.left_out()
        _with_labels(session)
        _register_names(material, session)
        _register_functions(material, session)
        _create(material, session, usable)
        spans = {
            name: (first, last)
            for name, first, last in session.execute(
                "SELECT deployment, arg_min(moment, captured_at), arg_max(moment, captured_at) FROM taken GROUP BY 1"
            ).fetchall()
        }
        if not spans:
            lacks = "".join(f"; {line}" for line in left_out[of_the_dataset:])
            raise errors.InvalidInput(f"{gaps.format}: no photograph is left to be written{lacks}")
        yield Opened(
            session=session,
            places={name: material.places[name] for name in sorted(spans)},
            spans=spans,
            left_out=[*left_out, *_boxes_left_out(session)],
            notes=_notes(material, session),
        )


def contacts(material: Material, gaps: Gaps) -> list[Contributor]:
    """The contributors that have a name; notes what is missing of them."""
    given = material.dataset.contributors
    for number, one in enumerate(given, 1):
        if not one.name:
            ask(gaps, material, f"the name of contributor {number}", "`family: …` or `organization: …`")
    named = [one for one in given if one.name]
    if not any("contact" in one.roles for one in named):
        ask(
            gaps, material, "a contact",
            "`contributors: [{given: …, family: …, organization: …, email: …, roles: [contact, rightsHolder]}]`",
        )  # fmt: skip
    return named


def ask(gaps: Gaps, material: Material, what: str, line: str) -> None:
    """Note that the description of the data set lacks something, which a line such as this one gives."""
    project = shlex.quote(material.selection.project or "…")
    gaps.note(what, f"{line} in dataset.yaml; `antenna projects set {project} --dataset dataset.yaml`, or --dataset")


def _usable(
    material: Material, session: duckdb.DuckDBPyConnection, gaps: Gaps, judge: Callable[[Place], Iterable[str]]
) -> list[str]:
    """The deployments whose photographs can be written; notes what the others lack."""
    project = shlex.quote(material.selection.project or "default")
    found = session.execute(
        "SELECT deployment, count(*), count(*) FILTER (captured_at IS NULL AND stamp IS NOT NULL),"
        " count(*) FILTER (captured_at IS NULL AND stamp IS NULL) FROM photographs GROUP BY 1 ORDER BY 1 NULLS LAST"
    ).fetchall()
    usable = []
    for name, number, zoneless, timeless in found:
        photographs = counted(number, "photograph")
        if name is None:
            gaps.note(
                f"the deployment of {photographs}",
                "submit them again with --deployment, or in a list with a column deployment",
            )
            continue
        place = material.places.get(name)
        quoted = shlex.quote(name)
        # Behind `--` a name may begin with a dash.
        last = f"--project {project} -- {quoted}`" if name.startswith("-") else f"--project {project}`"
        how = "`antenna deployments set" if name.startswith("-") else f"`antenna deployments set {quoted}"
        many = "`antenna deployments import sites.csv` sets many"
        if name in NO_VALUE:
            gaps.note(f"a name for deployment {name!r} ({photographs})", "readers take this one for a missing value")
        elif place is None or place.latitude is None or place.longitude is None:
            gaps.note(
                f"latitude and longitude of deployment {name} ({photographs})",
                f"{how} --latitude … --longitude … {last}; {many}",
            )
        else:
            usable.append(name)
            for fault in judge(place):
                gaps.note(f"deployment {name}, {fault}", "correct it in sites.csv, and import that again")
        if zoneless:
            gaps.note(
                f"the time zone of deployment {name} ({counted(zoneless, 'photograph')})",
                f"{how} --time-zone … {last}; {many}",
            )
        if timeless:
            gaps.note(
                f"the time of {counted(timeless, 'photograph')} of deployment {name}",
                "neither names nor EXIF data have one; submit them again in a list with a column captured_at",
            )
    return usable


def _with_labels(session: duckdb.DuckDBPyConnection) -> None:
    """Photographs with the labels of the whole photograph, which are null where no pipeline gives any."""
    there = session.table("photographs").columns
    lacks = [
        f"NULL::{kind} AS {name}"
        for name, kind in {"labels": "VARCHAR[]", "label_scores": "FLOAT[]", "label_algorithms": "VARCHAR[]"}.items()
        if name not in there
    ]
    session.execute(f"CREATE VIEW with_labels AS SELECT {', '.join(['*', *lacks])} FROM photographs")  # noqa: S608  # ours


def _register_names(material: Material, session: duckdb.DuckDBPyConnection) -> None:
    """What each determination is: `named`, a row a taxon."""
    found = session.execute(
        "SELECT taxon, max(rank), max(taxon_id) FROM observations WHERE counted AND taxon IS NOT NULL GROUP BY 1"
    ).fetchall()
    # Labels of whole photographs are names like others; nothing in the tables says more of them.
    labels = session.execute("SELECT DISTINCT unnest(labels) FROM with_labels").fetchall()
    known_so_far = {taxon for taxon, _, _ in found}
    found += [(label, None, None) for (label,) in sorted(labels) if label not in known_so_far]
    rows: list[Sequence[Any]] = []
    for taxon, rank, taxon_id in found:
        kind = _KINDS.get(taxon.casefold())
        match = material.names.match(taxon)
        known = match if match is not None and match.name == taxon else None
        is_name = rank is not None or known is not None or is_like_a_name(taxon)
        lineage = known.lineage if known else {}
        rows.append(
            [
                taxon,
                kind or ("animal" if is_name else "unknown"),
                one_line(taxon) if is_name and (kind is None or rank is not None) else None,
                (rank or (known.rank if known else None)) if is_name else None,
                taxon_address(taxon_id or (known.taxon_id if known else None)),
                known.vernacular if known else None,
                *(lineage.get(one) for one in RANKS_ABOVE),
            ]
        )
    names = ("taxon", "kind", "scientific_name", "taxon_rank", "taxon_id", "vernacular", *RANKS_ABOVE)
    create_table(session, "named", dict.fromkeys(names, "string"), rows)


def is_like_a_name(label: str) -> bool:
    """Whether a label that nobody explained reads as a scientific name: `Noctua`, `Noctua pronuba`."""
    genus, *epithets = label.split(" ")
    return (
        _LIKE_A_NAME.fullmatch(label) is not None
        and genus == genus.capitalize() != genus.lower()
        and all(word.islower() for word in epithets)
        and label.casefold() not in _KINDS
    )


def taxon_address(taxon_id: str | None) -> str | None:
    """The id of a taxon, a GBIF key as its address."""
    key = gbif_key(taxon_id)
    return f"https://www.gbif.org/species/{key}" if key else taxon_id


def one_line(text: str) -> str:
    """The text on one line, without control characters."""
    return _CONTROL.sub(" ", text)


def public_path(base: str, url: str) -> str:
    """Where readers find a photograph: its public address, else its path below the folder that all are in.

    Without what an archive may not have there: `..`, a leading `.`, `/` or `~`, control characters.
    """
    is_address = url.startswith(("http://", "https://")) and not signatures.is_signed(url) and not _SECRET.search(url)
    path = url if is_address else path_below(base, url)
    path = _CONTROL.sub(lambda found: f"%{ord(found.group()):02X}", path.replace("..", "%2E%2E"))
    return f"%{ord(path[0]):02X}{path[1:]}" if path.startswith((".", "/", "~")) else path


def _register_functions(material: Material, session: duckdb.DuckDBPyConnection) -> None:
    import pyarrow as pa

    base = material.base(session)

    # DuckDB evaluates the annotations, in the module.
    def paths(urls: Any) -> Any:
        return pa.array([public_path(base, url or "") for url in urls.to_pylist()], pa.string())

    def kinds(urls: Any) -> Any:
        return pa.array([_media_type(url or "") for url in urls.to_pylist()], pa.string())

    for name, function in (("public_path", paths), ("media_type", kinds)):
        session.create_function(name, function, ["VARCHAR"], "VARCHAR", type="arrow")


def _media_type(url: str) -> str:
    name = urlsplit(url).path if url.startswith("http") else url
    return MEDIA_TYPES.get(name.rpartition(".")[2].lower(), OTHER_MEDIA_TYPE)


def _create(material: Material, session: duckdb.DuckDBPyConnection, usable: Sequence[str]) -> None:
    create_table(session, "usable", {"deployment": "string"}, [[name] for name in usable])
    ends = [
        [job.job_id, job.finished_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")]
        for job in material.jobs
        if job.finished_at
    ]
    create_table(session, "ended", {"job_id": "int64", "ended": "string"}, ends)
    create_table(session, "blanks", {"label": "string"}, [[label] for label in sorted(BLANKS)])
    session.execute("SET VARIABLE owner = ?", [material.selection.project or ""])
    run_file(session, "archives.sql")


def create_table(
    session: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]
) -> None:
    """Make a table of rows; `columns` are names with pyarrow's types. Inserting row by row would take seconds."""
    import pyarrow as pa

    schema = pa.schema([pa.field(column, kind) for column, kind in columns.items()])
    values = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    made = pa.table([pa.array(of_column, field.type) for of_column, field in zip(values, schema, strict=True)], schema)
    session.register("rows_of_table", made)
    session.execute(f"CREATE TABLE {name} AS FROM rows_of_table")
    session.unregister("rows_of_table")


def run_file(session: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run the statements of a file beside this module."""
    session.execute(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _boxes_left_out(session: duckdb.DuckDBPyConnection) -> list[str]:
    sizeless, outside = session.execute(
        "SELECT count(*) FILTER (NOT has_size), count(*) FILTER (has_size AND NOT has_box) FROM seen"
    ).fetchone() or (0, 0)
    lines = []
    if sizeless:
        lines.append(f"{counted(sizeless, 'box', 'boxes')} on photographs whose size is not known")
    if outside:
        lines.append(f"{counted(outside, 'box', 'boxes')} outside of their photographs")
    return lines


def _notes(material: Material, session: duckdb.DuckDBPyConnection) -> list[str]:
    notes = []
    nameless = session.execute(
        "SELECT remark, count(*) FROM seen WHERE remark IS NOT NULL AND kind = 'unknown' GROUP BY 1 ORDER BY 2 DESC, 1"
    ).fetchall()
    if nameless:
        number = counted(sum(count for _, count in nameless), "observation")
        names = listed([label for label, _ in nameless])
        notes.append(f"{number} with labels that are not scientific names: {names}; `antenna taxa import` names them")
    if not material.is_complete:
        notes.append("not all jobs were over: these are the results so far")
    return notes


def id_of(material: Material) -> str:
    """The same for every export of this selection."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"antenna:{material.selection.project}:{material.selection.name}"))


def moment_of(local: datetime | None, place: Place) -> str | None:
    """A local time of a deployment with its offset; None where the zone is not known."""
    return local.replace(tzinfo=place.zone).isoformat(timespec="seconds") if local and place.zone else None
