"""Reads the YAML file that declares a pipeline, and makes a `PipelineSpec` of it.

Neither torch nor numpy nor a model is loaded for that. docs/reference/declared-pipelines.md explains each field. A file
that has `program` is of the older form, which `exported/description.py` reads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.domain import ids, score_vectors
from antenna_orchestration.pipelines import labels, yaml_files
from antenna_orchestration.pipelines.declared import recipe
from antenna_orchestration.pipelines.declared.recipe import Activation, Fit, Format, Resize, Runtime
from antenna_orchestration.pipelines.exported import description as exported
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec
from antenna_orchestration.pipelines.light_trap import specs as light_trap
from antenna_orchestration.pipelines.published import specs as published
from antenna_orchestration.pipelines.published.specs import Triple

SUFFIXES: Final = exported.SUFFIXES

SHIPPED: Final = {spec.slug: spec for spec in (*light_trap.PIPELINES, *published.PIPELINES)}
"""Pipelines that may be a detector."""

_DETECTORS: Final[frozenset[Runtime]] = frozenset({*recipe.PROGRAMS, "yolo", "torchvision", "transformers"})
_CLASSIFIERS: Final[frozenset[Runtime]] = frozenset({*recipe.PROGRAMS, "yolo", "torchvision", "timm", "transformers"})

_NAMED: Final = {"timm": "model", "torchvision": "model", "transformers": "folder"}
"""What says which model it is, beside or instead of `file`."""

_OF_CROPS: Final = frozenset({"margin", "square"})
_OF_PICTURES: Final = frozenset({"tile"})
_BY_ITSELF: Final[Mapping[str, frozenset[str]]] = {
    "yolo": frozenset({"size", "at_once"}),
    "transformers": frozenset({"at_once"}),
    "torchvision": frozenset({"at_once"}),
}
"""Fields of `input` for runtimes that shape pictures themselves; torchvision's detectors do, its classifiers do not."""

_YOLO_OPTIONS: Final = frozenset({"agnostic_nms", "augment", "half", "rect"})
"""Of its `predict`, those that change only how it infers, and write no files."""

_DETECTS: Final = frozenset({"nms", "min_score", "most"})

LABELS = list[str | int] | dict[str | int, str | int] | str

T = TypeVar("T")


class Tile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`input.tile`."""

    size: int
    overlap: float = 0.2
    merge: float = 0.5
    whole: bool = False


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`input` of a model."""

    size: int | tuple[int, int] | None = None
    fit: Fit | None = None
    shorter: int | None = None
    pad: int | tuple[int, int, int] | None = None
    resize: Resize | None = None
    channels: Literal["rgb", "bgr"] | None = None
    divide: float | None = None
    mean: Triple | None = None
    std: Triple | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    tile: Tile | None = None
    margin: float | None = None
    square: bool | None = None
    at_once: int | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`output` of a model. `nms: false` is for none at all."""

    activation: Activation | None = None
    format: Format | None = None
    background: Literal["first", "last", "none"] | None = None
    corners: Literal["xyxy", "cxcywh", "xywh"] | None = None
    unit: Literal["pixels", "shares"] | None = None
    outputs: list[Literal["boxes", "scores", "labels", "_"]] | None = None
    nms: float | bool | None = None
    min_score: float | None = None
    most: int | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What detectors and classifiers have in common."""

    runtime: Runtime | None = None
    file: str | None = None
    model: str | None = None
    folder: str | None = None
    labels: LABELS | None = None
    options: dict[str, str | int | float | bool | None] = {}
    key: str = ""
    version: str | int = ""
    name: str = ""
    input: Input = Input()
    output: Output = Output()


class Detector(Step, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`detector`: a model, or a pipeline of this project."""

    pipeline: str | None = None
    config: dict[str, Any] = {}


class Classifier(Step, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `classifiers`."""

    of: list[str | int] = []


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file."""

    slug: str
    version: str | int = "1"
    name: str = ""
    description: str = ""
    requirements: list[str] = []
    detector: Detector | None = None
    classifiers: list[Classifier] = []
    rotate: Literal["none", "exif"] = "none"
    batch_size: int = 4


_FIELDS: Final = frozenset(
    name for one in (Description, Detector, Classifier, Input, Output, Tile) for name in one.__struct_fields__
)


def from_yaml(path: Path) -> PipelineSpec:
    """The pipeline that a YAML file declares. Raises `InvalidSetting`, which names the file and the wrong field."""
    try:
        # Any map, so that the form can be told.
        given = yaml_files.read(path.read_bytes())
    except (OSError, ValueError) as error:
        raise errors.InvalidSetting(f"{path}: {error}") from None
    if isinstance(given, dict) and "program" in given and not ({"detector", "classifiers"} & set(given)):
        return exported.of_yaml(path, given)
    try:
        declared = msgspec.convert(given, Description)
    except msgspec.ValidationError as error:
        raise errors.InvalidSetting(f"{path}: {yaml_files.explained(str(error), _FIELDS)}") from None
    try:
        return _Reading(path, declared).spec()
    except errors.InvalidInput as error:
        raise errors.InvalidSetting(f"{path}: {error}") from None


class _Reading:
    """One file on its way to a spec. All methods raise `InvalidInput`, which names the field."""

    def __init__(self, path: Path, given: Description) -> None:
        self._path = path
        self._given = given
        self._version = str(given.version)
        self._stem = given.slug.replace("-", "_")
        # A letter before a dot: `Lab moths` names the pipeline, `Lab moths, detector` its model.
        self._name = given.name or given.slug

    def spec(self) -> PipelineSpec:
        given = self._given
        ids.slug(given.slug, "slug")
        _at_least(1, given.batch_size, "batch_size")
        if given.detector is None and not given.classifiers:
            raise errors.InvalidInput("it has neither a detector nor classifiers")
        shipped = self._shipped()
        detector = None if given.detector is None or shipped else self._detector(given.detector)
        classifiers = tuple(self._classifier(index, one) for index, one in enumerate(given.classifiers))
        algorithms = [*(shipped.algorithms if shipped else ())]
        if detector:
            algorithms += [one for one in (detector.algorithm, detector.names) if one]
        algorithms += [one.algorithm for one in classifiers]
        _all_different(algorithms)
        _reachable(algorithms, classifiers)
        return PipelineSpec(
            slug=given.slug,
            name=self._name,
            version=self._version,
            description=given.description,
            algorithms=tuple(algorithms),
            factory=recipe.FACTORY,
            recipe=recipe.Recipe(
                detector=detector,
                pipeline=shipped.slug if shipped else None,
                classifiers=classifiers,
                turns=given.rotate == "exif",
            ),
            **self._settings(shipped),
            # A box that is given has no name of this pipeline's detector, on which a classifier may depend.
            takes_detections=given.detector is not None and bool(classifiers) and not classifiers[0].of,
            batch_size=given.batch_size,
            requirements=tuple(given.requirements),
        )

    def _settings(self, shipped: PipelineSpec | None) -> dict[str, Any]:
        given = self._given
        default: dict[str, Any] = {}
        choices: dict[str, tuple[Any, ...]] = {}
        ranges: dict[str, tuple[float, float]] = {}
        meanings: dict[str, str] = {}
        if shipped:
            assert given.detector is not None
            try:
                default |= shipped.merged_config(given.detector.config)
            except errors.InvalidInput as error:
                raise errors.InvalidInput(f"detector.config: {error}") from None
            choices |= shipped.choices
            ranges |= shipped.ranges
            meanings |= shipped.meanings
        elif given.detector:
            default["min_score"] = _min_score(given.detector)
            ranges |= published.RANGES
            meanings["min_score"] = published.MEANINGS["min_score"]
        if given.classifiers and score_vectors.SETTING not in default:
            default[score_vectors.SETTING] = score_vectors.AUTO
            choices[score_vectors.SETTING] = score_vectors.CHOICES
            meanings[score_vectors.SETTING] = score_vectors.MEANING
        return {"default_config": default, "choices": choices, "ranges": ranges, "meanings": meanings}

    def _shipped(self) -> PipelineSpec | None:
        given = self._given.detector
        if given is None or given.pipeline is None:
            if given is not None and given.config:
                raise errors.InvalidInput("detector.config is for detector.pipeline")
            return None
        if given.pipeline not in SHIPPED:
            raise errors.InvalidInput(
                f"detector.pipeline {given.pipeline!r} is none of this project's: {', '.join(SHIPPED)}"
            )
        others = [name for name in _told(given) if name not in ("pipeline", "config")]
        if others:
            raise errors.InvalidInput(f"detector has a pipeline, so it takes no {others[0]}")
        return SHIPPED[given.pipeline]

    def _detector(self, given: Detector) -> recipe.Model:
        runtime = self._runtime("detector", given, _DETECTORS)
        _fields_fit("detector", given, runtime, detects=True, crops=False)
        source = self._source("detector", given, runtime)
        key = given.key or f"{self._stem}_detector"
        algorithm = AlgorithmSpec(
            key=_key("detector.key", key),
            version=str(given.version or self._version),
            name=given.name or f"{self._name}: detector",
            task="localization",
            uri=source,
        )
        names = None
        if given.labels is not None or runtime in ("yolo", "transformers"):
            said = self._labels("detector", given, runtime, source)
            names = AlgorithmSpec(
                key=f"{key}_labels",
                version=algorithm.version,
                name=f"{algorithm.name}, labels",
                task="classification",
                uri=source,
                **said,
            )
        return recipe.Model(
            place="detector",
            runtime=runtime,
            source=source,
            architecture=given.model or "",
            options=given.options,
            input=_input("detector.input", given.input, runtime, detects=True),
            output=_output("detector.output", given.output, runtime),
            algorithm=algorithm,
            names=names,
        )

    def _classifier(self, index: int, given: Classifier) -> recipe.Model:
        place = f"classifiers[{index}]"
        runtime = self._runtime(place, given, _CLASSIFIERS)
        _fields_fit(place, given, runtime, detects=False, crops=self._given.detector is not None)
        source = self._source(place, given, runtime)
        if given.labels is None and runtime not in ("yolo", "transformers"):
            raise errors.InvalidInput(f"{place}.labels is missing: a list, or a file of them")
        if given.of and index == 0 and self._given.detector is None:
            raise errors.InvalidInput(f"{place}.of: nothing names a photograph before the first classifier")
        many = len(self._given.classifiers) > 1
        key = given.key or f"{self._stem}_classifier{f'_{index + 1}' if many else ''}"
        return recipe.Model(
            place=place,
            runtime=runtime,
            source=source,
            architecture=given.model or "",
            options=given.options,
            input=_input(f"{place}.input", given.input, runtime, detects=False),
            output=recipe.Output(
                activation="none" if runtime == "yolo" else given.output.activation or "softmax",
            ),
            algorithm=AlgorithmSpec(
                key=_key(f"{place}.key", key),
                version=str(given.version or self._version),
                name=given.name or (f"{self._name}: classifier{f' {index + 1}' if many else ''}"),
                task="classification",
                uri=source,
                **self._labels(place, given, runtime, source),
            ),
            of=tuple(str(one) for one in given.of),
        )

    def _runtime(self, place: str, given: Step, allowed: frozenset[Runtime]) -> Runtime:
        if given.runtime is None:
            also = " or a pipeline" if place == "detector" else ""
            raise errors.InvalidInput(f"{place} names no runtime{also}; a runtime is {_one_of(allowed)}")
        if given.runtime not in allowed:
            what = "find boxes" if place == "detector" else "name pictures"
            raise errors.InvalidInput(f"{place}.runtime {given.runtime} does not {what}; {_one_of(allowed)} do")
        return given.runtime

    def _source(self, place: str, given: Step, runtime: Runtime) -> str:
        """The address of the model's file or folder."""
        named = _NAMED.get(runtime)
        wanted = {"folder"} if runtime == "transformers" else {"file", *([named] if named else [])}
        for field in ("file", "model", "folder"):
            value = getattr(given, field)
            if (value is not None) != (field in wanted):
                is_missing = "is missing: " if value is None else "is given, and "
                raise errors.InvalidInput(f"{place}.{field} {is_missing}runtime {runtime} takes {' and '.join(wanted)}")
        source = given.folder if runtime == "transformers" else given.file
        assert source is not None
        if runtime == "transformers" and "://" in source:
            raise errors.InvalidInput(f"{place}.folder is a folder on this machine, not an address")
        return self._address(source)

    def _labels(self, place: str, given: Step, runtime: Runtime, source: str) -> dict[str, Any]:
        if given.labels is None:
            # A Hugging Face folder has them in a file of its own, and YOLO's are inside the weights.
            return {"labels_uri": f"{source}/config.json"} if runtime == "transformers" else {}
        if isinstance(given.labels, str):
            return {"labels_uri": self._address(given.labels)}
        try:
            return {"labels": labels.in_order(given.labels)}
        except ValueError as error:
            raise errors.InvalidInput(f"{place}.labels: {error}") from None

    def _address(self, file: str) -> str:
        return file if "://" in file else str(self._path.resolve().parent / Path(file).expanduser())


def _input(place: str, given: Input, runtime: Runtime, *, detects: bool) -> recipe.Input:
    for field in ("shorter", "at_once"):
        _at_least(1, getattr(given, field), f"{place}.{field}")
    width, height = (given.size, given.size) if isinstance(given.size, int) else given.size or (None, None)
    _at_least(1, width, f"{place}.size")
    _at_least(1, height, f"{place}.size")
    if given.divide is not None and given.divide <= 0:
        raise errors.InvalidInput(f"{place}.divide must be above 0")
    if given.std is not None and min(given.std) <= 0:
        raise errors.InvalidInput(f"{place}.std must be above 0")
    if not 0 <= (given.margin or 0) <= 2:
        raise errors.InvalidInput(f"{place}.margin is a share of the box on each side, 0 to 2, not {given.margin}")
    pad = (given.pad,) * 3 if isinstance(given.pad, int) else given.pad or (114, 114, 114)
    if not all(0 <= value <= 255 for value in pad):
        raise errors.InvalidInput(f"{place}.pad is a grey value or three, 0 to 255")
    fit: Fit = given.fit or ("letterbox" if detects else "stretch")
    if fit == "none" and width:
        raise errors.InvalidInput(f"{place}.size is given, and fit none keeps each picture's own")
    if given.shorter and fit != "crop":
        raise errors.InvalidInput(f"{place}.shorter is for fit crop")
    if detects and fit == "crop":
        raise errors.InvalidInput(f"{place}.fit crop would not show the detector the edges; letterbox or stretch do")
    if given.pad is not None and fit != "letterbox":
        raise errors.InvalidInput(f"{place}.pad is for fit letterbox")
    # timm's models know their own normalisation and size.
    imagenet = not detects and runtime != "timm"
    plain = detects and runtime in recipe.PROGRAMS
    mean = published.IMAGENET_MEAN if imagenet else (0.0, 0.0, 0.0) if plain else None
    std = published.IMAGENET_STD if imagenet else (1.0, 1.0, 1.0) if plain else None
    if not detects and runtime == "torchvision" and width is None:
        width = height = 224
    return recipe.Input(
        width=width,
        height=height,
        fit=fit,
        shorter=given.shorter,
        pad=pad,
        resize=given.resize
        or ("opencv-linear" if fit == "letterbox" else None if runtime == "timm" else "pillow-bilinear"),
        bgr=given.channels == "bgr",
        divide=given.divide or 255.0,
        mean=given.mean or mean,
        std=given.std or std,
        channels_last=given.layout == "nhwc",
        tile=_tile(f"{place}.tile", given.tile),
        margin=given.margin or 0.0,
        square=bool(given.square),
        at_once=given.at_once,
    )


def _tile(place: str, given: Tile | None) -> recipe.Tile | None:
    if given is None:
        return None
    _at_least(32, given.size, f"{place}.size")
    if not 0 <= given.overlap <= 0.9:
        raise errors.InvalidInput(f"{place}.overlap is a share of the tile, 0 to 0.9, not {given.overlap}")
    if not 0 < given.merge <= 1:
        raise errors.InvalidInput(f"{place}.merge is an overlap (IoU) above 0, up to 1, not {given.merge}")
    return recipe.Tile(size=given.size, overlap=given.overlap, merge=given.merge, whole=given.whole)


def _output(place: str, given: Output, runtime: Runtime) -> recipe.Output:
    form: Format = given.format or "boxes"
    if runtime in recipe.PROGRAMS and given.format is None:
        raise errors.InvalidInput(f"{place}.format is missing: yolo, yolo5, end2end or boxes")
    for field in ("background", "corners", "unit", "outputs"):
        if getattr(given, field) is not None and form != "boxes":
            raise errors.InvalidInput(f"{place}.{field} is for format boxes, not {form}")
    if form == "end2end" and given.activation not in (None, "none"):
        raise errors.InvalidInput(f"{place}.activation: what is end2end has scores already")
    if given.activation == "softmax" and form != "boxes":
        raise errors.InvalidInput(f"{place}.activation softmax is for format boxes, not {form}")
    outputs = tuple(given.outputs or ("boxes", "scores", "labels"))
    used = [one for one in outputs if one != "_"]
    if len(set(used)) < len(used) or not {"boxes", "scores"} <= set(used):
        raise errors.InvalidInput(f"{place}.outputs names boxes and scores once each, and labels at most once")
    if isinstance(given.nms, float | int) and given.nms is not True and not 0 <= given.nms <= 1:
        raise errors.InvalidInput(f"{place}.nms is an overlap (IoU), 0 to 1, or false, not {given.nms}")
    if given.nms is True:
        raise errors.InvalidInput(f"{place}.nms is an overlap (IoU), 0 to 1, or false, not true")
    _at_least(1, given.most, f"{place}.most")
    usual = {"yolo": 0.7, "yolo5": 0.45} if runtime in recipe.PROGRAMS else {}
    nms = None if given.nms is False else usual.get(form) if given.nms is None else float(given.nms)
    most = 300 if runtime in recipe.PROGRAMS or runtime == "yolo" else None
    return recipe.Output(
        activation=given.activation or "none",
        format=form,
        background=given.background or "none",
        corners=given.corners or "xyxy",
        shares=given.unit == "shares",
        outputs=outputs,
        nms=0.7 if runtime == "yolo" and given.nms is None else nms,
        most=given.most or most,
    )


def _min_score(given: Detector) -> float:
    if given.output.min_score is not None:
        if not 0 <= given.output.min_score <= 1:
            raise errors.InvalidInput(f"detector.output.min_score is 0 to 1, not {given.output.min_score}")
        return given.output.min_score
    return 0.25 if given.runtime == "yolo" or given.output.format in ("yolo", "yolo5", "end2end") else 0.5


def _fields_fit(place: str, given: Step, runtime: Runtime, *, detects: bool, crops: bool) -> None:
    """Refuse fields that mean nothing here, rather than leave them out silently."""
    shapes = runtime in recipe.PROGRAMS or runtime == "timm" or (runtime == "torchvision" and not detects)
    every = frozenset(Input.__struct_fields__) - _OF_CROPS - _OF_PICTURES
    allowed = every if shapes else _BY_ITSELF[runtime]
    for field in _told(given.input):
        if field in _OF_CROPS and not crops:
            raise errors.InvalidInput(f"{place}.input.{field} is for classifiers of what a detector found")
        if field in _OF_PICTURES and not detects:
            raise errors.InvalidInput(f"{place}.input.{field} is for detectors")
        if field not in allowed | _OF_CROPS | _OF_PICTURES:
            raise errors.InvalidInput(f"{place}.input.{field}: runtime {runtime} prepares its input itself")
    for field in _told(given.output):
        if not detects and field != "activation":
            raise errors.InvalidInput(f"{place}.output.{field} is for detectors")
        if runtime == "yolo" and field == "activation":
            raise errors.InvalidInput(f"{place}.output.activation: runtime yolo gives probabilities already")
        if detects and runtime not in recipe.PROGRAMS and field not in _DETECTS:
            raise errors.InvalidInput(f"{place}.output.{field}: runtime {runtime} reads its output itself")
    if runtime == "yolo" and (unknown := sorted(set(given.options) - _YOLO_OPTIONS)):
        raise errors.InvalidInput(f"{place}.options: yolo takes {', '.join(sorted(_YOLO_OPTIONS))}, not {unknown[0]}")
    if given.options and runtime in (*recipe.PROGRAMS, "transformers"):
        raise errors.InvalidInput(f"{place}.options is for timm, torchvision and yolo, not {runtime}")
    if detects and runtime == "torchvision" and given.labels is None:
        raise errors.InvalidInput(f"{place}.labels is missing: it says how many classes the detector has")


def _reachable(algorithms: list[AlgorithmSpec], classifiers: tuple[recipe.Model, ...]) -> None:
    """Refuse an `of` that nothing before can say, where that is known."""
    for model in classifiers:
        before = algorithms[: algorithms.index(model.algorithm)]
        named = [one for one in before if one.task == "classification"]
        if not model.of or any(not one.labels for one in named):
            continue
        known = {label for one in named for label in one.labels}
        if missing := [label for label in model.of if label not in known]:
            near = difflib.get_close_matches(missing[0], sorted(known), 1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            raise errors.InvalidInput(f"{model.place}.of: nothing before it says {missing[0]!r}{hint}")


def _all_different(algorithms: list[AlgorithmSpec]) -> None:
    keys = [one.key for one in algorithms]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise errors.InvalidInput(f"two of its models have the key {twice!r}; give one another key")


def _key(place: str, key: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", key):
        raise errors.InvalidInput(f"{place} {key!r} is not of letters, digits, _, - and .")
    return key


def _told(given: msgspec.Struct) -> list[str]:
    """The fields that the file has."""
    pairs = zip(given.__struct_fields__, given.__struct_defaults__, strict=True)
    return [name for name, default in pairs if getattr(given, name) != _value(default)]


def _value(default: Any) -> Any:
    factory = getattr(default, "factory", None)
    return factory() if factory else default


def _at_least(least: int, value: int | None, place: str) -> None:
    if value is not None and value < least:
        raise errors.InvalidInput(f"{place} must be at least {least}, not {value}")


def _one_of(names: frozenset[Runtime]) -> str:
    *some, last = sorted(names)
    return f"{', '.join(some)} or {last}"
