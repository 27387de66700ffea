"""What a report says, read from the derived tables: numbers of one pipeline, and which crops to show.

Everything is added up by DuckDB, so that a million detections need seconds and little memory. Results of different
pipelines are never added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from antenna_orchestration.exports.boxes import SHAPES

if TYPE_CHECKING:
    import duckdb

MOST_SPANS: Final = 366
"""Nights at a deployment that a report lists; the tables have all."""

MOST_REASONS: Final = 15
MOST_TAXA: Final = 200
"""Taxa in the report's table; the tables have all."""

BINS: Final = 20
"""Columns of a histogram."""

_BOX: Final = "greatest(x2 - x1, y2 - y1)"

_ATTRIBUTES: Final = """
WITH said AS (
    SELECT unnest(map_entries(attributes::JSON::MAP(VARCHAR, JSON))) AS said FROM {table}
    WHERE pipeline = ? AND attributes IS NOT NULL
), known AS (
    SELECT said.key AS name, said.value->>'$' AS value,
        CASE WHEN json_type(said.value) IN ('DOUBLE', 'BIGINT', 'UBIGINT') THEN said.value::DOUBLE END AS number
    FROM said
), frequent AS (
    SELECT name, value, count(*) AS n FROM known GROUP BY ALL
), usual AS (
    SELECT name, count(*) AS "values", max_by(value, (n, value)) AS usual FROM frequent GROUP BY name
)
SELECT name, count(*) AS n, CASE WHEN bool_and(number IS NOT NULL) THEN min(number) END,
    CASE WHEN bool_and(number IS NOT NULL) THEN median(number) END,
    CASE WHEN bool_and(number IS NOT NULL) THEN max(number) END, any_value("values"), any_value(usual)
FROM known JOIN usual USING (name) GROUP BY name ORDER BY n DESC, name
"""
"""Each attribute with its values. An attribute that is a number in some rows only is taken for texts."""


class Taxon(NamedTuple):
    """How often a taxon was found. None: what it is, is not known."""

    name: str | None
    rank: str | None
    detections: int
    photographs: int
    # The most on one photograph.
    max_n: int
    # Nights at deployments.
    nights: int
    tracks: int | None
    best_score: float | None
    first_night: date | None


class Hour(NamedTuple):
    """An hour of the day, from 12 to 11."""

    hour: int
    detections: int
    # Photographs that were processed.
    photographs: int


class NightSum(NamedTuple):
    """A night, or a month of nights, over all deployments."""

    night: date
    detections: int
    # Photographs that were processed.
    photographs: int
    deployments: int


class Bin(NamedTuple):
    """A column of a histogram."""

    start: float
    end: float
    detections: int


class Site(NamedTuple):
    """What there is of a deployment; None: photographs without one."""

    deployment: str | None
    nights: int
    photographs: int
    failed: int
    empty: int
    detections: int
    first: date | None
    last: date | None


class Pick(NamedTuple):
    """A crop to show: one detection of a taxon."""

    taxon: str
    # `best`, `median` or `least sure`; `one of them` where all that are shown are equally sure.
    kind: str
    # Columns of the observation.
    row: Mapping[str, Any]


class PhotoLabel(NamedTuple):
    """What photographs as a whole are said to show."""

    label: str
    # With this label, and with it as the best of theirs.
    photographs: int
    best: int
    score: float | None


class Attribute(NamedTuple):
    """What a pipeline says of detections or of photographs beside names."""

    # `detections` or `photographs`.
    of: str
    name: str
    number: int
    # None: its values are not numbers.
    least: float | None
    median: float | None
    most: float | None
    # How many different ones there are, and the most frequent.
    values: int
    usual: str


class Reason(NamedTuple):
    """Why photographs failed."""

    reason: str
    photographs: int
    example: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Everything about one pipeline."""

    pipeline: str
    photographs: int
    done: int
    failed: int
    # Processed, and nothing found.
    empty: int
    # Without a night.
    timeless: int
    first: date | None
    last: date | None
    # All detections, and those that the counts include.
    detections: int
    counted: int
    taxa: Sequence[Taxon]
    hours: Sequence[Hour]
    # Without a local time, and so in no hour.
    hourless: int
    nights: Sequence[NightSum]
    sites: Sequence[Site]
    # Rows of the table `nights` that have a first photograph, in order; at most `MOST_SPANS`.
    coverage: Sequence[Mapping[str, Any]]
    coverage_rows: int
    sizes: Sequence[Bin]
    # `mm` or `pixels`.
    size_unit: str
    sized: int
    scores: Sequence[Bin]
    detector_scores: Sequence[Bin]
    reasons: Sequence[Reason]
    # How determinations came about, and why detections are not counted, with numbers.
    sources: Mapping[str, int]
    left_out: Mapping[str, int]
    # Determined by people; how many each classifier's label stands for which determination of theirs. None: no animal.
    reviewed: int
    judged: Mapping[tuple[str, str | None], int]
    # Key, version, and what it did: `detector` or `classifier`.
    models: Sequence[tuple[str, str | None, str]]
    zoneless: int
    # Photographs that have labels of their own, and these labels, most frequent first.
    labelled: int
    photo_labels: Sequence[PhotoLabel]
    # Detections with an outline, and with a rotated box.
    outlined: int
    rotated: int
    attributes: Sequence[Attribute]

    @property
    def named(self) -> list[Taxon]:
        """The taxa that have a name."""
        return [one for one in self.taxa if one.name is not None]

    @property
    def accumulated(self) -> list[tuple[date, int]]:
        """Of each night, how many taxa were found until then."""
        firsts = [one.first_night for one in self.named if one.first_night is not None]
        found = 0
        by_night: list[tuple[date, int]] = []
        new: dict[date, int] = {}
        for night in firsts:
            new[night] = new.get(night, 0) + 1
        for one in self.nights:
            found += new.get(one.night, 0)
            by_night.append((one.night, found))
        return by_night

    @property
    def once(self) -> int:
        """Taxa that were found in one night at one deployment only."""
        return sum(one.nights == 1 for one in self.named)


def pipelines(session: duckdb.DuckDBPyConnection) -> list[str]:
    """The pipelines of the selection, by name."""
    return [one for (one,) in session.execute("SELECT DISTINCT pipeline FROM photographs ORDER BY 1").fetchall()]


def read(session: duckdb.DuckDBPyConnection, pipeline: str) -> Facts:
    """The facts of a pipeline; `session` is a material's."""

    def ask(query: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = session.execute(query, [pipeline] * query.count("?")).fetchall()
        return rows

    [(photographs, done, failed, empty, timeless, first, last)] = ask(
        "SELECT count(*), count(*) FILTER (status = 'done'), count(*) FILTER (status = 'failed'),"
        " count(*) FILTER (status = 'done' AND detections = 0), count(*) FILTER (night IS NULL), min(night), max(night)"
        " FROM photographs WHERE pipeline = ?"
    )
    [(detections, counted, hourless, sized_mm, reviewed)] = ask(
        "SELECT count(*), count(*) FILTER (counted), count(*) FILTER (counted AND local_time IS NULL),"
        " count(*) FILTER (counted AND length_mm IS NOT NULL), count(*) FILTER (reviewed_at IS NOT NULL)"
        " FROM observations WHERE pipeline = ?"
    )
    taxa = [
        Taxon(*row)
        for row in ask(
            "SELECT taxon, any_value(rank), sum(detections)::BIGINT, sum(photographs)::BIGINT, max(max_n), count(*),"
            " sum(tracks)::BIGINT, max(best_score), min(night)"
            " FROM counts WHERE pipeline = ? GROUP BY taxon ORDER BY 3 DESC, 1 NULLS LAST"
        )
    ]
    size, unit = ("length_mm", "mm") if sized_mm else (_BOX, "pixels")
    # Tables of plain boxes lack these columns.
    of_photographs = set(session.table("photographs").columns)
    of_detections = set(session.table("observations").columns)
    models = ask(
        "SELECT key, version, kind FROM ("
        " SELECT detector AS key, detector_version AS version, 'detector' AS kind, count(*) AS n"
        " FROM observations WHERE pipeline = ? GROUP BY ALL UNION ALL"
        " SELECT classifier, classifier_version, 'classifier', count(*) FROM observations WHERE pipeline = ? GROUP BY"
        " ALL) WHERE key IS NOT NULL ORDER BY kind DESC, n DESC, key, version"
    )
    return Facts(
        pipeline=pipeline,
        photographs=photographs,
        done=done,
        failed=failed,
        empty=empty,
        timeless=timeless,
        first=first,
        last=last,
        detections=detections,
        counted=counted,
        taxa=taxa,
        hours=_hours(ask),
        hourless=hourless,
        nights=_nights(ask),
        sites=[
            Site(*row)
            for row in ask(
                "SELECT deployment, count(DISTINCT night), count(*), count(*) FILTER (status = 'failed'),"
                " count(*) FILTER (status = 'done' AND detections = 0), coalesce(sum(detections), 0)::BIGINT,"
                " min(night), max(night) FROM photographs WHERE pipeline = ?"
                " GROUP BY deployment ORDER BY deployment NULLS LAST"
            )
        ],
        coverage=_coverage(session, pipeline),
        coverage_rows=ask("SELECT count(*) FROM nights WHERE pipeline = ? AND first IS NOT NULL")[0][0],
        sizes=_histogram(ask, size, "counted"),
        size_unit=unit,
        sized=sized_mm or counted,
        scores=_histogram(ask, "score", "counted AND source <> 'human'", unit=True),
        detector_scores=_histogram(ask, "detector_score", "counted", unit=True),
        reasons=[
            Reason(*row)
            for row in ask(
                "SELECT coalesce(reason, 'no reason given'), count(*), min(url) FROM photographs"
                " WHERE pipeline = ? AND status = 'failed' GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        ],
        sources=dict(
            ask(
                "SELECT source, count(*) FROM observations WHERE pipeline = ? AND counted AND source IS NOT NULL"
                " GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        ),
        left_out=dict(
            ask(
                "SELECT flag, count(*) FROM (SELECT unnest(flags) AS flag FROM observations WHERE pipeline = ?"
                " AND NOT counted) GROUP BY 1 ORDER BY 2 DESC, 1"
            )
        ),
        reviewed=reviewed,
        judged={
            (label, taxon): number
            for label, taxon, number in ask(
                "SELECT label, CASE WHEN counted THEN taxon END, count(*) FROM observations WHERE pipeline = ?"
                " AND reviewed_at IS NOT NULL AND label IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2 NULLS LAST"
            )
        },
        models=[(key, version, kind) for key, version, kind in models],
        zoneless=ask("SELECT count(*) FROM nights WHERE pipeline = ? AND zone IS NULL AND first IS NOT NULL")[0][0],
        labelled=_number(ask, "photographs", "len(labels) > 0") if "labels" in of_photographs else 0,
        photo_labels=_photo_labels(ask) if "labels" in of_photographs else [],
        outlined=_number(ask, "observations", "mask IS NOT NULL") if "mask" in of_detections else 0,
        rotated=_number(ask, "observations", "rotated_angle IS NOT NULL") if "rotated_angle" in of_detections else 0,
        attributes=[
            *(_attributes(ask, "observations", "detections") if "attributes" in of_detections else ()),
            *(_attributes(ask, "photographs", "photographs") if "attributes" in of_photographs else ()),
        ],
    )


def _number(ask: Any, table: str, where: str) -> int:
    return int(ask(f"SELECT count(*) FROM {table} WHERE pipeline = ? AND {where}")[0][0])  # noqa: S608  # of this module


def _photo_labels(ask: Any) -> list[PhotoLabel]:
    return [
        PhotoLabel(*row)
        for row in ask(
            "WITH one AS (SELECT image_id, unnest(labels) AS label, unnest(label_scores) AS score,"
            " generate_subscripts(labels, 1) AS place FROM photographs WHERE pipeline = ?)"
            " SELECT label, count(DISTINCT image_id), count(*) FILTER (place = 1), avg(score)"
            " FROM one GROUP BY label ORDER BY 2 DESC, 1"
        )
    ]


def _attributes(ask: Any, table: str, of: str) -> list[Attribute]:
    return [Attribute(of, *row) for row in ask(_ATTRIBUTES.format(table=table))]


def _hours(ask: Any) -> list[Hour]:
    found = dict(
        ask(
            "SELECT hour(local_time), count(*) FROM observations WHERE pipeline = ? AND counted"
            " AND local_time IS NOT NULL GROUP BY 1"
        )
    )
    taken = dict(
        ask(
            "SELECT hour(local_time), count(*) FROM photographs WHERE pipeline = ? AND status = 'done'"
            " AND local_time IS NOT NULL GROUP BY 1"
        )
    )
    if not taken:
        return []
    return [Hour(one % 24, found.get(one % 24, 0), taken.get(one % 24, 0)) for one in range(12, 36)]


def _nights(ask: Any) -> list[NightSum]:
    return [
        NightSum(*row)
        for row in ask(
            "WITH caught AS (SELECT night, sum(detections)::BIGINT AS n FROM counts WHERE pipeline = ? GROUP BY night)"
            " SELECT night, coalesce(any_value(caught.n), 0), sum(done)::BIGINT, count(DISTINCT deployment)"
            " FROM nights LEFT JOIN caught USING (night) WHERE nights.pipeline = ? AND night IS NOT NULL"
            " GROUP BY night ORDER BY night"
        )
    ]


def _coverage(session: duckdb.DuckDBPyConnection, pipeline: str) -> list[dict[str, Any]]:
    rows = session.execute(
        "SELECT deployment, night, first, last, expected, found, done, failed, empty, detections, interval_seconds,"
        " gaps, longest_gap_seconds, sunset, sunrise, zone, same_time FROM nights"
        " WHERE pipeline = ? AND first IS NOT NULL ORDER BY deployment NULLS LAST, night LIMIT ?",
        [pipeline, MOST_SPANS],
    )
    names = [one[0] for one in rows.description]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _histogram(ask: Any, value: str, where: str, *, unit: bool = False) -> list[Bin]:
    """How many values fall into each of `BINS` even intervals: from 0 to 1, or from 0 to beyond nearly all values.

    The last one then has all that is longer, so that a single giant does not squeeze all others into one column.
    """
    known = f"FROM observations WHERE pipeline = ? AND {where} AND isfinite({value})"
    end = 1.0
    if not unit:
        [(most,)] = ask(f"SELECT quantile_disc({value}, 0.99) {known}")  # texts of this module
        if most is None:
            return []
        end = _round_up(float(most))
    bins = dict(
        ask(
            f"SELECT least(greatest(floor({value} / {end / BINS!r} + 1e-6), 0), {BINS - 1})::INT, count(*) {known}"
            " GROUP BY 1"
        )
    )
    if not bins:
        return []
    return [Bin(end * one / BINS, end * (one + 1) / BINS, bins.get(one, 0)) for one in range(BINS)]


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 10, 20, 40, 50, … that is above the value."""
    size = 1.0
    while size * 10 <= value:
        size *= 10
    while size > value:
        size /= 10
    return next((factor * size for factor in (1, 2, 4, 5) if factor * size > value), 10 * size)


def picks(session: duckdb.DuckDBPyConnection, pipeline: str, taxa: Sequence[str]) -> list[Pick]:
    """Of each taxon the best, the median and the least sure detection: three different ones, if there are three.

    What a person determined is the surest. All detections of a track have its score; then the classifier's decides.
    """
    if not taxa:
        return []
    rows = session.execute(
        "WITH scored AS (SELECT taxon, CASE WHEN source = 'human' THEN 1 ELSE coalesce(score, detector_score, 0) END"
        " AS sure, {'sure': sure, 'label': coalesce(label_score, 0), 'id': observation_id} AS one FROM observations"
        " WHERE pipeline = ? AND counted AND list_contains(?, taxon))"
        " SELECT taxon, max(one), quantile_disc(one, 0.5), min(one) FROM scored GROUP BY taxon",
        [pipeline, list(taxa)],
    ).fetchall()
    by_taxon = {taxon: _kinds(best, median, least) for taxon, best, median, least in rows}
    wanted = [id_ for chosen in by_taxon.values() for _, id_ in chosen]
    found = session.execute(
        "SELECT observation_id, image_id, detection_id, url, deployment, local_time, taxon, score, detector_score,"
        " source, x1, y1, x2, y2 FROM observations WHERE pipeline = ? AND list_contains(?, observation_id)",
        [pipeline, wanted],
    )
    names = [one[0] for one in found.description]
    observations = {row[0]: dict(zip(names, row, strict=True)) for row in found.fetchall()}
    return [
        Pick(taxon, kind, observations[id_])
        for taxon in taxa
        for kind, id_ in by_taxon.get(taxon, [])
        if id_ in observations
    ]


def _kinds(best: Mapping[str, Any], median: Mapping[str, Any], least: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What each is called, with its id, each once; people see two digits of how sure it is."""
    kinds = {one["id"]: kind for kind, one in (("median", median), ("least sure", least), ("best", best))}
    if len(kinds) > 1 and round(best["sure"], 2) == round(least["sure"], 2):
        kinds = dict.fromkeys(kinds, "one of them")
    return [(kinds[id_], id_) for id_ in dict.fromkeys((best["id"], median["id"], least["id"]))]


def boxes(
    session: duckdb.DuckDBPyConnection, pipeline: str, images: Sequence[int]
) -> dict[int, list[Mapping[str, Any]]]:
    """What was found on these photographs and is counted, by photograph."""
    if not images:
        return {}
    there = session.table("observations").columns
    shapes = "".join(f", {one}" for one in SHAPES if one in there)
    found = session.execute(
        f"SELECT image_id, x1, y1, x2, y2, taxon, coalesce(score, detector_score) AS score{shapes} FROM observations"  # noqa: S608  # names of columns
        " WHERE pipeline = ? AND counted AND list_contains(?, image_id)",
        [pipeline, list(images)],
    )
    names = [one[0] for one in found.description]
    by_image: dict[int, list[Mapping[str, Any]]] = {}
    for row in found.fetchall():
        by_image.setdefault(row[0], []).append(dict(zip(names, row, strict=True)))
    return by_image


def share_of_day(moment: datetime, night: date) -> float:
    """Where a local time lies between noon of the night's day, 0, and the next noon, 1; within these bounds."""
    noon = datetime.combine(night, time(12))
    return min(max((moment - noon) / timedelta(days=1), 0.0), 1.0)
