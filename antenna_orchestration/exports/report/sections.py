"""The sections of a report about one pipeline, as HTML: what was found, when, where, and how far to trust it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Final

from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.ecology.tables import HUMAN
from antenna_orchestration.exports.material import path_below
from antenna_orchestration.exports.report import charts, facts, models
from antenna_orchestration.exports.report.charts import Bar, Chart, Column, Span, text
from antenna_orchestration.exports.report.facts import Facts
from antenna_orchestration.exports.report.gallery import Gallery, Shot
from antenna_orchestration.exports.report.html import (
    LATIN,
    Markup,
    card,
    day,
    latin,
    month,
    numbers,
    paragraph,
    points,
    share,
    table,
)

TOP: Final = 15
"""Taxa in the plot."""

MOST_COLUMNS: Final = 400
"""Nights side by side; of more, months are shown."""

SPANS: Final = 32
"""Nights whose times are drawn: as many as fit on a page of paper. The table below has more."""

_NO_DEPLOYMENT: Final = "no deployment"

_FLAGS: Final = {
    "fixture": "the same box on several nights: dirt, a screw, a stain",
    "too_small": "the box is too small",
    "at_edge": "the box touches the edge of the photograph",
    "below_threshold": "the score is below the recipe's threshold",
    "masked_out": "no class of the species list is likely",
    "from_top_k": "only the best few classes are stored",
    "unsure": "no rank is sure enough",
}


def charts_of(found: Facts, key: str) -> dict[str, Chart]:
    """The plots of a pipeline by name, in order; without those that have nothing to show."""
    made = {
        "taxa": _taxa(found, f"{key}-taxa"),
        "hours": _hours(found, f"{key}-hours"),
        "nights": _nights(found, f"{key}-nights"),
        "photo_labels": _photo_labels(found, f"{key}-photo-labels"),
        "accumulation": _accumulation(found, f"{key}-accumulation"),
        "sizes": _sizes(found, f"{key}-sizes"),
        "coverage": _coverage(found, f"{key}-coverage"),
        "scores": _scores(found.scores, f"{key}-scores", "How sure the determinations are", "score of the name"),
        "detector_scores": _scores(
            found.detector_scores, f"{key}-detector", "How sure the boxes are", "score of the detector"
        ),
        "failures": _failures(found, f"{key}-failures"),
    }
    return {name: chart for name, chart in made.items() if chart is not None}


def tiles(found: Facts) -> Markup:
    """The numbers that people look for first."""
    nights = sum(1 for _ in found.nights)
    shown = [
        (found.photographs, "photographs" if found.photographs != 1 else "photograph"),
        (nights, "nights" if nights != 1 else "night"),
        (found.counted, "detections" if found.counted != 1 else "detection"),
        (len(found.named), "names" if len(found.named) != 1 else "name"),
        (found.empty, "photographs without a detection" if found.labelled else "photographs with nothing found"),
        (found.failed, "photographs that failed"),
    ]
    return Markup(
        '<dl class="tiles">'
        + "".join(
            f'<div class="tile"><dt>{name}</dt><dd{" class=warned" if number and "failed" in name else ""}>'
            f"{number:,}</dd></div>"
            for number, name in shown
        )
        + "</dl>"
    )


def what(found: Facts, plots: dict[str, Chart], shown: Gallery | None, key: str) -> Iterator[str]:
    """What was found: taxa and their pictures."""
    yield f'<h2 id="{key}-found">What was found</h2>'
    if found.failed == found.photographs:
        yield paragraph(f"Nothing is known of what is on these photographs: {why_failed(found)}.")
        return
    if not found.counted:
        said = "No detection was made" if found.labelled else "Nothing was found"
        which = f"the {counted(found.done, 'photograph')} that did not fail" if found.failed else "these photographs"
        yield paragraph(f"{said} on {which}.")
        return
    yield paragraph(
        "A detection is one sighting: an insect that sits through ten photographs is counted ten times. The most at "
        "once, on one photograph, says how many individuals were there at least.",
        "note",
    )
    yield '<div class="grid">'
    if "taxa" in plots:
        yield card(plots["taxa"])
    rows = [
        (latin(one.name, one.rank), one.rank or "–", one.detections, one.max_n, one.nights, one.tracks)
        for one in found.taxa[: facts.MOST_TAXA]
    ]
    header = ("name", "rank", "detections", "most at once", "nights", "tracks")
    if all(row[-1] is None for row in rows):
        rows, header = [row[:-1] for row in rows], header[:-1]  # type: ignore[misc,assignment]
    rest = len(found.taxa) - len(rows)
    yield f'<section class="card"><h3>All names</h3>{table("All names", header, rows)}'
    if rest > 0:
        yield paragraph(f"and {counted(rest, 'more name')}: see the table counts", "note")
    yield "</section></div>"
    if shown is not None and shown.shots:
        yield from _gallery(found, shown, key)


def why_failed(found: Facts) -> str:
    """Why photographs failed, most frequent reasons first; at least one did."""
    shown = found.reasons[:3]
    rest = len(found.reasons) - len(shown)
    said = "; ".join(f"{one.reason} ({counted(one.photographs, 'photograph')})" for one in shown)
    return f"{said}; and {counted(rest, 'more reason')}" if rest else said


def more(found: Facts, plots: dict[str, Chart], key: str) -> Iterator[str]:
    """What was said beyond boxes and their names: labels of whole photographs, outlines, attributes."""
    if "photo_labels" in plots:
        yield f'<h2 id="{key}-photographs">What whole photographs show</h2>'
        yield paragraph(
            f"{counted(found.labelled, 'photograph')} of {found.done:,} {_is(found.labelled, 'has', 'have')} labels of "
            f"{_its(found.labelled)} own. They are not detections, and no number of detections has them.",
            "note",
        )
        rows = [
            (one.label, one.photographs, one.best, "–" if one.score is None else f"{one.score:.2f}")
            for one in found.photo_labels[: facts.MOST_TAXA]
        ]
        header = ("label", "photographs", "as their best", "mean score")
        yield f'<div class="grid">{card(plots["photo_labels"])}<section class="card"><h3>All labels</h3>'
        yield table("Labels of whole photographs", header, rows)
        if (rest := len(found.photo_labels) - len(rows)) > 0:
            yield paragraph(f"and {counted(rest, 'more label')}: see the table image_labels", "note")
        yield "</section></div>"
    if not (found.outlined or found.rotated or found.attributes):
        return
    yield f'<h2 id="{key}-more">Outlines and attributes</h2>'
    shapes = [(found.outlined, "an outline"), (found.rotated, "a rotated box")]
    if said := [f"{counted(number, 'detection')} with {kind}" for number, kind in shapes if number]:
        yield paragraph(f"There {_is(found.outlined or found.rotated)} {' and '.join(said)}.", "note")
    if found.attributes:
        yield '<section class="card wide"><h3>Attributes</h3>'
        yield table(
            "Attributes",
            ("attribute", "of", "how many", "least", "median", "most", "values", "most frequent"),
            [
                (one.name, one.of, one.number, *(_rounded(value) for value in (one.least, one.median, one.most)),
                 one.values, charts.short(one.usual, 60))
                for one in found.attributes
            ],
        )  # fmt: skip
        yield "</section>"


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}"


def _gallery(found: Facts, shown: Gallery, key: str) -> Iterator[str]:
    yield f'<h2 id="{key}-gallery">How they look</h2>'
    said = '<span class="screen">A crop leads to its photograph.</span>'
    yield paragraph(Markup(f"Of each name the best, the median and the least sure detection. {said}"), "note")
    ranks = {one.name: one for one in found.taxa}
    by_taxon: dict[str, list[Shot]] = {}
    for shot in shown.shots:
        by_taxon.setdefault(shot.pick.taxon, []).append(shot)
    yield '<div class="taxa">'
    for name, shots in by_taxon.items():
        of = ranks[name]
        yield f'<article class="taxon"><h3>{latin(name, of.rank)}</h3><div class="soft">'
        yield f'{text(counted(of.detections, "detection"))}</div><div class="crops">'
        for shot in shots:
            yield _figure(shot, is_linked=shot.image in shown.photographs, key=key)
        yield "</div></article>"
    yield "</div>"
    for image, jpeg in shown.photographs.items():
        row = next(shot.pick.row for shot in shown.shots if shot.image == image)
        names = sorted({one["taxon"] or "not determined" for one in shown.boxes.get(image, ())})
        on_it = counted(len(shown.boxes.get(image, ())), "detection")
        said = f"Photograph {image} with its boxes: {on_it}, {', '.join(names[:8])}"
        yield (
            f'<figure class="photo" id="{key}-photo-{image}"><a class="close" href="#{key}-gallery">Back</a>'
            f'<img alt="{text(said)}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}">'
            f"<figcaption>{text(_where(row['deployment'], row['local_time']))}: {text(on_it)}<br>"
            f"<code>{text(row['path'])}</code></figcaption></figure>"
        )


def _figure(shot: Shot, *, is_linked: bool, key: str) -> str:
    row = shot.pick.row
    score = row["score"] if row["score"] is not None else row["detector_score"]
    sure = "by people" if row["source"] == HUMAN else "no score" if score is None else f"{score:.2f}"
    if shot.jpeg is None:
        inside = f'<div class="none">No picture: {text(charts.short(shot.why, 120))}</div>'
    else:
        said = f"{shot.pick.taxon}, {shot.pick.kind}: {sure}"
        image = f'<img alt="{text(said)}" src="data:image/jpeg;base64,{base64.b64encode(shot.jpeg).decode()}">'
        inside = f'<a href="#{key}-photo-{shot.image}">{image}</a>' if is_linked else f'<div class="none">{image}</div>'
    site = text(row["deployment"] or _NO_DEPLOYMENT)
    return (
        f"<figure>{inside}<figcaption><span><b>{text(sure)}</b> {shot.pick.kind}</span><span>{site}</span>"
        f"<span>{text(_moment(row['local_time']))}</span></figcaption></figure>"
    )


def when(found: Facts, plots: dict[str, Chart], key: str) -> Iterator[str]:
    """When: by hour and by night, how many names, how large."""
    cards = {"hours": _of_hours, "nights": _of_nights, "accumulation": _of_accumulation, "sizes": _of_sizes}
    if not plots.keys() & cards.keys():
        return
    yield f'<h2 id="{key}-when">When, how many, how large</h2><div class="grid">'
    yield from (make(found, plots[name]) for name, make in cards.items() if name in plots)
    yield "</div>"


def _of_hours(found: Facts, plot: Chart) -> Markup:
    notes = []
    if found.zoneless:
        notes.append(f"Of {counted(found.zoneless, 'night')} no time zone is known: hours are the camera's.")
    if found.hourless:
        notes.append(f"{counted(found.hourless, 'detection')} without a time {_is(found.hourless)} not shown.")
    rows = [(f"{one.hour:02}:00", one.detections, one.photographs) for one in found.hours]
    return card(plot, numbers(table("By hour", ("hour", "detections", "photographs"), rows)), note=" ".join(notes))


def _of_nights(found: Facts, plot: Chart) -> Markup:
    rows = [(one.night, one.detections, one.photographs, one.deployments) for one in found.nights[:MOST_COLUMNS]]
    return card(plot, numbers(table("By night", ("night", "detections", "photographs", "deployments"), rows)))


def _of_accumulation(found: Facts, plot: Chart) -> Markup:
    note = "Every name was found in more than one night."
    if once := found.once:
        note = f"{counted(once, 'name')} of {len(found.named):,} {_is(once, 'was', 'were')} found in one night only"
        note += ": more nights would bring more." if once * 5 >= len(found.named) else "."
    rows = found.accumulated[:MOST_COLUMNS]
    return card(plot, numbers(table("Names until a night", ("night", "names"), rows)), note=note)


def _of_sizes(found: Facts, plot: Chart) -> Markup:
    note = f"The longer side of the boxes of {counted(found.sized, 'detection')}."
    if found.size_unit != "mm":
        note = (
            "The longer side of the box, in pixels of the photograph: how many pixels a millimetre has was not given "
            "for any deployment."
        )
    rows = [(f"{_limit(one.start)} to {_limit(one.end)}", one.detections) for one in found.sizes]
    return card(plot, numbers(table("Sizes", (found.size_unit, "detections"), rows)), note=note)


def where(found: Facts, plots: dict[str, Chart], key: str) -> Iterator[str]:
    """Where, and how complete each night is."""
    if not found.photographs:
        return
    yield f'<h2 id="{key}-where">Where, and how complete each night is</h2>'
    yield '<div class="grid"><section class="card wide"><h3>Deployments</h3>'
    yield table(
        "Deployments",
        ("deployment", "nights", "first", "last", "photographs", "nothing found", "failed", "detections"),
        [
            (
                one.deployment if one.deployment is not None else _NO_DEPLOYMENT,
                one.nights,
                one.first,
                one.last,
                one.photographs,
                one.empty,
                one.failed,
                one.detections,
            )
            for one in found.sites
        ],
    )
    if found.timeless:
        of = counted(found.timeless, "photograph")
        yield paragraph(f"{of} without a time {_is(found.timeless)} in no night.", "note warned")
    yield "</section>"
    if "coverage" in plots:
        legend = (
            '<ul class="legend"><li><i class="k-main"></i>photographs, first to last</li>'
            '<li><i class="k-warned"></i>with a gap</li>'
            + ('<li><i class="k-dark"></i>sunset to sunrise</li>' if any(_dark(one) for one in found.coverage) else "")
            + "</ul>"
        )
        rows = [
            (
                one["deployment"] if one["deployment"] is not None else _NO_DEPLOYMENT,
                one["night"] or "time unknown",
                one["first"],
                one["last"],
                one["found"],
                one["expected"],
                one["failed"],
                one["empty"],
                one["gaps"],
                _minutes(one["longest_gap_seconds"]),
            )
            for one in found.coverage
        ]
        header = (
            *("deployment", "night", "from", "to", "photographs", "expected", "failed", "nothing found"),
            *("gaps", "longest, minutes"),
        )
        rest = found.coverage_rows - len(rows)
        more = paragraph(f"and {counted(rest, 'more night')}: see the table nights", "note") if rest > 0 else ""
        gappy = sum(bool(one["gaps"]) for one in found.coverage)
        drawn = sum(one["night"] is not None for one in found.coverage)
        note = f"Of {counted(len(rows), 'night')}, {gappy:,} {'has' if gappy == 1 else 'have'} gaps in {_its(gappy)}"
        note += " photographs: a gap is a pause longer than 2.5 times the usual interval."
        if drawn > SPANS:
            note += f" The first {SPANS} are drawn."
        yield card(
            plots["coverage"],
            legend,
            numbers(table("Nights", header, rows), more),
            wide=True,
            note=note,
        )
    yield "</div>"


def trust(found: Facts, plots: dict[str, Chart], names: Names, key: str) -> Iterator[str]:
    """How sure it is, what the models miss, and what failed."""
    yield f'<h2 id="{key}-trust">How sure this is, and what it misses</h2>'
    yield '<div class="grid">'
    for name in ("scores", "detector_scores"):
        if name in plots:
            bins = found.scores if name == "scores" else found.detector_scores
            low = sum(one.detections for one in bins if one.end <= 0.5 + 1e-9)
            note = f"{share(low, sum(one.detections for one in bins))} have a score below 0.5."
            rows = [(f"{one.start:.2f} to {one.end:.2f}", one.detections) for one in bins]
            yield card(plots[name], numbers(table(plots[name].title, ("score", "detections"), rows)), note=note)
    yield '<section class="card"><h3>What people checked</h3>'
    yield from map(paragraph, _checked(found, names))
    yield "</section>"
    yield f'<section class="card"><h3>How names came about</h3>{_sources(found)}</section>'
    yield from _models(found)
    yield "</div>"
    if found.failed:
        yield f'<h2 id="{key}-failed">What failed</h2><div class="grid">'
        if "failures" in plots:
            yield card(plots["failures"])
        yield '<section class="card"><h3>Reasons</h3>'
        yield table(
            "Reasons",
            ("reason", "photographs", "one of them"),
            [(one.reason, one.photographs, _end_of(one.example)) for one in found.reasons[: facts.MOST_REASONS]],
        )
        if (rest := len(found.reasons) - facts.MOST_REASONS) > 0:
            yield paragraph(f"and {counted(rest, 'more reason')}: see the table photographs", "note")
        yield "</section></div>"


def _checked(found: Facts, names: Names) -> Iterator[str]:
    if not found.reviewed:
        yield (
            "Nobody has checked these results. People who look at a hundred detections, drawn at random, know how far "
            "to trust the rest."
        )
        return
    of = counted(found.reviewed, "detection")
    yield f"People checked {of}, {share(found.reviewed, found.detections)} of all."
    compared = sum(found.judged.values())
    if compared:
        kept = sum(n for (label, taxon), n in found.judged.items() if taxon is not None and _same(label, taxon, names))
        rejected = sum(n for (_, taxon), n in found.judged.items() if taxon is None)
        yield f"Of {compared:,} with a classifier's name they kept it for {kept:,} ({share(kept, compared)})."
        yield f"{rejected:,} of these {_is(rejected, 'is not an animal', 'are not animals')}."
    yield (
        "If people chose what they checked, for example the least certain first, these shares say nothing of the "
        "others."
    )


def _same(label: str, taxon: str, names: Names) -> bool:
    meant = names.match(label)
    return taxon == (meant.name if meant else label)


def _sources(found: Facts) -> str:
    rows = [("a person" if source == HUMAN else source, number) for source, number in found.sources.items()]
    made = table("How names came about", ("from", "detections"), rows) if rows else paragraph("Nothing has a name.")
    out = found.detections - found.counted
    if not out:
        return made + paragraph("No detection is left out of the counts.", "note")
    left = table(
        "Why detections are not counted",
        ("why", "detections"),
        [(_FLAGS.get(flag, flag), number) for flag, number in found.left_out.items()],
    )
    said = f"{counted(out, 'detection')} of {found.detections:,} {_is(out)} not counted: the recipe leaves out some"
    return made + paragraph(f"{said}, or people said that {_is(out, 'it is', 'they are')} no animal.", "note") + left


def _models(found: Facts) -> Iterator[str]:
    for key, version, kind in found.models:
        known = models.CARDS.get(key)
        one = known or (models.UNKNOWN if kind == "classifier" else models.UNKNOWN_DETECTOR)
        lines = [one.what, one.measured or f"How often this {kind} is right was not measured here.", one.misses]
        yield f'<section class="card"><h3>What the {kind} finds and misses</h3><p class="note"><code>{text(key)}</code>'
        yield f" {text(version or '')}</p>{points(line for line in lines if line)}</section>"
    general = [
        "Counts are activity, not numbers of animals, and change with the interval of the camera. Compare nights of "
        "the same interval.",
    ]
    if found.empty:
        nothing = "no detection was made" if found.photo_labels else "nothing was found"
        general.append(f"On {counted(found.empty, 'photograph')} {nothing}; that is no proof that nothing was there.")
    yield f'<section class="card"><h3>What counts say</h3>{"".join(map(paragraph, general))}</section>'


def _taxa(found: Facts, key: str) -> Chart | None:
    top = found.taxa[:TOP]
    if not top:
        return None
    rows = [
        Bar(name=one.name or "not determined", value=one.detections, is_latin=bool(one.name) and one.rank in LATIN)
        for one in top
    ]
    title = "Detections of each name" if len(found.taxa) <= TOP else f"The {TOP} names with the most detections"
    listed = "; ".join(f"{row.name} {row.value:,}" for row in rows)
    return charts.bars(key, title, f"Lying bars, detections of each name: {listed}.", rows)


def _photo_labels(found: Facts, key: str) -> Chart | None:
    top = found.photo_labels[:TOP]
    if not top:
        return None
    rows = [Bar(name=one.label, value=one.photographs) for one in top]
    title = "Photographs with each label" if len(found.photo_labels) <= TOP else f"The {TOP} labels of most photographs"
    listed = "; ".join(f"{row.name} {row.value:,}" for row in rows)
    return charts.bars(key, title, f"Lying bars, photographs with each label: {listed}.", rows)


def _hours(found: Facts, key: str) -> Chart | None:
    if not found.hours or not any(one.detections for one in found.hours):
        return None
    # What lies before and after the photographs is not shown, as nobody looked.
    seen = [number for number, one in enumerate(found.hours) if one.photographs or one.detections]
    hours = found.hours[seen[0] : seen[-1] + 1]
    most = max(hours, key=lambda one: one.detections)
    names = charts.thinned([f"{one.hour:02}" for one in hours], 9)
    columns = [
        Column(
            name=name,
            value=one.detections,
            effort=one.photographs,
            hint=f"{one.hour:02}:00 to {(one.hour + 1) % 24:02}:00: {counted(one.detections, 'detection')}, "
            f"{counted(one.photographs, 'photograph')}",
        )
        for one, name in zip(hours, names, strict=True)
    ]
    said = (
        f"Columns, detections by hour of local time from {hours[0].hour:02}:00 to {(hours[-1].hour + 1) % 24:02}:00, "
        f"with the photographs of each hour below. The most, {most.detections:,}, between {most.hour:02}:00 and "
        f"{(most.hour + 1) % 24:02}:00."
    )
    return charts.columns(
        key, "Activity by hour", said, columns, unit="detections", effort="photographs", below="hour of local time"
    )


def _nights(found: Facts, key: str) -> Chart | None:
    if not found.nights:
        return None
    nights, is_monthly = _grouped(found.nights)
    years = nights[0].night.year != nights[-1].night.year
    names = _below([month(one.night) if is_monthly else day(one.night, years) for one in nights])
    whole = [month(one.night) if is_monthly else one.night.isoformat() for one in nights]
    columns = [
        Column(
            name=name,
            value=one.detections,
            effort=one.photographs,
            hint=f"{full}: {counted(one.detections, 'detection')}, {counted(one.photographs, 'photograph')}, "
            f"{counted(one.deployments, 'deployment')}",
        )
        for one, name, full in zip(nights, names, whole, strict=True)
    ]
    most = max(range(len(nights)), key=lambda number: nights[number].detections)
    what = "month" if is_monthly else "night"
    said = (
        f"Columns, detections of {counted(len(nights), what)} from {whole[0]} to {whole[-1]}, with the photographs of "
        f"each below. The most, {nights[most].detections:,}, in {whole[most]}."
    )
    return charts.columns(
        key,
        f"Catch by {what}, with effort",
        said,
        columns,
        unit="detections",
        effort="photographs",
        below="A night has the date of its evening." if not is_monthly else "",
    )


def _grouped(nights: Sequence[facts.NightSum]) -> tuple[list[facts.NightSum], bool]:
    if len(nights) <= MOST_COLUMNS:
        return list(nights), False
    by_month: dict[date, facts.NightSum] = {}
    for one in nights:
        first = one.night.replace(day=1)
        sofar = by_month.get(first, facts.NightSum(first, 0, 0, 0))
        by_month[first] = facts.NightSum(
            first,
            sofar.detections + one.detections,
            sofar.photographs + one.photographs,
            max(sofar.deployments, one.deployments),
        )
    return list(by_month.values()), True


def _below(days: Sequence[str]) -> list[str]:
    """Days below a plot: fewer if they have years, so that none touches the next on a telephone."""
    return charts.thinned(days, 5 if max(map(len, days)) <= len("30 Jun") else 4)


def _accumulation(found: Facts, key: str) -> Chart | None:
    by_night = found.accumulated
    if len(by_night) < 2 or not by_night[-1][1]:
        return None
    if len(by_night) > MOST_COLUMNS:
        # The last night of each month has all of it.
        by_night = list({night.replace(day=1): (night, number) for night, number in by_night}.values())
    years = by_night[0][0].year != by_night[-1][0].year
    said = (
        f"A line that rises in steps: names found until each night, from {by_night[0][1]:,} in "
        f"{by_night[0][0].isoformat()} to {by_night[-1][1]:,} in {by_night[-1][0].isoformat()}."
    )
    return charts.steps(
        key,
        "How many names were found until each night",
        said,
        [number for _, number in by_night],
        _below([day(night, years) for night, _ in by_night]),
        unit="names",
    )


def _sizes(found: Facts, key: str) -> Chart | None:
    if not found.sizes:
        return None
    limits = [*(one.start for one in found.sizes), found.sizes[-1].end]
    names = charts.thinned([_limit(one) for one in limits], 6)
    columns = [
        Column(
            name=name,
            value=one.detections,
            hint=f"{_limit(one.start)} to {_limit(one.end)} {found.size_unit}: {counted(one.detections, 'detection')}",
        )
        for one, name in zip(found.sizes, names[:-1], strict=True)
    ]
    most = max(found.sizes, key=lambda one: one.detections)
    said = (
        f"Columns, detections by the longer side of the box in {found.size_unit}, the last column with all longer ones."
        f" The most, {most.detections:,}, from {_limit(most.start)} to {_limit(most.end)}."
    )
    return charts.columns(
        key,
        "How large they are",
        said,
        [*columns, Column(name=names[-1], value=0)],
        unit="detections",
        at_edges=True,
        below=f"{found.size_unit}; the last column has all longer ones",
    )


def _scores(bins: Sequence[facts.Bin], key: str, title: str, what: str) -> Chart | None:
    if not bins:
        return None
    columns = [
        Column(
            name=f"{one.start:.1f}" if number % 4 == 0 else "",
            value=one.detections,
            hint=f"{one.start:.2f} to {one.end:.2f}: {counted(one.detections, 'detection')}",
        )
        for number, one in enumerate(bins)
    ]
    most = max(bins, key=lambda one: one.detections)
    said = f"Columns, detections by {what} from 0 to 1. The most, {most.detections:,}, "
    said += f"from {most.start:.2f} to {most.end:.2f}."
    return charts.columns(
        key, title, said, [*columns, Column(name="1", value=0)], unit="detections", at_edges=True, below=what
    )


def _coverage(found: Facts, key: str) -> Chart | None:
    rows = [
        Span(
            name=f"{one['deployment'] if one['deployment'] is not None else _NO_DEPLOYMENT}, {day(one['night'], True)}",
            start=facts.share_of_day(one["first"], one["night"]),
            end=facts.share_of_day(one["last"], one["night"]),
            dark=_dark(one),
            is_gappy=bool(one["gaps"]),
            hint=f"{one['first']:%H:%M} to {one['last']:%H:%M}: {counted(one['found'], 'photograph')}",
        )
        for one in found.coverage
        if one["night"] is not None
    ][:SPANS]
    if not rows:
        return None
    gappy = sum(row.is_gappy for row in rows)
    said = (
        f"A bar for each of {counted(len(rows), 'night')}, from its first to its last photograph, on a line from noon "
        f"to noon. {gappy:,} {'has' if gappy == 1 else 'have'} gaps."
    )
    return charts.spans(key, "When there are photographs", said, rows)


def _dark(row: object) -> tuple[float, float] | None:
    sunset, sunrise, night = row["sunset"], row["sunrise"], row["night"]  # type: ignore[index]
    if sunset is None or sunrise is None or night is None:
        return None
    return facts.share_of_day(sunset, night), facts.share_of_day(sunrise, night)


def _failures(found: Facts, key: str) -> Chart | None:
    if not found.reasons:
        return None
    rows = [Bar(name=one.reason, value=one.photographs) for one in found.reasons[: facts.MOST_REASONS]]
    listed = "; ".join(f"{charts.short(row.name)} {row.value:,}" for row in rows)
    return charts.bars(
        key, "Photographs that failed", f"Lying bars, photographs by reason: {listed}.", rows, kind="warned"
    )


def _where(deployment: str | None, moment: object) -> str:
    return f"{deployment or _NO_DEPLOYMENT}, {_moment(moment)}"


def _moment(moment: object) -> str:
    return f"{day(moment, True)}, {moment:%H:%M}" if isinstance(moment, datetime) else "time unknown"


def _end_of(url: str | None) -> str:
    """The end of a URL, which says enough to find it: its folder and its name."""
    return "/".join(path_below("", url or "").split("/")[-2:])


def _limit(value: float) -> str:
    return f"{value:,.6g}"


def _minutes(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds / 60)


def _is(number: int, one: str = "is", several: str = "are") -> str:
    return one if number == 1 else several


def _its(number: int) -> str:
    return _is(number, "its", "their")
