"""What people say a detection is: read from a Label Studio export or a CSV file, and which of it counts.

Belongs here: what such files mean. Whether a detection exists is asked in `answers/reviews.py`.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import list_columns
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.times import in_utc
from antenna_orchestration.ecology import table_text

if TYPE_CHECKING:
    import pandas as pd

REJECTED: Final = "not an insect"
"""The label that says that a box shows no animal: dirt, a reflection, a piece of the sheet."""

_REJECTIONS: Final = frozenset({"notaninsect", "notananimal", "falsepositive"})
"""The spellings of it, without case, spaces, `_`, `-` and `.`. Each is kept as it was written."""

MOST_REVIEWS: Final = 1_000_000
"""Reviews in one file: they are held in memory."""

MOST_BYTES: Final = 512 * 2**20
"""Bytes of a file of reviews."""

MOST_CHARACTERS: Final = 200
"""Characters of a label, and of a reviewer's name."""

EARLIEST: Final = 1970
"""Year before which nobody reviewed pictures on a computer: a time before it is a clock or a column that is wrong."""

_OBSERVATION = re.compile(r"([1-9][0-9]{0,17})-([0-9]{1,18}-[0-9]{1,9})")
_DETECTION = re.compile(r"[0-9]{1,18}-[0-9]{1,9}")

_DELIMITERS: Final = ",;\t"

_COLUMNS: Final = {
    "detection": ("detectionid", "observationid", "detection", "observation"),
    "label": ("label", "taxon", "scientificname"),
    "reviewer": ("reviewer", "reviewedby", "identifiedby"),
    "time": ("reviewedat", "dateidentified"),
    "job": ("jobid", "job"),
}
"""Names of the columns; see `list_columns.key` for how they are compared. The first one that a file has is read."""


class Review(NamedTuple):
    """One person's word on one detection."""

    job_id: JobId
    detection_id: str
    label: str
    # Empty: the file does not say who it was.
    reviewer: str
    # In UTC; None: the file does not say when, so it is when it was imported.
    reviewed_at: datetime | None


class Given(NamedTuple):
    """A review with its place in the file, for messages: `line 3`."""

    review: Review
    place: str


@dataclass(kw_only=True, slots=True)
class Reading:
    """What a file says, and what whoever imports it should know of it."""

    given: list[Given] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rejects(label: str) -> bool:
    """Whether the label says that the box shows no animal."""
    return list_columns.key(label) in _REJECTIONS


def observation_id(job: JobId, detection: str) -> str:
    """The id of a detection that is unique across jobs, as tables and exports have it."""
    return f"{job}-{detection}"


def detection(text: str, *, job: JobId | None = None) -> tuple[JobId, str]:
    """The job and the detection that an id names, as in a file of reviews. Raises `InvalidInput`."""
    return _About(name="", job=job, reviewer="").detection(text, "the detection")


def newest(reviews: Iterable[Review]) -> pd.DataFrame:
    """The review of each detection that counts, sorted by job and detection.

    It is the one with the latest `reviewed_at`; of equal ones the last of `reviews`, which are in the order in which
    they were imported. Columns: job_id, detection_id, label, reviewer (null where it is empty), reviewed_at.
    """
    import pandas as pd

    found = pd.DataFrame(list(reviews), columns=list(Review._fields)).astype({"job_id": "int64"})
    found["reviewed_at"] = pd.to_datetime(found["reviewed_at"], utc=True).astype("datetime64[us, UTC]")
    found["reviewer"] = found["reviewer"].where(found["reviewer"] != "", None)
    keys = ["job_id", "detection_id"]
    last = found.sort_values("reviewed_at", kind="stable").drop_duplicates(keys, keep="last")
    return last.sort_values(keys, kind="stable").reset_index(drop=True)


def read(content: bytes, name: str, *, job: JobId | None = None, reviewer: str = "") -> Reading:
    """What a file of reviews says. `name` is for messages; `job` and `reviewer` hold where the file names none.

    Raises `InvalidInput` for a file that cannot be used, and `InvalidTable` with the place of each fault.
    """
    if len(content) > MOST_BYTES:
        raise errors.InvalidInput(f"{name} is larger than {MOST_BYTES // 2**20} MB: cut it up, and import the parts")
    try:
        text = table_text.decoded(content)
    except table_text.NotText as error:
        where = "" if error.line is None else f", line {error.line}"
        raise errors.InvalidInput(f"{name}{where}: {error.why}") from None
    if text.lstrip()[:1] not in ("[", "{"):
        about = _About(name=name, job=job, reviewer=reviewer)
        return _read_rows(_csv_rows(text, name), about)
    try:
        said = json.loads(text)
    # Not only `JSONDecodeError`: a number of more than 4,300 digits is another `ValueError`.
    except (ValueError, RecursionError) as error:
        raise errors.InvalidInput(f"{name} cannot be read as JSON: {error}") from None
    return read_objects(said, name, job=job, reviewer=reviewer)


def read_objects(said: Any, name: str, *, job: JobId | None = None, reviewer: str = "") -> Reading:
    """The same of JSON that was parsed: a Label Studio export, or a list of objects with the columns of a CSV file."""
    about = _About(name=name, job=job, reviewer=reviewer)
    objects = [said] if isinstance(said, dict) else said
    if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects):
        raise errors.InvalidInput(f"{name} is not a list of objects")
    if not any("annotations" in one for one in objects) and any(
        list_columns.key(column) in _COLUMNS["detection"] for one in objects for column in one
    ):
        return _read_rows(_object_rows(objects, name), about)
    return _read_label_studio(objects, about)


@dataclass(frozen=True, kw_only=True, slots=True)
class _About:
    """What was said of the file as a whole."""

    name: str
    job: JobId | None
    reviewer: str

    def detection(self, text: str, place: str, job: JobId | None = None) -> tuple[JobId, str]:
        """The job and the detection that an id names. Raises `InvalidInput`."""
        if found := _OBSERVATION.fullmatch(text):
            named, detection = JobId(int(found[1])), found[2]
            if job not in (None, named):
                raise errors.InvalidInput(f"{place}: {text!r} is of job {named}, not of job {job}")
            return named, detection
        if not _DETECTION.fullmatch(text):
            raise errors.InvalidInput(
                f"{place}: {text[:80]!r} is not a detection: <job>-<image>-<number>, such as 42-1007-0, is"
            )
        job = job or self.job
        if job is None:
            raise errors.InvalidInput(
                f"{place}: {text!r} does not say of which job it is: write <job>-{text}, or name the job with --job"
            )
        return job, text


@dataclass(kw_only=True, slots=True)
class _Kept:
    """The reviews of a file, and its faults, as they are found."""

    reading: Reading = field(default_factory=Reading)
    faults: list[str] = field(default_factory=list)
    # The first word of one person on a detection at one time.
    said: dict[tuple[Any, ...], Given] = field(default_factory=dict)

    def add(self, made: Callable[[], Given | None]) -> None:
        """Keep what `made` gives, or its fault."""
        try:
            one = made()
        except errors.InvalidInput as error:
            self.faults.append(str(error))
            return
        if one is None:
            return
        review = one.review
        before = self.said.setdefault((review.job_id, review.detection_id, review.reviewer, review.reviewed_at), one)
        if before.review.label != review.label:
            # Neither would be the newest.
            self.faults.append(
                f"{one.place}: detection {observation_id(review.job_id, review.detection_id)} is {review.label!r}, "
                f"but {before.review.label!r} in {before.place}; leave one, or say when each was said in a column "
                "reviewed_at"
            )
        self.reading.given.append(one)

    def all(self, name: str) -> Reading:
        """What a file says. Raises `InvalidTable` and `InvalidInput`."""
        if self.faults:
            raise errors.InvalidTable(name, self.faults)
        given = self.reading.given
        if len(given) > MOST_REVIEWS:
            raise errors.InvalidInput(f"{name} has more than {MOST_REVIEWS:,} reviews: cut it up, and import the parts")
        if not given:
            said = f": {'; '.join(self.reading.notes)}" if self.reading.notes else ""
            raise errors.InvalidInput(f"{name} has no review of a detection{said}")
        return self.reading


def _label(text: str, place: str) -> str:
    return _fit(text, place, "label")


def _fit(text: str, place: str, what: str) -> str:
    text = text.strip()
    if what == "label" and not text:
        raise errors.InvalidInput(f"{place}: no label; a box that shows no animal has the label {REJECTED!r}")
    if len(text) > MOST_CHARACTERS or not text.isprintable():
        raise errors.InvalidInput(f"{place}: a {what} is printable text of at most {MOST_CHARACTERS} characters")
    return text


def _moment(value: Any, place: str) -> datetime | None:
    """A time in UTC; one without a zone is taken as UTC. None for nothing. Raises `InvalidInput`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        said = in_utc(list_columns.parse_time(str(value)))
    except (ValueError, OverflowError):
        raise errors.InvalidInput(
            f"{place}: {str(value)[:80]!r} is not an ISO 8601 time such as 2026-06-01T23:15:00+02:00"
        ) from None
    if said.year < EARLIEST:
        raise errors.InvalidInput(f"{place}: {str(value)[:80]!r} lies before {EARLIEST}, when nobody reviewed yet")
    return said


# Rows


class _Row(NamedTuple):
    """A row of a table, with its place."""

    place: str
    cells: Sequence[str]


class _Table(NamedTuple):
    """A table before its rows are understood."""

    names: Sequence[str]
    rows: Iterable[_Row]


def _read_rows(table: _Table, about: _About) -> Reading:
    columns = _columns(table.names, about.name)
    kept = _Kept()
    for row in table.rows:
        kept.add(partial(_of_row, row, table.names, columns, about))
    return kept.all(about.name)


def _csv_rows(text: str, name: str) -> _Table:
    table = table_text.opened(text, _DELIMITERS)
    skipped = table.skipped
    reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=table.delimiter, strict=True)

    def rows() -> Iterator[_Row]:
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield _Row(f"line {reader.line_num + skipped}", cells)
        except csv.Error as error:
            raise errors.InvalidInput(f"{name}, line {reader.line_num + skipped}: {error}") from None

    made = rows()
    return _Table(next(made, _Row("", [])).cells, made)


def _object_rows(objects: Sequence[Mapping[str, Any]], file: str) -> _Table:
    names = list(dict.fromkeys(name for one in objects for name in one))
    read = {name for name in names if any(list_columns.key(name) in known for known in _COLUMNS.values())}

    def cell(number: int, name: str, value: Any) -> str:
        if name not in read or value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            raise errors.InvalidInput(f"{file}: row {number}, {name}: {str(value)[:80]} is neither text nor a number")
        return str(value)

    return _Table(
        names,
        (
            _Row(f"row {number}", [cell(number, name, one.get(name)) for name in names])
            for number, one in enumerate(objects, 1)
        ),
    )


def _columns(names: Sequence[str], file: str) -> dict[str, int]:
    places = {list_columns.key(name): index for index, name in reversed(list(enumerate(names)))}
    found = {
        what: places[next(name for name in known if name in places)]
        for what, known in _COLUMNS.items()
        if not places.keys().isdisjoint(known)
    }
    missing = [name for what, name in (("detection", "detection_id"), ("label", "label")) if what not in found]
    if missing:
        has = ", ".join(names)[:500] or "none"
        raise errors.InvalidInput(f"{file} has no column {' and no column '.join(missing)}; its columns: {has}")
    return found


def _of_row(row: _Row, names: Sequence[str], columns: Mapping[str, int], about: _About) -> Given:
    if any(row.cells[len(names) :]):
        raise errors.InvalidInput(f"{row.place}: more cells than the header has columns; is a separator not quoted?")

    def cell(what: str) -> tuple[str, str]:
        """The text, and its place."""
        index = columns.get(what)
        if index is None:
            return "", row.place
        text = row.cells[index].strip() if index < len(row.cells) else ""
        return text, f"{row.place}, {names[index].strip()}"

    job = _job(*cell("job"))
    job_id, detection = about.detection(*cell("detection"), job)
    review = Review(
        job_id=job_id,
        detection_id=detection,
        label=_label(*cell("label")),
        reviewer=_fit(*cell("reviewer"), "reviewer") or about.reviewer,
        reviewed_at=_moment(*cell("time")),
    )
    return Given(review, row.place)


def _job(text: str, place: str) -> JobId | None:
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise errors.InvalidInput(f"{place}: {text[:80]!r} is not the number of a job")
    return JobId(int(text))


# Label Studio


@dataclass(slots=True)
class _Counts:
    """What of an export is not a review."""

    drawn: int = 0
    deleted: int = 0
    unlabelled: int = 0
    skipped: int = 0


def _read_label_studio(tasks: Sequence[Mapping[str, Any]], about: _About) -> Reading:
    counts = _Counts()
    kept = _Kept()
    for number, task in enumerate(tasks, 1):
        place = f"task {task.get('id', number)}"
        if not isinstance(task.get("annotations"), list):
            raise errors.InvalidInput(
                f"{about.name}, {place}: no list `annotations`; export from Label Studio as JSON, not JSON-MIN"
            )
        for annotation in task["annotations"]:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
                raise errors.InvalidInput(f"{about.name}, {place}: an annotation without a list `result`")
            if annotation.get("was_cancelled"):
                counts.skipped += 1
                continue
            for made in _of_annotation(annotation, task, place, about, counts):
                kept.add(made)
    kept.reading.notes += [
        said
        for number, said in (
            (counts.deleted, f"{counted(counts.deleted, 'box', 'boxes')} that reviewers deleted: {REJECTED}"),
            (counts.drawn, f"{counted(counts.drawn, 'box', 'boxes')} that reviewers drew: no detections, left out"),
            (counts.unlabelled, f"{counted(counts.unlabelled, 'box', 'boxes')} without a label: left out"),
            (counts.skipped, f"{counted(counts.skipped, 'task')} that reviewers skipped: left out"),
        )
        if number
    ]
    return kept.all(about.name)


def _of_annotation(
    annotation: Mapping[str, Any], task: Mapping[str, Any], place: str, about: _About, counts: _Counts
) -> Iterator[Callable[[], Given | None]]:
    regions = _regions(annotation["result"])
    of_region = partial(_of_region, annotation=annotation, task=task, about=about, counts=counts)
    for region, answers in regions.items():
        if _is_ours(region):
            yield partial(of_region, region, answers, place=f"{place}, region {region}")
        else:
            counts.drawn += 1
    # Whoever starts with the predicted boxes and deletes one says that there is nothing.
    for region in _regions(_predicted(annotation, task)):
        if region not in regions and _is_ours(region):
            counts.deleted += 1
            yield partial(of_region, region, None, place=f"{place}, region {region}")


def _of_region(
    region: str,
    answers: Sequence[Mapping[str, Any]] | None,
    *,
    annotation: Mapping[str, Any],
    task: Mapping[str, Any],
    place: str,
    about: _About,
    counts: _Counts,
) -> Given | None:
    """The review of a region; None without a label. `answers` is None for one that was deleted."""
    data = task.get("data")
    job = _job(str(data["job_id"]), f"{place}, job_id") if isinstance(data, dict) and data.get("job_id") else None
    label = REJECTED if answers is None else _chosen(answers, place)
    if not label:
        counts.unlabelled += 1
        return None
    job_id, detection = about.detection(region, place, job)
    review = Review(
        job_id=job_id,
        detection_id=detection,
        label=_label(label, place),
        reviewer=_fit(_reviewer(annotation.get("completed_by"), about), f"{place}, completed_by", "reviewer"),
        reviewed_at=_moment(annotation.get("updated_at") or annotation.get("created_at"), f"{place}, updated_at"),
    )
    return Given(review, place)


def _is_ours(region: str) -> bool:
    """Whether it is a detection's id; those that Label Studio makes for new boxes have no such form."""
    return bool(_OBSERVATION.fullmatch(region) or _DETECTION.fullmatch(region))


def _regions(result: Sequence[Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The answers by region; relations and answers on the whole photograph are of none."""
    regions: dict[str, list[Mapping[str, Any]]] = {}
    for one in result:
        if isinstance(one, dict) and isinstance(one.get("id"), str) and _is_on_a_box(one):
            regions.setdefault(one["id"], []).append(one)
    return regions


def _is_on_a_box(answer: Mapping[str, Any]) -> bool:
    """Or on an outline."""
    value = answer.get("value")
    return isinstance(value, dict) and ("points" in value or {"x", "y", "width", "height"} <= value.keys())


def _predicted(annotation: Mapping[str, Any], task: Mapping[str, Any]) -> list[Any]:
    """The result of the prediction that an annotation began with; empty if it began with none, or it is not there."""
    parent = annotation.get("parent_prediction")
    if parent is None:
        return []
    listed = task.get("predictions")
    known = [annotation.get("prediction"), *(listed if isinstance(listed, list) else [])]
    for one in known:
        if isinstance(one, dict) and one.get("id", parent) == parent and isinstance(one.get("result"), list):
            return list(one["result"])
    return []


def _chosen(answers: Sequence[Mapping[str, Any]], place: str) -> str:
    """The label of a region: the choice or the taxon, otherwise that of its box or outline; empty without any.

    Raises `InvalidInput` for several.
    """
    for kind in ("choices", "taxonomy", "rectanglelabels", "polygonlabels"):
        given = [one["value"].get(kind) or [] for one in answers if one.get("type") == kind]
        values = [value for one in given for value in (one if isinstance(one, list) else [one])]
        # A taxon is the way to it, from the coarsest name.
        labels = {str(value[-1]) if isinstance(value, list) and value else str(value) for value in values}
        if len(labels) > 1:
            said = ", ".join(sorted(labels))[:200]
            raise errors.InvalidInput(f"{place}: {len(labels)} labels ({said}); a detection has one")
        if labels:
            return labels.pop()
    return ""


def _reviewer(who: Any, about: _About) -> str:
    """The name of whoever completed an annotation; exports have a number, or a record of the person."""
    if isinstance(who, dict):
        name = " ".join(str(who[part]) for part in ("first_name", "last_name") if who.get(part))
        if said := name or who.get("username") or who.get("email"):
            return str(said)
        who = who.get("id")
    return about.reviewer or ("" if who is None else f"Label Studio user {who}")
