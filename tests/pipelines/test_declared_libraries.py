"""Declared models of timm, torchvision, ultralytics and transformers give what their own library gives.

Random weights; photographs of several sizes, some with an EXIF turn, which is of no account unless it is declared. The
two heavy libraries are not development dependencies: `pip install ultralytics transformers` runs what is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.domain.messages import Mask
from antenna_orchestration.pipelines import masks
from antenna_orchestration.pipelines.declared import yolo
from antenna_orchestration.pipelines.interface import ImageResult
from tests.pipelines.declared_models import declared, drawn, file_of, has_onnx, results, seeded

needs_yolo = pytest.mark.skipif(find_spec("ultralytics") is None, reason="ultralytics is not installed")
needs_transformers = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")

PHOTOGRAPHS = [drawn(640, 480, 1), drawn(300, 500, 2), drawn(300, 500, 5), drawn(97, 141, 4)]
FILES = [file_of(one, turn) for one, turn in zip(PHOTOGRAPHS, (1, 6, 3, 8), strict=True)]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the runtime sets it, for what the tests run directly."""
    for name in ("YOLO_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("YOLO_VERBOSE", "false")
    monkeypatch.setenv("YOLO_AUTOINSTALL", "false")
    with torch.inference_mode():
        yield


def equal(found: ImageResult, boxes: Any, scores: Any, names: list[str]) -> None:
    """Whether a result has just these detections, in this order."""
    assert [said.label for one in found.detections for said in one.classifications[:1]] == names
    np.testing.assert_allclose([one.score for one in found.detections], np.asarray(scores), atol=1e-5)
    given = np.array([one.box for one in found.detections]).reshape(-1, 4)
    np.testing.assert_allclose(given, np.asarray(boxes).reshape(-1, 4), atol=0.01)


def told(said: Any, labels: list[str]) -> list[float]:
    scores = dict(zip(said.top_labels, said.top_scores, strict=True))
    return [scores[label] for label in labels]


def shuffled(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random weights with which scores differ from class to class and from place to place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.eval()


def test_a_timm_model_of_any_name_shapes_pictures_as_timm_does(tmp_path: Path) -> None:
    import timm

    labels = ["a", "b", "c", "d", "e"]
    network = seeded(timm.create_model("test_efficientnet", num_classes=5), 3)
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, tmp_path / "w.pth"
    )
    (tmp_path / "l.txt").write_text("\n".join(labels))
    text = """
slug: timm
classifiers:
  - {runtime: timm, model: test_efficientnet, file: w.pth, labels: l.txt, input: {fit: crop}}
"""
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    for picture, found in zip(PHOTOGRAPHS, results(declared(tmp_path, text), FILES), strict=True):
        wanted = network(transform(Image.fromarray(picture))[None]).softmax(dim=1)[0]
        assert told(found.labels[0], labels) == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.long
def test_a_torchvision_detector_with_own_classes_finds_what_it_finds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    network = build(weights=None, weights_backbone=None, num_classes=4).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    text = """
slug: tv
detector:
  runtime: torchvision
  model: fasterrcnn_mobilenet_v3_large_320_fpn
  file: w.pth
  labels: [moth, beetle, fly]
  output: {min_score: 0.2}
"""
    labels = ["moth", "beetle", "fly"]
    found = results(declared(tmp_path, text), FILES)
    assert sum(len(one.detections) for one in found) > 20
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        [wanted] = network([torchvision.transforms.functional.to_tensor(picture)])
        keep = wanted["scores"] > 0.2
        names = [labels[index - 1] for index in wanted["labels"][keep].tolist()]
        equal(one, wanted["boxes"][keep], wanted["scores"][keep], names)
    with pytest.raises(errors.InternalError, match=r"do not fit fasterrcnn.*4 x 1024, and 3 x 1024 is wanted"):
        declared(tmp_path, text.replace("[moth, beetle, fly]", "[moth, beetle]"))
    state = network.state_dict()
    state["roi_heads.box_predictor.cls_score.bias"][1] = torch.nan
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(errors.InternalError, match=r"cls_score\.bias holds values that are not numbers"):
        declared(tmp_path, text)


def test_an_architecture_that_nobody_knows_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    for runtime, complaint in (("timm", "resnet50000: Unknown model"), ("torchvision", "is none of torchvision's")):
        text = f"slug: x\nclassifiers:\n  - {{runtime: {runtime}, model: resnet50000, file: w.pth, labels: [a, b]}}\n"
        with pytest.raises(errors.InternalError, match=rf"classifiers\[0\].model .*{complaint}"):
            declared(tmp_path, text)


@pytest.fixture(scope="module")
def yolo_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of each task with random weights, the detector in each format of file."""
    os.environ |= yolo._QUIETLY
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("yolo")
    with torch.inference_mode(False):
        for name in ("yolo11n", "yolo11n-seg", "yolo11n-obb", "yolo11n-cls"):
            torch.manual_seed(1)
            model = YOLO(f"{name}.yaml")
            shuffled(model.model)
            model.model.names = {0: "moth", 1: "beetle", 2: "fly"} | {n: f"other {n}" for n in range(3, 1000)}
            head = model.model.model[-1]
            for last in getattr(head, "cv3", ()):
                # An untrained head is sure of nothing.
                last[-1].bias.data = torch.randn(last[-1].bias.shape) - 2
                last[-1].weight.data *= 3
            count = getattr(head, "nc", None) or head.linear.out_features
            model.model.names = {n: model.model.names[n] for n in range(count)}
            model.save(str(folder / f"{name}.pt"))
        for kind in ("torchscript", "onnx") if find_spec("onnxruntime") else ("torchscript",):
            YOLO(str(folder / "yolo11n.pt")).export(
                format=kind, imgsz=320, **({"simplify": False} if kind == "onnx" else {})
            )
    return folder


def yolo_directly(path: Path, picture: NDArray[np.uint8], least: float) -> Any:
    from ultralytics import YOLO

    [result] = YOLO(str(path)).predict(
        np.ascontiguousarray(picture[..., ::-1]), imgsz=320, conf=least, verbose=False, save=False
    )
    return result


LEAST = 0.3

TASK = f"""
slug: {{name}}
detector: {{{{runtime: yolo, file: yolo11n-{{name}}.pt, input: {{{{size: 320}}}}, output: {{{{min_score: {LEAST}}}}}}}}}
"""


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("runtime", "file", "more"),
    [
        ("yolo", "yolo11n.pt", ""),
        pytest.param("yolo", "yolo11n.onnx", "", marks=has_onnx),
        pytest.param("onnx", "yolo11n.onnx", "  labels: labels.txt\n", marks=has_onnx),
        ("torchscript", "yolo11n.torchscript", "  labels: labels.txt\n"),
    ],
)
def test_yolo_finds_the_same_in_each_format_of_file(yolo_files: Path, runtime: str, file: str, more: str) -> None:
    names = yolo_directly(yolo_files / file, PHOTOGRAPHS[0], LEAST).names
    (yolo_files / "labels.txt").write_text("\n".join(names.values()))
    form = "" if runtime == "yolo" else "format: yolo, "
    text = f"""
slug: yolo
detector:
  runtime: {runtime}
  file: {file}
{more}  input: {{size: 320}}
  output: {{{form}min_score: {LEAST}}}
"""
    found = results(declared(yolo_files, text), FILES)
    assert sum(len(one.detections) for one in found) > 50
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        wanted = yolo_directly(yolo_files / file, picture, LEAST).boxes
        equal(one, wanted.xyxy, wanted.conf, [names[int(index)] for index in wanted.cls])


def unpacked(mask: Mask) -> NDArray[np.uint8]:
    from pycocotools import mask as coco

    pixels: NDArray[np.uint8] = coco.decode({"size": [mask.height, mask.width], "counts": mask.counts.encode()})
    return pixels


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
def test_yolo_segments_and_its_masks_come_along(yolo_files: Path) -> None:
    text = TASK.format(name="seg")
    found = results(declared(yolo_files, text), FILES)
    assert any(one.detections for one in found)
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        result = yolo_directly(yolo_files / "yolo11n-seg.pt", picture, LEAST)
        equal(one, result.boxes.xyxy, result.boxes.conf, [result.names[int(index)] for index in result.boxes.cls])
        height, width = picture.shape[:2]
        for detection, small in zip(one.detections, result.masks.data if result.masks else [], strict=True):
            assert isinstance(detection.mask, Mask)
            pixels = unpacked(detection.mask)
            assert pixels.shape == (height, width)
            # The library's own masks at the photograph's size, as far as they are sampled alike.
            gain = min(small.shape[0] / height, small.shape[1] / width)
            ys, xs = np.nonzero(pixels)
            left, top = (
                round((side - round(length * gain)) / 2 - 0.1)
                for side, length in ((small.shape[1], width), (small.shape[0], height))
            )
            there = small.numpy()[
                ((ys + 0.5) * gain + top).astype(int).clip(0, small.shape[0] - 1),
                ((xs + 0.5) * gain + left).astype(int).clip(0, small.shape[1] - 1),
            ]
            assert not len(there) or there.mean() > 0.8
            x1, y1, x2, y2 = detection.box
            assert not len(xs) or (xs.min() >= x1 - 1 and xs.max() <= x2 and ys.min() >= y1 - 1 and ys.max() <= y2)


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
def test_turned_boxes_of_yolo_come_along_with_their_angle(yolo_files: Path) -> None:
    text = TASK.format(name="obb")
    found = results(declared(yolo_files, text), FILES)
    assert any(one.detections for one in found)
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        rows = yolo_directly(yolo_files / "yolo11n-obb.pt", picture, LEAST).obb
        assert len(rows) == len(one.detections)
        for detection, wanted, corners in zip(one.detections, rows.xywhr, rows.xyxyxyxy, strict=True):
            turned: Any = detection.rotated
            given = [turned.cx, turned.cy, turned.width, turned.height]
            assert given == pytest.approx(wanted[:4].tolist(), abs=0.01)
            assert np.radians(turned.angle) % np.pi == pytest.approx(float(wanted[4]) % np.pi, abs=1e-4)
            height, width = picture.shape[:2]
            low, high = corners.amin(dim=0).tolist(), corners.amax(dim=0).tolist()
            box = [*np.clip(low, 0, [width, height]), *np.clip(high, 0, [width, height])]
            assert detection.box == pytest.approx(box, abs=0.01)


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
def test_yolo_finds_and_yolo_and_convnext_name(yolo_files: Path) -> None:
    import timm

    network = seeded(timm.create_model("convnext_atto", num_classes=1000), 2)
    torch.save(network.state_dict(), yolo_files / "names.pth")
    (yolo_files / "thousand.txt").write_text("\n".join(f"species {n}" for n in range(1000)))
    text = f"""
slug: chained
detector: {{runtime: yolo, file: yolo11n.pt, input: {{size: 320}}, output: {{min_score: {LEAST}}}}}
classifiers:
  - {{runtime: yolo, file: yolo11n-cls.pt, input: {{margin: 0.1}}}}
  - {{runtime: timm, model: convnext_atto, file: names.pth, labels: thousand.txt, input: {{size: 64}}}}
"""
    pipeline = declared(yolo_files, text, top_k=1000)
    [found] = results(pipeline, FILES[:1])
    assert found.detections
    names = {index: f"species {index}" for index in range(1000)}
    for one in found.detections[:5]:
        _, ours, last = one.classifications
        x1, y1, x2, y2 = one.box
        across, down = 0.1 * (x2 - x1), 0.1 * (y2 - y1)
        height, width = PHOTOGRAPHS[0].shape[:2]
        wide = PHOTOGRAPHS[0][
            max(0, int(y1 - down)) : int(min(height, y2 + down)),
            max(0, int(x1 - across)) : int(min(width, x2 + across)),
        ]
        probabilities = yolo_classify(yolo_files / "yolo11n-cls.pt", wide)
        assert ours.score == pytest.approx(float(probabilities.max()), abs=1e-5)
        crop = Image.fromarray(PHOTOGRAPHS[0][int(y1) : int(y2), int(x1) : int(x2)])
        values = np.asarray(crop.resize((64, 64), Image.Resampling.BICUBIC), np.float32) / 255
        shaped = (values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        wanted = network(torch.from_numpy(shaped.astype(np.float32)).permute(2, 0, 1)[None]).softmax(dim=1)[0]
        assert told(last, list(names.values())) == pytest.approx(wanted.tolist(), abs=1e-5)
        assert last.label == names[int(wanted.argmax())]
        assert last.scores is not None
        assert len(last.scores) == 2000


def yolo_classify(path: Path, picture: NDArray[np.uint8]) -> torch.Tensor:
    from ultralytics import YOLO

    [result] = YOLO(str(path)).predict(np.ascontiguousarray(picture[..., ::-1]), verbose=False, save=False)
    probabilities: torch.Tensor = result.probs.data
    return probabilities


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_yolo_with_foreign_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(errors.InternalError, match="cannot be read as a model of ultralytics"):
        declared(tmp_path, "slug: evil\ndetector: {runtime: yolo, file: evil.pt}\n")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
@needs_yolo
@pytest.mark.filterwarnings("ignore")
def test_a_yolo_file_of_another_task_or_other_labels_says_so(yolo_files: Path) -> None:
    for text, complaint in (
        (
            "detector: {runtime: yolo, file: yolo11n-cls.pt}",
            "yolo11n-cls.pt is a model for classify, not detect or obb",
        ),
        ("detector: {runtime: yolo, file: yolo11n.pt, labels: [a, b]}", "labels has 2 labels, and yolo11n.pt 80: moth"),
        ("classifiers: [{runtime: yolo, file: yolo11n.pt}]", "yolo11n.pt is a model for detect, not classify"),
    ):
        with pytest.raises(errors.InternalError, match=complaint):
            declared(yolo_files, f"slug: other\n{text}\n")


@pytest.mark.slow
@needs_transformers
@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_classifier_names_as_its_library_does(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    labels = ["a", "b", "c", "d"]
    config = ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=64, patch_size=16,
        id2label=dict(enumerate(labels)), label2id={label: n for n, label in enumerate(labels)},
    )  # fmt: skip
    network = ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "vit")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "vit")
    text = "slug: vit\nclassifiers:\n  - {runtime: transformers, folder: vit}\n"
    for picture, found in zip(PHOTOGRAPHS, results(declared(tmp_path, text), FILES), strict=True):
        wanted = network(**processor(images=Image.fromarray(picture), return_tensors="pt")).logits.softmax(dim=1)[0]
        assert told(found.labels[0], labels) == pytest.approx(wanted.tolist(), abs=1e-5)


@pytest.mark.slow
@needs_transformers
@pytest.mark.filterwarnings("ignore")
def test_a_hugging_face_detector_finds_as_its_library_does(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, YolosConfig, YolosForObjectDetection, YolosImageProcessor

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=[128, 128],
        num_detection_tokens=30,
        id2label={0: "moth", 1: "beetle", 2: "fly"}, label2id={"moth": 0, "beetle": 1, "fly": 2},
    )  # fmt: skip
    network = YolosForObjectDetection(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
    network.save_pretrained(tmp_path / "yolos")
    YolosImageProcessor(size={"shortest_edge": 128, "longest_edge": 200}).save_pretrained(tmp_path / "yolos")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "yolos")
    text = "slug: yolos\ndetector: {runtime: transformers, folder: yolos, output: {min_score: 0.2}}\n"
    pipeline = declared(tmp_path, text)
    assert [one.key for one in pipeline.spec.algorithms] == ["yolos_detector", "yolos_detector_labels"]
    found = results(pipeline, FILES)
    assert sum(len(one.detections) for one in found) > 10
    for picture, one in zip(PHOTOGRAPHS, found, strict=True):
        answer = network(**processor(images=Image.fromarray(picture), return_tensors="pt"))
        height, width = picture.shape[:2]
        [wanted] = processor.post_process_object_detection(answer, threshold=0.2, target_sizes=[(height, width)])
        order = wanted["scores"].argsort(descending=True, stable=True)
        boxes = wanted["boxes"][order].numpy()
        boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
        boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
        names = [config.id2label[index] for index in wanted["labels"][order].tolist()]
        equal(one, boxes, wanted["scores"][order], names)


@pytest.mark.parametrize("library", ["ultralytics", "transformers"])
def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, library, None)
    runtime = {"ultralytics": "yolo"}.get(library, library)
    place = "folder: ." if runtime == "transformers" else "file: best.pt"
    (tmp_path / "best.pt").write_bytes(b"x")
    with pytest.raises(errors.InternalError, match=rf"runtime {runtime} needs {library}.*\[{runtime}\]"):
        declared(tmp_path, f"slug: missing\ndetector: {{runtime: {runtime}, {place}}}\n")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_masks_are_written_as_coco_reads_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(one) for one in rng.integers(1, 40, 2))
    top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
    part = (
        rng.random((int(rng.integers(0, height - top + 1)), int(rng.integers(0, width - left + 1))))
        < rng.random() * 1.4
    )
    whole = np.zeros((height, width), np.uint8)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    mask = masks.encoded(part, left=left, top=top, width=width, height=height)
    np.testing.assert_array_equal(unpacked(mask), whole)
