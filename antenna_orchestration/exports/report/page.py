"""The report as one HTML file: no script, no network, light and dark, for phones and desks.

The file itself forbids browsers to load anything (its content security policy), so that no name of a taxon or a file,
whatever it holds, can make it ask or tell anybody. Written from the same material it is the same to the byte.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from antenna_orchestration import __version__
from antenna_orchestration.domain.texts import counted, listed
from antenna_orchestration.exports.formats import Checked, Format, Written
from antenna_orchestration.exports.material import Material, path_below
from antenna_orchestration.exports.report import facts, gallery, palette, rules, sections
from antenna_orchestration.exports.report.charts import Chart, text
from antenna_orchestration.exports.report.facts import Facts
from antenna_orchestration.exports.report.gallery import Gallery
from antenna_orchestration.exports.report.html import Markup, night, paragraph

PATIENCE: Final = 120.0
"""Seconds that the pictures of a pipeline may take, unless somebody says otherwise."""


FORMAT: Final = Format(
    name="report",
    title="a page for people: plots, pictures, and how far to trust it",
    file="report.html",
    module="report.page",
    choices={"pictures": ("yes", "no")},
)
"""The report as exports see it; `antenna report` writes it."""


def write(material: Material, out: Path, *, pictures: str = "yes") -> Written:
    """Write the report to a file. Blocks; raises `Unavailable`."""
    page = made(material, pictures=pictures == "yes")
    out.write_bytes(page.html)
    return Written(
        counts={"photographs": page.photographs, "plots": len(page.plots), "crops": page.crops}, notes=page.notes
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A report."""

    html: bytes
    # By pipeline and name.
    plots: Mapping[tuple[str, str], Chart]
    photographs: int
    crops: int
    # Why pictures are missing, a line each.
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What the page says of one pipeline."""

    key: str
    found: Facts
    plots: dict[str, Chart]
    shown: Gallery | None


def made(material: Material, *, pictures: bool = True, patience: float = PATIENCE) -> Page:
    """The report of a material; without a gallery unless `pictures`. Blocks; raises `Unavailable`.

    Pictures that cannot be made within `patience` seconds for each pipeline are left out, and the page says so.
    """
    parts = []
    with material.session() as session:
        base = material.base(session)
        for number, pipeline in enumerate(facts.pipelines(session), start=1):
            key = f"p{number}"
            found = facts.read(session, pipeline)
            shown = None
            if pictures:
                chosen = facts.picks(
                    session, pipeline, [one.name for one in found.named[: gallery.MOST_TAXA] if one.name is not None]
                )
                # What people see of where it is: not the folders of somebody's machine.
                chosen = [one._replace(row={**one.row, "path": path_below(base, one.row["url"])}) for one in chosen]
                on_them = facts.boxes(session, pipeline, sorted({one.row["image_id"] for one in chosen}))
                shown = gallery.made(material.pictures, chosen, on_them, patience=patience)
            parts.append(_Part(key=key, found=found, plots=sections.charts_of(found, key), shown=shown))
    html = "".join(_document(material, parts)).encode("utf-8", "replace")
    shots = [shot for part in parts if part.shown for shot in part.shown.shots]
    missing = Counter(shot.why for shot in shots if shot.jpeg is None)
    return Page(
        html=html,
        plots={(part.found.pipeline, name): plot for part in parts for name, plot in part.plots.items()},
        photographs=sum(part.found.photographs for part in parts),
        crops=sum(shot.jpeg is not None for shot in shots),
        notes=[f"no picture of {counted(number, 'detection')}: {why}" for why, number in missing.most_common(5)],
    )


def check(path: Path) -> Checked:
    """Check that a report needs no network and no script, and that a screen reader can read it."""
    return Checked(faults=rules.faults(path.read_text("utf-8", "replace")), by=["own rules"])


@cache
def style() -> str:
    """The style of the page."""
    own = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {palette.variables(palette.DARK)} }} }}\n"
    return f":root {{ {palette.variables(palette.LIGHT)} }}\n{dark}{own}{palette.page_chart_style()}"


def policy() -> str:
    """The content security policy of the page: its own style, and pictures that are in it. Nothing else."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _document(material: Material, parts: list[_Part]) -> Iterator[str]:
    title, over = _title(material)
    yield (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{style()}</style></head><body>"
    )
    yield f'<header><p class="over">{text(over)}</p><h1>{text(title)}</h1>'
    if not material.is_complete:
        waiting = counted(material.pending, "photograph")
        yield paragraph(f"Results so far: {waiting} {'has' if material.pending == 1 else 'have'} none yet.", "warned")
    if not parts:
        yield paragraph("There are no photographs.", "lead")
    if len(parts) > 1:
        yield paragraph(
            f"The photographs were processed by {len(parts)} pipelines. Their results are shown one after another, "
            "and never added up.",
            "lead",
        )
        yield "<nav aria-label=Pipelines><ul>"
        yield from (f'<li><a href="#{one.key}">{text(one.found.pipeline)}</a></li>' for one in parts)
        yield "</ul></nav>"
    yield "</header><main>"
    for part in parts:
        if len(parts) > 1:
            yield f'<section class="pipeline" id="{part.key}"><h2>Pipeline {text(part.found.pipeline)}</h2>'
        yield from _part(material, part)
        if len(parts) > 1:
            yield "</section>"
    yield "</main><footer><div>"
    yield from _footer(material)
    yield "</div></footer></body></html>\n"


def _part(material: Material, part: _Part) -> Iterator[str]:
    found, key = part.found, part.key
    yield paragraph(_lead(found), "lead")
    yield sections.tiles(found)
    body = [
        *sections.what(found, part.plots, part.shown, key),
        *sections.more(found, part.plots, key),
        *sections.when(found, part.plots, key),
        *sections.where(found, part.plots, key),
        *sections.trust(found, part.plots, material.names, key),
    ]
    links = (
        ("found", "What was found"),
        ("gallery", "How they look"),
        ("photographs", "Whole photographs"),
        ("more", "Attributes"),
        ("when", "When"),
        ("where", "Where"),
        ("trust", "How sure this is"),
        ("failed", "What failed"),
    )
    whole = "".join(body)
    yield '<nav aria-label="Sections"><ul>'
    for name, said in links:
        if f'id="{key}-{name}"' in whole:
            yield f'<li><a href="#{key}-{name}">{said}</a></li>'
    yield "</ul></nav>"
    yield whole


def _lead(found: Facts) -> Markup:
    if not found.photographs:
        return Markup("There are no photographs.")
    where = [text(one.deployment) for one in found.sites if one.deployment is not None]
    at = f" of {where[0]}" if len(where) == 1 else f" of {counted(len(where), 'deployment')}" if where else ""
    nights = ""
    if found.first and found.last:
        first, last = night(found.first), night(found.last)
        nights = f", in the night of {first}" if first == last else f", {first} to {last}"
    if found.failed == found.photographs:
        all_of_them = "The one photograph" if found.photographs == 1 else f"All {found.photographs:,} photographs"
        return Markup(f"{all_of_them}{at}{nights} failed: {text(sections.why_failed(found))}.")
    on_them = f"On {counted(found.photographs, 'photograph')}{at}{nights}"
    if not found.counted and found.photo_labels:
        usual = listed([text(one.label) for one in found.photo_labels[:3]])
        return Markup(f"{on_them}, no detection was made; of {found.labelled:,} it is said what they show: {usual}.")
    if not found.counted:
        others = f"; {counted(found.failed, 'other')} failed" if found.failed else ""
        return Markup(f"On {counted(found.done, 'photograph')}{at}{nights}, nothing was found{others}.")
    most = found.named[:3]
    names = f", most often {listed([text(one.name) for one in most])}" if most else ""
    return Markup(
        f"{on_them}, {counted(found.counted, 'detection')} {'was' if found.counted == 1 else 'were'} made{names}."
    )


def _title(material: Material) -> tuple[str, str]:
    chosen, jobs = material.selection, material.jobs
    project = f"project {chosen.project}"
    if len(chosen.jobs) == 1 and len(jobs) == 1:
        return jobs[0].name or f"Job {jobs[0].job_id}", f"Report of job {jobs[0].job_id}, {project}"
    title = material.dataset.title or material.dataset.project.title
    if chosen.jobs:
        return title or f"Jobs {listed([str(job.job_id) for job in jobs], 8)}", f"Report of {len(jobs)} jobs, {project}"
    return title or str(chosen.project), f"Report of {project}"


def _footer(material: Material) -> Iterator[str]:
    jobs = [f"{job.job_id} ({job.name or 'no name'})" for job in material.jobs]
    narrowed = material.selection.name
    yield paragraph(
        f"Made by antenna {__version__} on {material.made_at:%Y-%m-%d %H:%M} UTC of {narrowed}: "
        f"{'job' if len(jobs) == 1 else 'jobs'} {listed(jobs, 20)}."
    )
    if material.dataset.citation:
        yield paragraph(f"Cite as: {material.dataset.citation}")
    licences = [
        f"{what}: {licence}"
        for what, licence in (
            ("data", material.dataset.data_licence),
            ("photographs", material.dataset.media_licence),
        )
        if licence
    ]
    if licences:
        yield paragraph(f"Licences: {', '.join(licences)}.")
    yield paragraph("A detection is a sighting on one photograph. Times are local where a time zone is known.")
