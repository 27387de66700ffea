"""What people say a detection is: read from a Label Studio export or a CSV file, and which of it counts.

Belongs here: what such files mean. Whether a detection exists is asked in `processing/reviews.py`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.domain import list_columns
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.domain.times import in_utc

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
    """A review with its place in the file, for messages: `reviews.csv, row 3`."""

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

    Raises `InvalidInput` for the first thing that cannot be used, with its place.
    """
    if len(content) > MOST_BYTES:
        raise errors.InvalidInput(f"{name} is larger than {MOST_BYTES // 2**20} MB: cut it up, and import the parts")
    try:
        is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = content.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise errors.InvalidInput(f"{name}, line {line}: not UTF-8 text; save it as UTF-8") from None
    about = _About(name=name, job=job, reviewer=reviewer)
    reading = Reading()
    rows = _of_label_studio(text, about, reading) if text.lstrip()[:1] in ("[", "{") else _of_csv(text, about)
    for given in rows:
        if len(reading.given) == MOST_REVIEWS:
            raise errors.InvalidInput(f"{name} has more than {MOST_REVIEWS:,} reviews: cut it up, and import the parts")
        reading.given.append(given)
    if not reading.given:
        said = f": {'; '.join(reading.notes)}" if reading.notes else ""
        raise errors.InvalidInput(f"{name} has no review of a detection{said}")
    _check_contradictions(reading.given)
    return reading


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
                f"{place}: {text[:80]!r} is no detection: <job>-<image>-<number>, such as 42-1007-0, is"
            )
        job = job or self.job
        if job is None:
            raise errors.InvalidInput(
                f"{place}: {text!r} does not say of which job it is: write <job>-{text}, or name the job with --job"
            )
        return job, text


def _check_contradictions(given: Sequence[Given]) -> None:
    """Raise `InvalidInput` where one person says two things of a detection at one time: neither would be the newest."""
    said: dict[tuple[Any, ...], Given] = {}
    for one in given:
        review = one.review
        before = said.setdefault((review.job_id, review.detection_id, review.reviewer, review.reviewed_at), one)
        if before.review.label != review.label:
            raise errors.InvalidInput(
                f"{one.place}: detection {observation_id(review.job_id, review.detection_id)} is {review.label!r}, "
                f"but {before.review.label!r} in {before.place.rpartition(', ')[2]}; leave one, or say when each was "
                "said in a column reviewed_at"
            )


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
        return in_utc(list_columns.parse_time(str(value)))
    except (ValueError, OverflowError):
        raise errors.InvalidInput(
            f"{place}: {str(value)[:80]!r} is not an ISO 8601 time such as 2026-06-01T23:15:00+02:00"
        ) from None


# CSV


def _of_csv(text: str, about: _About) -> Iterator[Given]:
    lines = io.StringIO(text, newline="")
    header = next((line for line in lines if line.strip()), "")
    # Spreadsheets write semicolons in countries where the comma is the decimal sign.
    delimiter = max(_DELIMITERS, key=header.count)
    skipped = text[: text.find(header)].count("\n")
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True)
    try:
        names = next(reader, [])
        columns = _columns(names, about.name)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _row(cells, names, columns, about, f"{about.name}, line {reader.line_num + skipped}")
    except csv.Error as error:
        raise errors.InvalidInput(f"{about.name}, line {reader.line_num + skipped}: {error}") from None


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


def _row(cells: Sequence[str], names: Sequence[str], columns: Mapping[str, int], about: _About, line: str) -> Given:
    if len(cells) > len(names) and any(cells[len(names) :]):
        raise errors.InvalidInput(f"{line}: more cells than the header has columns; is a separator not quoted?")

    def cell(what: str) -> tuple[str, str]:
        """The text, and its place."""
        index = columns.get(what)
        if index is None:
            return "", line
        return cells[index].strip() if index < len(cells) else "", f"{line}, {names[index].strip()}"

    job = _job(*cell("job"))
    job_id, detection = about.detection(*cell("detection"), job)
    review = Review(
        job_id=job_id,
        detection_id=detection,
        label=_label(*cell("label")),
        reviewer=_fit(*cell("reviewer"), "reviewer") or about.reviewer,
        reviewed_at=_moment(*cell("time")),
    )
    return Given(review, line)


def _job(text: str, place: str) -> JobId | None:
    if not text:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,17}", text):
        raise errors.InvalidInput(f"{place}: {text[:80]!r} is no number of a job")
    return JobId(int(text))


# Label Studio


@dataclass(slots=True)
class _Counts:
    """What of an export is no review."""

    drawn: int = 0
    deleted: int = 0
    unlabelled: int = 0
    skipped: int = 0


def _of_label_studio(text: str, about: _About, reading: Reading) -> Iterator[Given]:
    try:
        tasks = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise errors.InvalidInput(f"{about.name} cannot be read as JSON: {error}") from None
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    counts = _Counts()
    for number, task in enumerate(tasks, 1):
        place = f"{about.name}, task {task.get('id', number) if isinstance(task, dict) else number}"
        if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
            raise errors.InvalidInput(f"{place}: no list `annotations`; export from Label Studio as JSON, not JSON-MIN")
        for annotation in task["annotations"]:
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
                raise errors.InvalidInput(f"{place}: an annotation without a list `result`")
            if annotation.get("was_cancelled"):
                counts.skipped += 1
                continue
            yield from _of_annotation(annotation, task, place, about, counts)
    reading.notes += [
        said
        for number, said in (
            (counts.deleted, f"{counted(counts.deleted, 'box', 'boxes')} that reviewers deleted: {REJECTED}"),
            (counts.drawn, f"{counted(counts.drawn, 'box', 'boxes')} that reviewers drew: no detections, left out"),
            (counts.unlabelled, f"{counted(counts.unlabelled, 'box', 'boxes')} without a label: left out"),
            (counts.skipped, f"{counted(counts.skipped, 'task')} that reviewers skipped: left out"),
        )
        if number
    ]


def _of_annotation(
    annotation: Mapping[str, Any], task: Mapping[str, Any], place: str, about: _About, counts: _Counts
) -> Iterator[Given]:
    data = task.get("data")
    job = _job(str(data["job_id"]), f"{place}, job_id") if isinstance(data, dict) and data.get("job_id") else None
    who = _fit(_reviewer(annotation.get("completed_by"), about), f"{place}, completed_by", "reviewer")
    when = _moment(annotation.get("updated_at") or annotation.get("created_at"), f"{place}, updated_at")
    regions = _regions(annotation["result"])
    for region, answers in regions.items():
        where = f"{place}, region {region[:80]}"
        if not _is_ours(region):
            counts.drawn += 1
        elif label := _chosen(answers, where):
            job_id, detection = about.detection(region, where, job)
            yield Given(Review(job_id, detection, _label(label, where), who, when), where)
        else:
            counts.unlabelled += 1
    # Whoever starts with the predicted boxes and deletes one says that there is nothing.
    for region in _regions(_predicted(annotation, task)):
        if region not in regions and _is_ours(region):
            where = f"{place}, region {region[:80]}"
            job_id, detection = about.detection(region, where, job)
            counts.deleted += 1
            yield Given(Review(job_id, detection, REJECTED, who, when), where)


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
    return isinstance(answer.get("value"), dict) and {"x", "y", "width", "height"} <= answer["value"].keys()


def _predicted(annotation: Mapping[str, Any], task: Mapping[str, Any]) -> list[Any]:
    """The result of the prediction that an annotation began with; empty if it began with none, or it is not there."""
    parent = annotation.get("parent_prediction")
    if parent is None:
        return []
    known = [annotation.get("prediction"), *(task.get("predictions") or [])]
    for one in known:
        if isinstance(one, dict) and one.get("id", parent) == parent and isinstance(one.get("result"), list):
            return list(one["result"])
    return []


def _chosen(answers: Sequence[Mapping[str, Any]], place: str) -> str:
    """The label of a region: the choice or the taxon, otherwise the box's own label; empty without any.

    Raises `InvalidInput` for several.
    """
    for kind in ("choices", "taxonomy", "rectanglelabels"):
        values = [value for one in answers if one.get("type") == kind for value in one["value"].get(kind) or []]
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
