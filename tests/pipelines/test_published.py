"""The published pipelines compute what their definition says, compared with plain torchvision and timm on the CPU."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import transforms
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from antenna_orchestration import errors, settings
from antenna_orchestration.domain import given_boxes
from antenna_orchestration.domain.messages import AlgorithmRef, GivenBox
from antenna_orchestration.pipelines import batch_norms, interface, labels, registry, scoring
from antenna_orchestration.pipelines.interface import RawImage
from antenna_orchestration.pipelines.published import architectures, judges, resampling, specs
from tests.pipelines import checkpoints
from tests.pipelines.checkpoints import plain_crops, plain_logits

SLUGS = [
    "panama_moths_2023", "panama_moths_2024", "quebec_vermont_moths_2023", "uk_denmark_moths_2023",
    "costa_rica_moths_turing_2024", "anguilla_moths_turing_2024", "kenya-uganda_moths_turing_2024",
    "global_moths_2024", "moth_binary", "insect_orders_2025",
]  # fmt: skip

SPECIES = [f"Species {number:02}" for number in range(40)]


@dataclass
class World:
    """A folder of checkpoints, and the outputs of the plain networks for one photograph."""

    mirror: Path
    data: bytes
    boxes: np.ndarray
    scores: np.ndarray
    # Of boxes with at least a pixel, by the number of the box.
    crops: dict[int, torch.Tensor]
    filter_logits: torch.Tensor


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    mirror = tmp_path_factory.mktemp("mirror")
    threads = torch.get_num_threads()
    # Two threads on two busy cores would mostly wait for each other.
    torch.set_num_threads(1)
    data = checkpoints.photograph()
    image = checkpoints.to_tensor(data)
    detector = checkpoints.plain_detector()
    boxes, scores = checkpoints.plain_detections(detector, image)
    crops = plain_crops(image, boxes)
    moth_filter, transform = checkpoints.plain_classifier("filter", 2)
    assert len(crops) >= 20
    checkpoints.split_evenly(moth_filter, transform, list(crops.values()))
    checkpoints.save(mirror, specs.DETECTOR.uri, detector, wrapped=True)
    filtering = specs.MOTH_FILTER.algorithm
    checkpoints.save(mirror, filtering.uri, moth_filter, wrapped=False)
    checkpoints.save_labels(mirror, filtering.labels_uri, ["nonmoth", "moth"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTENNA_WEIGHTS_MIRROR", str(mirror))
        settings.get.cache_clear()
        yield World(mirror, data, boxes, scores, crops, plain_logits(moth_filter, transform, list(crops.values())))
    settings.get.cache_clear()
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "slug",
    [
        "panama_moths_2024",
        # One of each architecture and the special ones; the table below covers the other five.
        *(
            pytest.param(slug, marks=pytest.mark.slow)
            for slug in ("costa_rica_moths_turing_2024", "global_moths_2024", "moth_binary", "insect_orders_2025")
        ),
    ],
)
def test_a_pipeline_says_what_the_plain_networks_say(world: World, slug: str) -> None:
    spec = registry.get(slug, ())
    kind, algorithm = checkpoints.kind_of(spec), spec.recipe.classifier.algorithm
    if kind == "filter":
        names, expected = ["nonmoth", "moth"], world.filter_logits
        going_on = list(world.crops)
    else:
        names = SPECIES
        model, transform = checkpoints.plain_classifier(kind, len(names))
        checkpoints.save(world.mirror, algorithm.uri, model, wrapped=True)
        checkpoints.save_labels(world.mirror, algorithm.labels_uri, names)
        going_on = [n for n, label in zip(world.crops, world.filter_logits.argmax(1).tolist(), strict=True) if label]
        if spec.recipe.moth_filter is None:
            going_on = list(world.crops)
        else:
            assert 4 < len(going_on) < len(world.crops) - 4
        expected = plain_logits(model, transform, [world.crops[n] for n in going_on])
    pipeline = interface.build(spec, {"scores": "full"}, top_k=5)
    pipeline.load("cpu")
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///a.jpg", data=world.data))
    raw = pipeline.infer([prepared])[0]
    # The detector: integer boxes equal, and the float ones and scores kept.
    np.testing.assert_array_equal(raw.boxes.astype(int), world.boxes.astype(int))
    np.testing.assert_allclose(raw.boxes, world.boxes, atol=1e-2)
    np.testing.assert_allclose(raw.scores, world.scores, atol=1e-4)
    # The classifier: logits of exactly those crops that the filter let pass.
    steps = 1 if spec.recipe.moth_filter is None else 2
    passed = [n for n, rows in enumerate(raw.answers) if len(rows) == steps]
    assert passed == going_on
    torch.testing.assert_close(torch.stack([raw.answers[n][-1] for n in passed]), expected, atol=1e-4, rtol=0)
    result = pipeline.finish(prepared, raw)
    assert (result.width, result.height) == (1280, 96)
    for number, detection in enumerate(result.detections):
        assert detection.box == tuple(float(value) for value in raw.boxes[number])
        assert [each.algorithm for each in detection.classifications] == [
            each.ref for each in spec.algorithms[1 : 1 + len(raw.answers[number])]
        ]
        assert [each.terminal for each in detection.classifications] == ([False, True] if steps == 2 else [True])[
            : len(raw.answers[number])
        ]
    for row, number in zip(expected.softmax(1), going_on, strict=True):
        said = result.detections[number].classifications[-1]
        best = row.topk(min(5, len(names)))
        assert said.label == said.top_labels[0]
        assert said.score == said.top_scores[0] == pytest.approx(best.values[0].item(), abs=1e-4)
        assert said.top_scores == pytest.approx(best.values.tolist(), abs=1e-4)
        assert said.label == names[best.indices[0]] or best.values[0] - best.values[1] < 1e-4
        np.testing.assert_allclose(np.frombuffer(said.scores or b"", "<f2"), row.numpy(), atol=1e-3)


@pytest.mark.long
def test_photographs_of_several_sizes_in_one_batch_give_what_each_gives_alone(world: World) -> None:
    pipeline = interface.build(registry.get("moth_binary", ()), {"min_score": 0.1})
    pipeline.load("cpu")
    # The second one is higher after both are resized to the detector's width.
    images = [checkpoints.to_tensor(data) for data in (world.data, checkpoints.photograph(960, 128))]
    with torch.inference_mode():
        together = pipeline._detect(images)
        alone = [pipeline._detect([image])[0] for image in images]
    assert min(len(found.boxes) for found in alone) > 0
    for some, same in zip(together, alone, strict=True):
        np.testing.assert_array_equal(some.boxes.astype(int), same.boxes.astype(int))
        np.testing.assert_allclose(some.scores, same.scores, atol=1e-5)


@pytest.mark.slow
def test_given_boxes_are_classified_without_the_detector(world: World) -> None:
    pipeline = interface.build(registry.get("moth_binary", ()), {"scores": "full", "min_score": 0.999})
    pipeline.load("cpu")

    def detector(_: object) -> list[object]:
        raise AssertionError("the detector ran")

    pipeline._detector = detector
    # As the lake has them, in another order; one beyond the edges, one of less than a pixel, one outside.
    odd = [(-20.0, -5.0, 40.0, 60.0), (5.2, 5.2, 5.8, 30.0), (5000.0, 10.0, 5040.0, 60.0)]
    boxes = [*map(tuple, world.boxes[::-1].tolist()), *odd]
    finder = AlgorithmRef("other", "3")
    given = [GivenBox(box, None if n % 2 else 0.25, finder) for n, box in enumerate(boxes)]
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///a.jpg", data=world.data, detections=given))
    none = pipeline.prepare(RawImage(image=2, uri="file:///b.jpg", data=world.data, detections=[]))
    raw, nothing = pipeline.infer([prepared, none])
    assert pipeline.finish(none, nothing).detections == []
    found = given_boxes.classified(given, pipeline.finish(prepared, raw).detections)
    assert [(one.box, one.score, one.algorithm) for one in found] == [(one.box, one.score, finder) for one in given]
    last = len(world.boxes) - 1
    for number, logits in zip(world.crops, world.filter_logits, strict=True):
        [said] = found[last - number].classifications
        np.testing.assert_allclose(np.frombuffer(said.scores or b"", "<f2"), logits.softmax(0).numpy(), atol=1e-3)
    unseen = {last - number for number in range(len(world.boxes)) if number not in world.crops}
    assert [bool(one.classifications) for one in found[-3:]] == [True, False, False]
    assert all(not found[number].classifications for number in unseen)


CROPS_YAML = """
slug: own-classifier
takes: crops
program: own.pt2
labels: [a, b, c]
size: 16
moth_filter: false
"""


@pytest.mark.long
def test_an_exported_classifier_follows_the_published_detector(world: World, tmp_path: Path) -> None:
    torch.manual_seed(3)
    own = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3)).eval()
    any_number = torch.export.Dim("n", min=1, max=10_000)
    program = torch.export.export(own, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: any_number},))
    torch.export.save(program, tmp_path / "own.pt2")
    (tmp_path / "own.yaml").write_text(CROPS_YAML)
    pipeline = interface.build(registry.get("own-classifier", (tmp_path / "own.yaml",)), {})
    pipeline.load("cpu")
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///a.jpg", data=world.data))
    raw = pipeline.infer([prepared])[0]
    resize = transforms.Compose([transforms.Resize((16, 16), antialias=True), checkpoints.IMAGENET])
    expected = plain_logits(own, resize, list(world.crops.values()))
    torch.testing.assert_close(torch.stack([raw.answers[n][0] for n in world.crops]), expected, atol=1e-4, rtol=0)
    said = pipeline.finish(prepared, raw).detections[0].classifications
    assert [(each.algorithm.key, each.terminal) for each in said] == [("own_classifier", True)]


@pytest.mark.long
def test_a_program_that_does_not_fit_is_refused_when_it_is_loaded(world: World, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(CROPS_YAML)
    pipeline = interface.build(registry.get("own-classifier", (tmp_path / "own.yaml",)), {})
    own = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 4)).eval()
    torch.export.save(torch.export.export(own, (torch.zeros(1, 3, 16, 16),)), tmp_path / "own.pt2")
    # One crop at a time is slow, and right.
    with pytest.raises(errors.InternalError, match=r"own_classifier gives \(2, 4\) for two crops and 3 labels"):
        pipeline.load("cpu")
    torch.export.save(torch.export.export(own, (torch.zeros(2, 3, 20, 20),)), tmp_path / "own.pt2")
    with pytest.raises(errors.InternalError, match=r"\[20, 20\] \(width, height\), and the YAML says") as caught:
        pipeline.load("cpu")
    assert "\n" not in str(caught.value)
    torch.export.save(torch.export.export(own, (torch.zeros(2, 3, 16, 16),)), tmp_path / "own.pt2")
    with pytest.raises(errors.InternalError, match=r"own_classifier gives \(2, 4\) for two crops and 3 labels"):
        pipeline.load("cpu")


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "architecture"),
    [("timm", "resnet50"), ("filter", "resnet50"), ("turing", "headless_resnet50"), ("convnext", "convnext_tiny")],
)
def test_each_architecture_takes_its_checkpoints_and_gives_their_logits(
    tmp_path: Path, kind: str, architecture: specs.Architecture
) -> None:
    model, transform = checkpoints.plain_classifier(kind, 7)
    checkpoints.save(tmp_path, "x/model.pth", model, wrapped=kind == "turing")
    ours = architectures.classifier(architecture, tmp_path / "model.pth", 7)
    crops = [torch.rand(3, height, width) for height, width in ((40, 60), (1, 9), (200, 31))]
    inputs = torch.stack([transform(crop) for crop in crops])
    with torch.inference_mode():
        torch.testing.assert_close(ours(inputs), model(inputs), atol=1e-4, rtol=0)


@pytest.mark.parametrize("together", [False, True])
def test_the_transform_is_the_definitions(together: bool) -> None:
    """Crops of any shape are resized as floats, with antialiasing, then normalised; also together, as on a GPU."""
    for step in {spec.recipe.classifier.transform for spec in specs.PIPELINES}:
        judge = a_judge(transform=step, resizes_together=together)
        _, transform = checkpoints.plain_classifier("turing" if step.side == 300 else "filter", 2)
        photographs = [torch.rand(3, height, width) for height, width in ((3, 500), (128, 128), (700, 90), (1, 1))]
        crops = [whole(photographs, number) for number in range(len(photographs))]
        expected = torch.stack([transform(one) for one in photographs])
        torch.testing.assert_close(judge.inputs(photographs, crops), expected, atol=1e-5, rtol=0)


def a_judge(**changes: Any) -> judges.Judge:
    values = {
        "algorithm": AlgorithmRef("a", "1"), "labels": ("a",), "transform": specs.Transform(side=2),
        "model": nn.Identity(), "device": torch.device("cpu"),
    }  # fmt: skip
    return judges.Judge(**{**values, **changes})


def whole(photographs: Sequence[torch.Tensor], number: int) -> judges.Crop:
    height, width = photographs[number].shape[1:]
    return judges.Crop(number, 0, (0, 0, width, height))


def test_crops_are_halved_when_memory_runs_out() -> None:
    """M2: however many crops a photograph has, all get their logits, in order."""
    asked = []

    def model(inputs: torch.Tensor) -> torch.Tensor:
        asked.append(len(inputs))
        if len(inputs) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 4.00 GiB.")
        return inputs[:, 0, 0, :1]

    judge = a_judge(model=model, transform=specs.Transform(side=2, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    photographs = [torch.full((3, 4, 4), float(number)) for number in range(20)]
    crops = [whole(photographs, number) for number in range(20)]
    assert [row.item() for row in judge.answers(photographs, crops)] == pytest.approx(list(range(20)), abs=1e-4)
    assert asked[:4] == [20, 10, 5, 2]
    with pytest.raises(RuntimeError, match="out of memory"):
        judge.model = lambda inputs: model(torch.zeros(9, *inputs.shape[1:]))
        judge.answers(photographs, crops[:1])


def test_crops_together_are_what_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all sizes, also where they need several operations for their memory."""
    monkeypatch.setattr(resampling, "PIXELS", 60_000)
    torch.manual_seed(5)
    photograph = torch.rand(3, 170, 230)
    corners = torch.rand(60, 4) * torch.tensor([229, 169, 230, 170])
    boxes = [
        (int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))
        for left, top, right, bottom in corners.tolist()
    ]
    boxes += [(0, 0, 230, 170), (229, 169, 230, 170), (3, 3, 19, 19)]
    for side in (16, 45):
        expected = torch.stack([scoring.stretched(photograph[:, y:v, x:u], (side, side)) for x, y, u, v in boxes])
        torch.testing.assert_close(resampling.squares(photograph, boxes, side), expected, atol=2e-6, rtol=0)


@pytest.mark.long
def test_the_way_of_a_gpu_says_the_same(world: World) -> None:
    """Crops in one operation, and the best classes only: on the CPU here, for there may be no GPU."""
    spec = registry.get("panama_moths_2024", ())
    model, _ = checkpoints.plain_classifier("timm", len(SPECIES))
    checkpoints.save(world.mirror, spec.recipe.classifier.algorithm.uri, model, wrapped=True)
    checkpoints.save_labels(world.mirror, spec.recipe.classifier.algorithm.labels_uri, SPECIES)
    pipeline = interface.build(spec, {"scores": "top"}, top_k=5)
    pipeline.load("cpu")
    prepared = pipeline.prepare(RawImage(image=1, uri="file:///a.jpg", data=world.data))
    plain = pipeline.finish(prepared, pipeline.infer([prepared])[0]).detections
    for judge in pipeline._judges:
        judge.resizes_together, judge.told = True, 5
    other = pipeline.finish(prepared, pipeline.infer([prepared])[0]).detections
    assert {len(one.classifications) for one in plain} >= {1, 2}
    assert [one.box for one in other] == [one.box for one in plain]
    for one, same in zip(other, plain, strict=True):
        assert [each.label for each in one.classifications] == [each.label for each in same.classifications]
        for said, wanted in zip(one.classifications, same.classifications, strict=True):
            assert said.top_scores == pytest.approx(wanted.top_scores, abs=1e-4)
            assert (said.terminal, said.scores) == (wanted.terminal, None)


@pytest.mark.long
def test_configurations_and_pipelines_share_networks(world: World) -> None:
    """M7: the detector and the filter of all published pipelines are the same files."""
    some = [interface.build(registry.get("moth_binary", ()), {"min_score": score}) for score in (0.2, 0.8)]
    own = interface.build(registry.get("panama_moths_2024", ()), {})
    checkpoints.save_labels(world.mirror, own.spec.recipe.classifier.algorithm.labels_uri, SPECIES)
    model, _ = checkpoints.plain_classifier("timm", len(SPECIES))
    checkpoints.save(world.mirror, own.spec.recipe.classifier.algorithm.uri, model, wrapped=True)
    for pipeline in (*some, own):
        pipeline.load("cpu")
    assert len({id(pipeline._detector) for pipeline in (*some, own)}) == 1
    assert len({id(pipeline._judges[0].model) for pipeline in (*some, own)}) == 1
    detector = weakref.ref(own._detector)
    del some, own, pipeline
    gc.collect()
    assert detector() is None, "who has no pipeline keeps no memory"


def test_all_ten_are_there_under_their_names() -> None:
    assert [spec.slug for spec in specs.PIPELINES] == SLUGS
    for spec in specs.PIPELINES:
        assert spec.name == spec.algorithms[-1].name
        assert spec.version == "1"
        assert spec.algorithms[0].key == "fasterrcnn_for_ami_moth_traps_2023"
        for algorithm in spec.algorithms:
            kept = re.sub(r"[^a-z0-9_]", "", algorithm.name.lower().replace(" ", "_")).strip("_").replace("__", "_")
            assert algorithm.key == kept
            assert algorithm.uri is not None
            assert (algorithm.labels_uri is None) == (algorithm.task == "localization")
    filtered = [spec.slug for spec in specs.PIPELINES if spec.recipe.moth_filter]
    assert filtered == SLUGS[:8]
    sides = {spec.slug: spec.recipe.classifier.transform.side for spec in specs.PIPELINES}
    assert {slug for slug, side in sides.items() if side == 300} == set(SLUGS[4:7])
    assert set(sides.values()) == {128, 300}


def test_weights_are_named_as_their_publishers_spell_them() -> None:
    """B18: one file's published name has a slip of the pen, and only that name can be downloaded."""
    (panama,) = [spec for spec in specs.PIPELINES if spec.slug == "panama_moths_2023"]
    assert str(panama.algorithms[-1].uri).endswith("/panama_resetnet50_best_5aeb515a.pth")


def test_a_detectors_backbone_says_the_same_with_its_norms_folded() -> None:
    """H7: on a GPU half of the detector's time went into frozen batch norms."""
    torch.manual_seed(4)
    network = resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d).eval()
    for layer in network.modules():
        if isinstance(layer, FrozenBatchNorm2d):
            layer.weight.uniform_(0.4, 0.8)
            layer.bias.uniform_(-0.2, 0.2)
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
    picture = torch.rand(1, 3, 96, 128)
    with torch.inference_mode():
        before = network(picture)
        network.requires_grad_(requires_grad=False)
        after = batch_norms.folded(network)(picture)
    assert not any(isinstance(layer, FrozenBatchNorm2d) for layer in network.modules())
    for name, expected in before.items():
        torch.testing.assert_close(after[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.long
def test_building_a_detector_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    architectures.detector(world.mirror / str(specs.DETECTOR.uri).rpartition("/")[2])
    assert list(tmp_path.iterdir()) == []


def test_scores_and_settings_are_checked_when_a_job_is_submitted() -> None:
    spec = registry.get("global_moths_2024", ())
    assert spec.merged_config({"min_score": 0.5})["scores"] == "auto"
    with pytest.raises(
        errors.InvalidInput, match="'scores' of pipeline global_moths_2024 is 'auto' or 'top' or 'full'"
    ):
        spec.merged_config({"scores": "all"})


@pytest.mark.long
def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    model, _ = checkpoints.plain_classifier("filter", 3)
    checkpoints.save(tmp_path, "x/model.pth", model, wrapped=False)
    with pytest.raises(
        errors.InternalError, match=r"model.pth do not fit ResNet .*: fc.weight is 3 x 2048, and 4 x 2048 is wanted"
    ) as caught:
        architectures.classifier("resnet50", tmp_path / "model.pth", 4)
    assert "\n" not in str(caught.value)
    with pytest.raises(errors.InternalError, match=r"do not fit HeadlessResNet50"):
        architectures.classifier("headless_resnet50", tmp_path / "model.pth", 3)
    (tmp_path / "page.pth").write_text("<html>please log in</html>")
    with pytest.raises(errors.InternalError, match=r"page.pth: the file is a web page"):
        architectures.classifier("resnet50", tmp_path / "page.pth", 3)


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/should-not-exist"),))  # type: ignore[return-value]


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"model_state_dict": _Evil()}, tmp_path / "evil.pth")
    with pytest.raises(errors.InternalError, match="it holds Python objects, not only weights"):
        architectures.classifier("resnet50", tmp_path / "evil.pth", 2)
    assert not Path("/tmp/should-not-exist").exists()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("[]", "holds no labels"), ("{}", "holds no labels"), ('{"a": 0, "b": 2}', "do not count"), ("3", "no labels"),
     ('{"a": 0, "b": 0}', "do not count"), ("{", "not a JSON object"), ('{"a": "x"}', "not labels and their indices")],
)  # fmt: skip
def test_wrong_labels_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(errors.InternalError, match=complaint):
        labels.read_labels(tmp_path / "labels.json")


def test_boxes_without_pixels_are_kept_unclassified() -> None:
    from antenna_orchestration.pipelines.published.pipeline import Found, _crops

    boxes = np.array([[1.2, 1.2, 1.9, 5.0], [0.0, 0.0, 3.7, 4.2]], np.float32)
    [crop] = _crops([torch.rand(3, 10, 10)], [Found(boxes, np.ones(2, np.float32), [[], []])])
    assert (crop.detection, crop.box) == (1, (0, 0, 3, 4))
