"""What came of an image, checked against what its pipeline declares: the one place that knows what a pipeline may say.

Device processes, `antenna pipelines try` and the test kit check here what `Pipeline.finish` returned. Numbers and texts
of numpy and torch become Python's. What is only a little off is put right: a box that reaches beyond the photograph is
clipped, a score that was rounded past 0 or 1 is 0 or 1. All else is refused in one line that names the field and its
value, because a wrong result that nobody questions is worse than a failed image.

Neither numpy nor torch is imported for it: arrays are known by what they can do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import algorithms, given_boxes, masks
from antenna_orchestration.domain.messages import (
    MAX_COORDINATE,
    MAX_DETECTIONS,
    MAX_LABEL,
    MAX_NUMBER,
    MAX_SECONDS,
    ROUNDING,
    AlgorithmRef,
    Attribute,
    Classification,
    Detection,
    GivenBox,
    Mask,
    RotatedBox,
)
from antenna_orchestration.domain.more_than_boxes import (
    ATTRIBUTE_NAME,
    LARGEST_WHOLE,
    LONGEST_ATTRIBUTE,
    MOST_ATTRIBUTES,
    MOST_LABELS,
    is_rotated_box,
)
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.pipelines import labels as labels_of_files
from antenna_orchestration.pipelines import weights
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, PipelineSpec

logger = logging.getLogger(__name__)

ALIKE: Final = 0.005
"""By how much two figures for one score may differ: bfloat16 rounds a score by up to 0.002, and there are two."""

SMALL: Final = 100
"""Pixels of a photograph's shorter side from which on boxes that all lie within 0 and 1 are fractions, not pixels."""

_PROBABILITY: Final = "a logit becomes a probability by softmax or sigmoid, a percentage when it is divided by 100"


class _Labels(NamedTuple):
    """The labels of one algorithm."""

    # The index of each; of equal ones the first.
    places: dict[str, int]
    # How many outputs the model has.
    outputs: int


@dataclass(frozen=True, slots=True)
class Declared:
    """What a pipeline declares, in the form in which results are checked. Made once a pipeline: labels are many."""

    labels: Mapping[AlgorithmRef, _Labels]
    # The same as `domain.algorithms` asks for it.
    places: algorithms.Declared


def declared_by(spec: PipelineSpec) -> Declared:
    """What a pipeline declares. Labels that are in a file count if it is on this machine; nothing is fetched."""
    labels: dict[AlgorithmRef, _Labels] = {}
    for algorithm in spec.algorithms:
        names = algorithm.labels or _in_file(algorithm)
        places: dict[str, int] = {}
        for index, name in enumerate(names):
            places.setdefault(name, index)
        labels[algorithm.ref] = _Labels(places, len(names))
    return Declared(labels, {ref: one.places for ref, one in labels.items()})


def _in_file(algorithm: AlgorithmSpec) -> Sequence[str]:
    try:
        if algorithm.labels_uri and weights.cached_path(algorithm.labels_uri).is_file():
            return labels_of_files.fetch_labels(algorithm)
    except errors.AntennaError as error:
        # The pipeline may read the file in a way of its own.
        logger.warning("labels of %s are not checked in results: %s", algorithm.key, error)
    return ()


def checked(result: Any, declared: Declared, *, given: Sequence[GivenBox] | None = None) -> ImageResult:
    """What `Pipeline.finish` returned, in Python's own types and put right; raises `InvalidInput` if it cannot be.

    `given` are the boxes that the image came with. They come back as they were given, also beyond the photograph's
    edge, with detector and score as given, whatever the pipeline says of those.
    """
    try:
        return _checked(result, declared, given)
    except _Fault as fault:
        raise errors.InvalidInput(str(fault)) from None


class _Fault(Exception):
    """A value that is refused: the path to its field, and what is wrong with it."""

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(field, wrong)
        self.field, self.wrong = field, wrong

    def __str__(self) -> str:
        return f"{self.field} {self.wrong}"

    def within(self, owner: str) -> _Fault:
        """The same, as seen from the thing that has the field. An empty field is the thing itself."""
        return _Fault(f"{owner}.{self.field}" if self.field else owner, self.wrong)


def _checked(result: Any, declared: Declared, given: Sequence[GivenBox] | None) -> ImageResult:
    if not isinstance(result, ImageResult):
        raise _Fault("finish", f"returned {_shown(result)}, not an ImageResult")
    check = _Check(declared, _size(result.width, "width"), _size(result.height, "height"), are_given=given is not None)
    found = _list(result.detections, "detections")
    if len(found) > MAX_DETECTIONS:
        raise _Fault("detections", f"are {len(found):,}; the most in one image are {MAX_DETECTIONS:,}")
    detections = []
    for number, one in enumerate(found):
        try:
            detections.append(check.detection(one))
        except _Fault as fault:
            raise fault.within(f"detections[{number}]") from None
    check.unit(found, detections)
    labels = _list(result.labels, "labels")
    if len(labels) > MOST_LABELS:
        raise _Fault("labels", f"are {len(labels):,}; the most of one photograph are {MOST_LABELS:,}")
    labels = check.classifications(labels, "labels")
    _check_vectors(detections, labels, declared)
    return ImageResult(
        width=check.width,
        height=check.height,
        detections=detections if given is None else given_boxes.classified(given, detections),
        labels=tuple(labels),
        attributes=_attributes(result.attributes),
    )


class _Check:
    """The check of one image's result."""

    def __init__(self, declared: Declared, width: int | None, height: int | None, *, are_given: bool) -> None:
        self.width, self.height = width, height
        self._declared = declared
        self._are_given = are_given

    def detection(self, one: Any) -> Detection:
        """A detection, the same object if there is nothing to change. Raises `_Fault`, and so do all others."""
        if not isinstance(one, Detection):
            raise _Fault("", f"is {_shown(one)}, not a Detection")
        box = self._box(one.box)
        # With given boxes, detector and score are those of the job that found them.
        algorithm, score = one.algorithm, one.score
        if not self._are_given:
            algorithm = self._algorithm(algorithm)
            score = _probability(score)
        said = self.classifications(_list(one.classifications, "classifications"), "classifications")
        seconds = _seconds(one.inference_time)
        mask = self._mask(one.mask) if _is_there(one.mask) else msgspec.UNSET
        rotated = self._rotated(one.rotated, box) if _is_there(one.rotated) else msgspec.UNSET
        attributes = _attributes(one.attributes) if _is_there(one.attributes) else {}
        if (
            box is one.box
            and score is one.score
            and algorithm is one.algorithm
            and said is one.classifications
            and seconds is one.inference_time
            and mask is one.mask
            and rotated is one.rotated
            and one.attributes is msgspec.UNSET
        ):
            return one
        return Detection(
            box=box,
            score=score,
            algorithm=algorithm,
            classifications=said,
            inference_time=seconds,
            mask=mask,
            rotated=rotated,
            attributes=attributes or msgspec.UNSET,
        )

    def classifications(self, said: list[Any], field: str) -> list[Classification]:
        """What is said of a detection or of the whole image; the same list if there is nothing to change."""
        changed = False
        made = []
        for number, one in enumerate(said):
            try:
                checked_one = self._classification(one)
            except _Fault as fault:
                raise fault.within(f"{field}[{number}]") from None
            made.append(checked_one)
            changed = changed or checked_one is not one
        return made if changed else said

    def unit(self, found: Sequence[Detection], checked_ones: Sequence[Detection]) -> None:
        """Refuse boxes in fractions of the photograph: all of them within 0 and 1 where it has hundreds of pixels."""
        if self._are_given or not found or self.width is None or self.height is None:
            return
        if min(self.width, self.height) >= SMALL and all(max(one.box) <= 1 for one in checked_ones):
            box = _coordinates(found[0].box)
            raise _Fault(
                "detections[0].box",
                f"is {box} in a photograph of {self.width} x {self.height}, and no box reaches beyond 1: boxes are in "
                "pixels, so multiply x by the width and y by the height",
            )

    def _box(self, box: Any) -> tuple[float, float, float, float]:
        try:
            x1, y1, x2, y2 = box
        except (TypeError, ValueError):
            raise _Fault("box", f"is {_shown(box)}; four numbers are wanted: x1, y1, x2, y2") from None
        if not (type(box) is tuple and type(x1) is type(y1) is type(x2) is type(y2) is float):
            x1, y1, x2, y2 = (_number(value, f"box[{n}]") for n, value in enumerate((x1, y1, x2, y2)))
            box = (x1, y1, x2, y2)
        # It catches NaN, too, since nothing is less or more than that.
        if not (-MAX_COORDINATE <= x1 <= x2 <= MAX_COORDINATE and -MAX_COORDINATE <= y1 <= y2 <= MAX_COORDINATE):
            raise _Fault(
                "box",
                f"is {_coordinates(box)}; wanted are x1 <= x2, y1 <= y2 in pixels up to {MAX_COORDINATE:.0f} (not x, "
                "y, width, height)",
            )
        width, height = self.width, self.height
        own: tuple[float, float, float, float] = box
        if self._are_given or width is None or height is None:
            return own
        if x2 < 0 or y2 < 0 or x1 > width or y1 > height:
            turned = width != height and x2 >= 0 and y2 >= 0 and x1 <= height and y1 <= width
            raise _Fault(
                "box",
                f"is {_coordinates(box)}, outside the photograph of {width} x {height}"
                + (": was it turned as its EXIF data say? Boxes are in pixels as stored" if turned else ""),
            )
        if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
            return own
        return (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))

    def _algorithm(self, algorithm: Any) -> AlgorithmRef:
        if type(algorithm) is not AlgorithmRef:
            hint = "; give its .ref" if hasattr(algorithm, "ref") else ""
            raise _Fault("algorithm", f"is {_shown(algorithm)}, not an AlgorithmRef{hint}")
        if algorithm not in self._declared.labels and self._declared.labels:
            raise _Fault("algorithm", f"is undeclared: {algorithms.why_undeclared(self._declared.places, algorithm)}")
        return algorithm

    def _classification(self, one: Any) -> Classification:
        if not isinstance(one, Classification):
            raise _Fault("", f"is {_shown(one)}, not a Classification")
        algorithm = self._algorithm(one.algorithm)
        known = self._declared.labels.get(algorithm, _Labels({}, 0))
        label = _label(one.label, known)
        score = _probability(one.score)
        names, scores = _list(one.top_labels, "top_labels"), _list(one.top_scores, "top_scores")
        if len(names) != len(scores):
            raise _Fault("top_scores", f"are {len(scores)}, and top_labels {len(names)}: each label has its score")
        if names:
            names, scores = _top(names, scores)
            _check_best(label, score, names, scores)
        if known.places and not (label in known.places and all(map(known.places.__contains__, names))):
            why = algorithms.why_undeclared(self._declared.places, algorithm, (label, *names))
            raise _Fault("label" if label not in known.places else "top_labels", f"is undeclared: {why}")
        vector = one.scores if one.scores is None or type(one.scores) is bytes else _bytes(one.scores)
        seconds = _seconds(one.inference_time)
        terminal = one.terminal if type(one.terminal) is bool else _truth(one.terminal, "terminal")
        if (
            label is one.label
            and score is one.score
            and names is one.top_labels
            and scores is one.top_scores
            and vector is one.scores
            and seconds is one.inference_time
            and terminal is one.terminal
        ):
            return one
        return Classification(
            algorithm=algorithm,
            label=label,
            score=score,
            top_labels=names,
            top_scores=scores,
            terminal=terminal,
            scores=vector,
            inference_time=seconds,
        )

    def _mask(self, mask: Any) -> Mask:
        if not isinstance(mask, Mask):
            raise _Fault("mask", f"is {_shown(mask)}, not a Mask")
        made = Mask(
            _whole(mask.height, "mask.height"), _whole(mask.width, "mask.width"), _text(mask.counts, "mask.counts")
        )
        if (
            self.width is not None
            and self.height is not None
            and (made.width, made.height) != (self.width, self.height)
        ):
            raise _Fault(
                "mask", f"is of {made.width} x {made.height} pixels, and the photograph of {self.width} x {self.height}"
            )
        try:
            masks.checked(made)
        except errors.InvalidInput as error:
            raise _Fault("mask", f"cannot be read: {error}") from None
        return mask if made == mask and type(mask.counts) is str else made

    def _rotated(self, rotated: Any, box: tuple[float, float, float, float]) -> RotatedBox:
        if not isinstance(rotated, RotatedBox):
            raise _Fault("rotated", f"is {_shown(rotated)}, not a RotatedBox")
        names = ("cx", "cy", "width", "height", "angle")
        values = [_number(getattr(rotated, name), f"rotated.{name}") for name in names]
        made = RotatedBox(*values)
        if not is_rotated_box(made):
            raise _Fault(
                "rotated",
                f"is {_coordinates(values)}; wanted are cx, cy, width, height in pixels, and degrees in [-180, 180]",
            )
        corners = masks.corners_of(made)
        across, down = [x for x, _ in corners], [y for _, y in corners]
        around: tuple[float, ...] = (min(across), min(down), max(across), max(down))
        if self.width is not None and self.height is not None:
            edges = (self.width, self.height) * 2
            around = tuple(min(max(value, 0.0), float(edge)) for value, edge in zip(around, edges, strict=True))
        # Generous: models round, and some clip corners. Degrees that are radians are further off.
        most = 2 + 0.1 * max(made.width, made.height)
        if not self._are_given and max(abs(one - other) for one, other in zip(around, box, strict=True)) > most:
            raise _Fault(
                "rotated",
                f"is {_coordinates(values)}, around which is the box {_coordinates(around)}, and box is "
                f"{_coordinates(box)}: the angle is in degrees, clockwise as seen",
            )
        return rotated if all(type(getattr(rotated, name)) is float for name in names) else made


def _top(names: list[Any], scores: list[Any]) -> tuple[list[str], list[float]]:
    """The best classes and their scores, best first; the same lists if there is nothing to change."""
    texts = [name if type(name) is str else _text(name, f"top_labels[{n}]") for n, name in enumerate(names)]
    if max(map(len, texts)) > MAX_LABEL:
        raise _Fault("top_labels", f"hold a label of more than {MAX_LABEL} characters")
    values: list[float] = []
    before = 1.0
    for number, score in enumerate(scores):
        value = score if type(score) is float else _number(score, f"top_scores[{number}]")
        if not 0.0 <= value <= 1.0:
            value = _rounded(value, f"top_scores[{number}]")
        if value > before + ROUNDING:
            raise _Fault(
                "top_scores", f"are not descending: {before:g} comes before {value:g}; the best class comes first"
            )
        before = value
        values.append(value)
    return (
        names if all(map(_is, names, texts)) else texts,
        scores if all(map(_is, scores, values)) else values,
    )


def _check_best(label: str, score: float | None, names: Sequence[str], scores: Sequence[float]) -> None:
    """Refuse a label that is not the first of the best ones, or whose score is another there."""
    if label != names[0]:
        place = names.index(label) if label in names else None
        if place is None or scores[0] - scores[place] > ROUNDING:
            raise _Fault(
                "label", f"is {label!r}, and the first of top_labels, which has the best score, is {names[0]!r}"
            )
    if score is None or abs(score - scores[0]) > ALIKE:
        raise _Fault(
            "score", f"is {score if score is None else format(score, 'g')}, and the first of top_scores {scores[0]:g}"
        )


def _check_vectors(detections: Sequence[Detection], labels: Sequence[Classification], declared: Declared) -> None:
    """Refuse whole score vectors that no probabilities are in, or that say something else than label and score."""
    alike: dict[tuple[AlgorithmRef, int], list[tuple[int, int, Classification]]] = {}
    for number, detection in enumerate(detections):
        for place, one in enumerate(detection.classifications):
            if one.scores is not None:
                alike.setdefault((one.algorithm, len(one.scores)), []).append((number, place, one))
    for place, one in enumerate(labels):
        if one.scores is not None:
            alike.setdefault((one.algorithm, len(one.scores)), []).append((-1, place, one))
    for (algorithm, size), ones in alike.items():
        known = declared.labels.get(algorithm, _Labels({}, 0))
        found = _why_not_vectors([one for _, _, one in ones], size, known)
        if found is not None:
            index, wrong = found
            number, place, _ = ones[index]
            owner = f"detections[{number}].classifications" if number >= 0 else "labels"
            raise _Fault(f"{owner}[{place}].scores", wrong)


def _why_not_vectors(ones: Sequence[Classification], size: int, known: _Labels) -> tuple[int, str] | None:
    """Which of some vectors of equal length is wrong, and what is wrong with it; None if none is."""
    # Not at the top: who gives vectors has it, and a pipeline without them need not.
    import numpy as np

    if size % 2 or not size or (known.outputs and size != 2 * known.outputs):
        wanted = f"{known.outputs} float16 numbers, one a label" if known.outputs else "float16 numbers"
        return 0, f"has {size} bytes; wanted are {wanted}, as score_vectors.packed makes them"
    values = np.frombuffer(b"".join(one.scores or b"" for one in ones), "<f2").reshape(len(ones), -1)
    values = values.astype(np.float32)
    # It catches NaN, too.
    fits = (values >= -ROUNDING) & (values <= 1 + ROUNDING)
    if not fits.all():
        row, column = np.argwhere(~fits)[0].tolist()
        return row, f"holds {values[row, column]:g} for class {column}; wanted are probabilities: {_PROBABILITY}"
    best = values.max(axis=1)
    scores = np.array(
        [top if one.score is None else one.score for one, top in zip(ones, best, strict=True)], np.float32
    )
    places = [known.places.get(one.label, 0) for one in ones]
    own = values[np.arange(len(ones)), places] if len(known.places) == known.outputs > 0 else best
    off = (best - own > ALIKE) | (abs(best - scores) > ALIKE)
    if off.any():
        row = int(off.argmax())
        one, column = ones[row], int(values[row].argmax())
        name = list(known.places)[column] if len(known.places) == known.outputs > 0 else f"class {column}"
        return row, (
            f"has its best score, {best[row]:g}, for {name!r}, and the label is {one.label!r} with {one.score}: the "
            "scores are in the order of the labels"
        )
    return None


# Single values. Each returns the very object it was given if that is what is wanted.


def _is_there(value: object) -> bool:
    return value is not msgspec.UNSET and value is not None


def _is(one: object, other: object) -> bool:
    return one is other


def _plain(value: Any) -> Any:
    """The Python value of a scalar of numpy or torch; anything else as it is."""
    item = getattr(value, "item", None)
    return item() if callable(item) and getattr(value, "ndim", None) == 0 else value


def _number(value: Any, field: str) -> float:
    """A number, which may be NaN or infinite: who asks has bounds, and those are within none."""
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, float)):
        raise _Fault(field, f"is {_shown(value)}, not a number")
    try:
        return plain if type(plain) is float else float(plain)
    except OverflowError:
        raise _Fault(field, f"is {_shown(value)}, too large a number") from None


def _probability(score: Any) -> float | None:
    if type(score) is float and 0.0 <= score <= 1.0:
        return score
    return None if score is None else _rounded(_number(score, "score"), "score")


def _rounded(value: float, field: str) -> float:
    """A probability that may have been rounded past 0 or 1, without that."""
    if not -ROUNDING <= value <= 1 + ROUNDING:
        hint = f": {_PROBABILITY}" if abs(value) < float("inf") else ""
        raise _Fault(field, f"is {value:g}, not a probability in [0, 1]{hint}")
    return min(max(value, 0.0), 1.0)


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    seconds = _number(value, "inference_time")
    if not 0 <= seconds <= MAX_SECONDS:
        raise _Fault("inference_time", f"is {seconds:g}, no number of seconds")
    return seconds


def _whole(value: Any, field: str) -> int:
    plain = _plain(value)
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise _Fault(field, f"is {_shown(value)}, not a whole number of pixels")
    if not 1 <= plain <= MAX_NUMBER:
        raise _Fault(field, f"is {plain}; wanted are 1 to {MAX_NUMBER:,} pixels")
    return int(plain)


def _size(value: Any, field: str) -> int | None:
    return None if value is None else _whole(value, field)


def _truth(value: Any, field: str) -> bool:
    plain = _plain(value)
    if not isinstance(plain, bool):
        raise _Fault(field, f"is {_shown(value)}, neither True nor False")
    return plain


def _text(value: Any, field: str) -> str:
    """A text that can be stored and sent."""
    if not isinstance(value, str):
        raise _Fault(field, f"is {_shown(value)}, not a text")
    text = value if type(value) is str else str(value)
    if "\0" in text or not (text.isascii() or _is_unicode(text)):
        raise _Fault(field, f"is {text[:100]!r}, which holds characters that no text file can")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _label(value: Any, known: _Labels) -> str:
    if type(value) is str and value in known.places:
        # It was read from a description, and need not be looked at again.
        return value
    plain = _plain(value)
    if isinstance(plain, int) and not isinstance(plain, bool):
        name = next((name for name, place in known.places.items() if place == plain), None)
        hint = f": name it, labels[{plain}] is {name!r}" if name is not None else ": give the class's name"
        raise _Fault("label", f"is {_shown(value)}, not a text{hint}")
    text = _text(value, "label")
    if len(text) > MAX_LABEL:
        raise _Fault("label", f"is {text[:50]!r}…, of more than {MAX_LABEL} characters")
    return text


def _bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _Fault("scores", f"is {_shown(value)}, not bytes: score_vectors.packed makes them")
    return bytes(value)


def _list(value: Any, field: str) -> list[Any]:
    """The members of a list, a tuple, or an array in one dimension."""
    if type(value) is list:
        return value
    if isinstance(value, (list, tuple)):
        return list(value)
    if callable(getattr(value, "tolist", None)) and getattr(value, "ndim", None) == 1:
        return list(value.tolist())
    raise _Fault(field, f"is {_shown(value)}, not a list")


def _attributes(value: Any) -> dict[str, Attribute]:
    """Free attributes: short plain values under plain names."""
    if not isinstance(value, Mapping):
        raise _Fault("attributes", f"is {_shown(value)}, not a dict")
    if len(value) > MOST_ATTRIBUTES:
        raise _Fault("attributes", f"are {len(value)}; the most are {MOST_ATTRIBUTES}")
    return {_attribute_name(name): _attribute(one, f"attributes[{name!r}]") for name, one in value.items()}


def _attribute_name(name: Any) -> str:
    if not isinstance(name, str) or not ATTRIBUTE_NAME.fullmatch(name):
        raise _Fault("attributes", f"have the name {_shown(name)}; names are 1 to 50 of the characters a-z, 0-9 and _")
    return str(name)


def _attribute(value: Any, field: str) -> Attribute:
    plain = _plain(value)
    if isinstance(plain, str):
        text = _text(plain, field)
        if len(text) > LONGEST_ATTRIBUTE:
            raise _Fault(field, f"has {counted(len(text), 'character')}; the most are {LONGEST_ATTRIBUTE}")
        return text
    if isinstance(plain, bool):
        return plain
    if isinstance(plain, int) and abs(plain) <= LARGEST_WHOLE:
        return int(plain)
    if isinstance(plain, float) and abs(plain) < float("inf"):
        return float(plain)
    raise _Fault(field, f"is {_shown(value)}; wanted is a text, a finite number, True or False")


def _shown(value: Any) -> str:
    """A value with its type, for a message."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"a {type(value).__name__} of shape {tuple(shape)}"
    if value is None:
        return "None"
    text = " ".join(repr(value).split())
    return f"{text[:80]}{'…' if len(text) > 80 else ''} ({type(value).__name__})"


def _coordinates(values: Sequence[Any]) -> str:
    return f"({', '.join(f'{float(value):g}' for value in values)})"
