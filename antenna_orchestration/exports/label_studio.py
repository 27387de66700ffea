"""`label-studio`: tasks for Label Studio with what was found as predictions, the least certain first, and its config.

A region's id is that of its observation. What people correct comes back with `antenna reviews import`, which knows a
detection by it (`ecology/reviews.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from antenna_orchestration.domain import masks, signatures
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.ecology.model import RANKS
from antenna_orchestration.ecology.names import Names
from antenna_orchestration.ecology.reviews import REJECTED
from antenna_orchestration.ecology.tables import HUMAN
from antenna_orchestration.exports import boxes, validators
from antenna_orchestration.exports.boxes import Boxes, Extent
from antenna_orchestration.exports.formats import Checked, Written
from antenna_orchestration.exports.material import BOXES, Material, Photograph, Row, path_below

TASKS: Final = "tasks.json"
CONFIG: Final = "config.xml"

OUTLINE: Final = "outline"
"""The control of outlines; there are some if detections have masks."""

MOST_CHOICES: Final = 50
"""With more classes they are a tree, to be searched, and not a list."""

_DIGITS: Final = 4
_PERCENT: Final = 100

_LOCAL: Final = "/data/local-files/?d="

_TAGS: Final = ("RectangleLabels", "PolygonLabels", "Choices", "Taxonomy")
"""Of the controls that there are."""

_LARGE: Final = 200 * 2**20
"""Bytes from which Label Studio does not take a file as it is installed."""

_UNFIT: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML has no way to write."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Classes:
    """What reviewers choose from."""

    # Of each name the way to it, from the coarsest.
    ways: Mapping[str, tuple[str, ...]]

    @property
    def is_tree(self) -> bool:
        return len(self.ways) > MOST_CHOICES

    def value(self, name: str) -> dict[str, Any]:
        return {"taxonomy": [list(self.ways[name])]} if self.is_tree else {"choices": [name]}


@dataclass(slots=True)
class _Tally:
    tasks: int = 0
    local: int = 0
    signed: int = 0
    found: Boxes = field(default_factory=Boxes)


# Writing


def write(material: Material, out: Path, *, empty: str = "no") -> Written:
    """Write a folder; with `empty` = `yes` photographs on which nothing was found are the last tasks.

    Raises `Incomplete` if no photograph with boxes has a size.
    """
    out.mkdir()
    classes = _Classes(ways=_ways(material))
    (out / CONFIG).write_bytes(_config(classes, outlines="mask" in _further(material)))
    tally = _Tally()
    base = material.base()
    photographs = chain(_unsure_first(material, base), _empty(material, base) if empty == "yes" else ())
    with (out / TASKS).open("wb") as file:
        separator = b"[\n"
        for task in _tasks(photographs, classes, tally, _served(base)[1]):
            file.write(separator + json.dumps(task, ensure_ascii=False).encode("utf-8", "replace"))
            separator = b",\n"
        file.write(b"\n]\n" if tally.tasks else b"[]\n")
        size = file.tell()
    return Written(
        counts={"tasks": tally.tasks, "boxes": tally.found.written},
        left_out=[*tally.found.left_out("label-studio"), *_left_out(material, empty)],
        notes=list(_notes(base, tally, size)),
    )


_SURE: Final = f"""
    CASE WHEN source = '{HUMAN}' THEN 1.0
    ELSE least(greatest(coalesce(score, detector_score, 0), 0), 1) END
"""
"""How sure an observation is: a person's is, and one of which nothing is known is not."""

_UNSURE_FIRST: Final = f"""
    WITH found AS (
        SELECT pipeline, image_id, observation_id, job_id, url, deployment, night, local_time, width, height,
            x1, y1, x2, y2, detector, detector_version, detector_score, classifier, classifier_version,
            taxon, score, source, {_SURE} AS sure{{further}},
            CAST(split_part(detection_id, '-', -1) AS BIGINT) AS number
        FROM observations
    )
    SELECT *, min(sure) OVER (PARTITION BY pipeline, image_id) AS lowest
    FROM found
    ORDER BY lowest, pipeline, image_id, number
"""  # noqa: S608  # constants

_EMPTY: Final = """
    FROM photographs
    WHERE status = 'done' AND NOT EXISTS (
        FROM observations
        WHERE observations.pipeline = photographs.pipeline AND observations.image_id = photographs.image_id
    )
"""


def _further(material: Material) -> list[str]:
    """The columns with masks and rotated boxes, where there are any."""
    return [name for name in material.further("observations") if name in boxes.SHAPES]


def _unsure_first(material: Material, base: str) -> Iterator[Photograph]:
    rows = material.rows(_UNSURE_FIRST.format(further="".join(f", {name}" for name in _further(material))))
    for _, of_photograph in groupby(rows, key=itemgetter("pipeline", "image_id")):
        observations = list(of_photograph)
        yield Photograph(observations[0], path_below(base, observations[0]["url"]), observations)


def _empty(material: Material, base: str) -> Iterator[Photograph]:
    for row in material.rows(_EMPTY):
        yield Photograph(row, path_below(base, row["url"]), ())


def _tasks(photographs: Iterable[Photograph], classes: _Classes, tally: _Tally, below: str) -> Iterator[dict[str, Any]]:
    for photograph in photographs:
        found = tally.found.of(photograph)
        if photograph.observations and not found:
            # Reviewers would take it for empty.
            continue
        row = photograph.row
        tally.tasks += 1
        tally.local += _is_local(row["url"])
        tally.signed += signatures.is_signed(row["url"])
        task: dict[str, Any] = {
            "data": {
                "image": _address(row["url"], below + photograph.path),
                "image_id": row["image_id"],
                "path": photograph.path,
                "pipeline": row["pipeline"],
                "deployment": row["deployment"],
                "night": row["night"] and row["night"].isoformat(),
                "local_time": row["local_time"] and row["local_time"].isoformat(timespec="seconds"),
            },
            "predictions": [],
        }
        if found:
            size = row["width"], row["height"]
            regions = [
                _region(one, boxes.shares(box, *size, digits=_DIGITS, whole=_PERCENT), size, classes)
                for one, box in found
            ]
            task["predictions"] = [
                {
                    "model_version": _model(found[0][0]),
                    "score": round(row["lowest"], 5),
                    "result": [answer for answers in regions for answer in answers],
                }
            ]
        yield task


def _region(one: Row, box: Extent, size: tuple[int, int], classes: _Classes) -> Iterator[dict[str, Any]]:
    """The answers on one box: that it is an animal, and which."""
    place = _place(one, box, size)
    kind, control = ("polygonlabels", OUTLINE) if "points" in place else ("rectanglelabels", "box")
    common = {
        "id": one["observation_id"],
        "to_name": "image",
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
    }
    box_answer = {**common, "type": kind, "from_name": control}
    yield {
        **box_answer,
        **_scored(one["detector_score"]),
        "value": {**place, kind: [boxes.UNIDENTIFIED]},
    }
    name = _name(one)
    if name is not None:
        kind = "taxonomy" if classes.is_tree else "choices"
        answer = {**common, "type": kind, "from_name": "taxon", **_scored(one["score"])}
        yield {**answer, "value": {**place, **classes.value(name)}}


def _place(one: Row, box: Extent, size: tuple[int, int]) -> dict[str, Any]:
    """Where it is, in percent: the outline of its mask, its rotated box, or its box.

    A rotated box turns about its first corner, so that a box whose first corner is outside of the photograph is not
    turned.
    """
    shape = boxes.shape_of(one, size)
    if shape["mask"] and (outline := masks.outline(shape["mask"])):
        return {"points": [_percent(corner, size) for corner in outline]}
    if rotated := shape["rotated"]:
        x, y = _percent(masks.corners_of(rotated)[0], size)
        if 0 <= x <= _PERCENT and 0 <= y <= _PERCENT and rotated.width > 0 and rotated.height > 0:
            width, height = _percent((rotated.width, rotated.height), size)
            return {"x": x, "y": y, "width": width, "height": height, "rotation": round(rotated.angle % 360, _DIGITS)}
    return dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"rotation": 0}


def _percent(point: masks.Point, size: tuple[int, int]) -> list[float]:
    return [round(value / side * _PERCENT, _DIGITS) for value, side in zip(point, size, strict=True)]


def _scored(score: float | None) -> dict[str, float]:
    return {} if score is None else {"score": round(min(max(score, 0.0), 1.0), 5)}


def _name(observation: Row) -> str | None:
    """What stands as its determination; None if it has none."""
    if observation["taxon"] is not None:
        return _fit(observation["taxon"])
    return REJECTED if observation["source"] == HUMAN else None


def _model(observation: Row) -> str:
    keys = ("detector", "classifier")
    models = (f"{observation[one] or ''} {observation[f'{one}_version'] or ''}".strip() for one in keys)
    return " + ".join(filter(None, models))


def _address(url: str, path: str) -> str:
    """Where Label Studio finds a photograph: local ones below the folder that it may serve, others where they are."""
    return _LOCAL + quote(path) if _is_local(url) else signatures.without(url)


def _served(base: str) -> tuple[str, str]:
    """The folder whose files Label Studio may serve, and the one below it, with which photographs' paths begin.

    A storage of Label Studio must lie below the folder that it may serve, and cannot be that folder.
    """
    folder = PurePosixPath(unquote(base.removeprefix("file://")) or "/")
    return str(folder.parent), f"{folder.name}/" if folder.name else ""


def _is_local(url: str) -> bool:
    return "://" not in url or url.startswith("file:")


def _left_out(material: Material, empty: str) -> Iterator[str]:
    failed = next(material.rows("SELECT count(*) AS n FROM photographs WHERE status <> 'done'"))["n"]
    if failed:
        yield f"{counted(failed, 'photograph')} that failed"
    if empty != "yes":
        nothing = next(material.rows(f"SELECT count(*) AS n FROM ({_EMPTY})"))["n"]  # noqa: S608  # a constant
        if nothing:
            yield f"{counted(nothing, 'photograph')} on which nothing was found; --empty makes tasks of them"


def _notes(base: str, tally: _Tally, size: int) -> Iterator[str]:
    if tally.local:
        root, below = _served(base)
        storage = f"{PurePosixPath(root) / below}" if below else "each folder of it that has photographs"
        yield (
            "for Label Studio: LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={root}, and a local storage, not synced, of {storage}"
        )
    if tally.signed:
        yield f"{counted(tally.signed, 'link')} had a signature, which is left out: connect the bucket to Label Studio"
    if size > _LARGE:
        yield (
            f"{TASKS} has {size // 2**20:,} MB, more than Label Studio takes by default: export a night or a "
            "deployment at a time"
        )
    yield "`antenna reviews import FILE` brings back what people corrected, from Label Studio's export as JSON"


# The classes


def _ways(material: Material) -> dict[str, tuple[str, ...]]:
    """Of each name that there may be the way to it: of all that were found, and of all that the project imported."""
    found = material.rows("SELECT DISTINCT taxon FROM observations WHERE taxon IS NOT NULL")
    names = {_fit(row["taxon"]) for row in found} | {taxon.name for taxon in material.names.taxa.values()}
    ways = {name: _way(name, material.names) for name in sorted(names)}
    return {**ways, REJECTED: (REJECTED,)}


def _way(name: str, names: Names) -> tuple[str, ...]:
    taxon = names.match(name)
    if taxon is None or taxon.name != name:
        return (name,)
    # What is coarser than an order, all have in common.
    above = RANKS[RANKS.index("order") : RANKS.index(taxon.rank)] if taxon.rank in RANKS else ()
    return (*(taxon.lineage[rank] for rank in above if rank in taxon.lineage), name)


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def _config(classes: _Classes, *, outlines: bool) -> bytes:
    """The labeling interface, as XML."""
    view = ElementTree.Element("View")
    view.append(ElementTree.Comment(f" {BOXES} "))
    ElementTree.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true")
    labels = ElementTree.SubElement(view, "RectangleLabels", name="box", toName="image")
    ElementTree.SubElement(labels, "Label", value=boxes.UNIDENTIFIED)
    if outlines:
        labels = ElementTree.SubElement(view, "PolygonLabels", name=OUTLINE, toName="image")
        ElementTree.SubElement(labels, "Label", value=boxes.UNIDENTIFIED)
    about = {"name": "taxon", "toName": "image", "perRegion": "true"}
    if classes.is_tree:
        tree = ElementTree.SubElement(view, "Taxonomy", {**about, "maxUsages": "1"})
        places: dict[tuple[str, ...], ElementTree.Element] = {(): tree}
        for way in sorted(classes.ways.values()):
            for depth in range(1, len(way) + 1):
                if way[:depth] not in places:
                    above = places[way[: depth - 1]]
                    places[way[:depth]] = ElementTree.SubElement(above, "Choice", value=way[depth - 1])
    else:
        choices = ElementTree.SubElement(view, "Choices", {**about, "choice": "single-radio", "showInline": "true"})
        for name in classes.ways:
            ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    text: bytes = ElementTree.tostring(view, encoding="utf-8")
    return text + b"\n"


# Checking


def check(path: Path) -> Checked:
    """Check a folder, by own rules and by the interface of the package `label-studio-sdk`."""

    def run() -> Iterable[str]:
        interface = validators.imported("label_studio_sdk.label_interface").LabelInterface(
            (path / CONFIG).read_text(encoding="utf-8")
        )
        interface.validate()
        for number, raw in enumerate(validators.json_list(path / TASKS), 1):
            for prediction in validators.parsed(raw)["predictions"]:
                yield from (f"task {number}: {fault}" for fault in interface.validate_prediction(prediction, True))

    tasks = path / TASKS
    return validators.checked(
        validators.first_faults(lambda: _faults(path)),
        "label-studio-sdk",
        run,
        size=tasks.stat().st_size if tasks.is_file() else 0,
        advice="install the extra `label-studio`",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Interface:
    """What a config has: the names of its controls with their kinds, and their labels."""

    controls: Mapping[str, str]
    labels: Mapping[str, frozenset[str]]
    image: str


def _faults(path: Path) -> Iterator[str]:
    interface = _interface(path / CONFIG)
    previous = 0.0
    for number, raw in enumerate(validators.json_list(path / TASKS), 1):
        task, place = validators.parsed(raw), f"task {number}"
        data = task.get("data") if isinstance(task, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get(interface.image), str) or not data[interface.image]:
            yield f"{place}: `data` has no `{interface.image}`"
            continue
        predictions = task.get("predictions")
        if not isinstance(predictions, list):
            yield f"{place}: `predictions` is not a list"
            continue
        for prediction in predictions:
            if not isinstance(prediction, dict) or not isinstance(prediction.get("result"), list):
                yield f"{place}: a prediction has no list `result`"
                continue
            score: Any = prediction.get("score")
            if not validators.is_number(score) or not 0 <= score <= 1:
                yield f"{place}: `score` is {score!r}, not a number from 0 to 1"
            elif score < previous:
                yield f"{place}: its score is lower than that of the task before it"
            else:
                previous = score
            yield from (f"{place}: {fault}" for fault in _faults_of_result(prediction["result"], interface))


def _interface(file: Path) -> _Interface:
    try:
        # The parser refuses entities that grow without end.
        view = ElementTree.fromstring(file.read_bytes())  # noqa: S314
    except (OSError, ElementTree.ParseError) as error:
        raise validators.Unreadable(f"{file.name} cannot be read: {error}") from None
    image = view.find(".//Image")
    if image is None or not image.get("value", "").startswith("$"):
        raise validators.Unreadable(f"{file.name} has no Image with a value such as $image")
    named = {one.get("name", ""): one for one in view.iter() if one.tag in _TAGS}
    if not any(one.tag == "RectangleLabels" for one in named.values()):
        raise validators.Unreadable(f"{file.name} has no RectangleLabels")
    for name, one in named.items():
        if one.get("toName") != image.get("name"):
            raise validators.Unreadable(f"{file.name}: {name} is not to the image")
    return _Interface(
        controls={name: one.tag.lower() for name, one in named.items()},
        labels={name: frozenset(label.get("value", "") for label in one.iter()) for name, one in named.items()},
        image=image.get("value", "")[1:],
    )


def _faults_of_result(result: Sequence[Any], interface: _Interface) -> Iterator[str]:
    answered: set[tuple[Any, Any]] = set()
    for one in result:
        if not isinstance(one, dict) or not isinstance(one.get("value"), dict) or not isinstance(one.get("id"), str):
            yield "a region has no `id` or no `value`"
            continue
        place, control = f"region {one['id']}", str(one.get("from_name"))
        kind = interface.controls.get(control)
        if kind is None:
            yield f"{place}: `from_name` {control!r} is not in the config"
            continue
        if one.get("type") != kind:
            yield f"{place}: `type` is {one.get('type')!r}, not {kind!r}"
        if (one["id"], control) in answered:
            yield f"{place}: is there twice"
        answered.add((one["id"], control))
        yield from (f"{place}: {fault}" for fault in _faults_of_value(one["value"], kind, interface.labels[control]))


def _faults_of_value(value: Mapping[str, Any], kind: str, known: frozenset[str]) -> Iterator[str]:
    sides: list[Any] = [value.get(name) for name in ("x", "y", "width", "height")]
    if "points" in value:
        yield from _faults_of_points(value["points"])
    elif not all(map(validators.is_number, sides)):
        yield "no box of x, y, width and height"
    else:
        x, y, width, height = sides
        if width <= 0 or height <= 0:
            yield "its box is empty"
        elif value.get("rotation"):
            if min(x, y) < 0 or max(x, y) > _PERCENT:
                yield "its first corner is not within the photograph, in percent of it"
        elif min(x, y) < 0 or max(x + width, y + height) > _PERCENT + 10.0**-_DIGITS:
            yield "its box is not within the photograph, in percent of it"
    said = value.get(kind)
    if not isinstance(said, list) or not said:
        yield f"no `{kind}`"
        return
    for label in chain.from_iterable(one if isinstance(one, list) else [one] for one in said):
        if label not in known:
            yield f"the label {label!r} is not in the config"


def _faults_of_points(points: Any) -> Iterator[str]:
    if not isinstance(points, list) or len(points) < 3:
        yield "its outline has fewer than three points"
    elif not all(
        isinstance(one, list)
        and len(one) == 2
        and all(validators.is_number(value) and 0 <= value <= _PERCENT for value in one)
        for one in points
    ):
        yield "its outline is not within the photograph, in percent of it"
