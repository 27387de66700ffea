"""What a YAML file may say about a program, and programs that do not match their YAML file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from antenna_orchestration import errors
from antenna_orchestration.pipelines import interface, registry
from antenna_orchestration.pipelines.interface import Pipeline, RawImage
from tests.pipelines.declared_models import SmallYolo, declared, drawn, file_of, results, seeded, write

PHOTOGRAPHS = """
slug: found-by-program
takes: photographs
program: program.pt2
size: [64, 32]
mean: [0, 0, 0]
std: [1, 1, 1]
"""


class Corners(nn.Module):
    """Two boxes, the second outside the picture; the scores are the channels of the top left pixel."""

    def __init__(self, labels: int = 0) -> None:
        super().__init__()
        self.labels = labels

    def forward(self, photographs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = photographs[:, :2, 0, 0]
        boxes = torch.tensor([[0.0, 0.0, 32.0, 16.0], [48.0, 24.0, 80.0, 40.0]]).expand(photographs.shape[0], 2, 4)
        if not self.labels:
            return boxes, scores
        return boxes, scores, torch.softmax(scores[:, :, None] * torch.arange(self.labels), dim=2)


def export(module: nn.Module, path: Path, example: torch.Tensor, *, dynamic: bool = True) -> None:
    shapes = ({0: torch.export.Dim("n", min=1, max=64)},) if dynamic else None
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)


def picture(red: int, green: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (256, 64), (red, green, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def built(folder: Path, text: str) -> Pipeline:
    (folder / "own.yaml").write_text(text)
    [slug] = [one for one in registry.all_pipelines([folder / "own.yaml"]) if one in text]
    pipeline = interface.build(registry.imported(slug, [folder / "own.yaml"]), {})
    pipeline.load("cpu")
    return pipeline


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 2])
def test_boxes_are_scaled_to_the_photograph_and_kept_inside(tmp_path: Path, batch_size: int) -> None:
    export(Corners(), tmp_path / "program.pt2", torch.zeros(batch_size, 3, 32, 64), dynamic=batch_size > 1)
    pipeline = built(tmp_path, f"{PHOTOGRAPHS}batch_size: {batch_size}\nmin_score: 0.2\n")
    prepared = [
        pipeline.prepare(RawImage(image=n, uri="", data=data))
        for n, data in enumerate([picture(255, 51), picture(102, 204), picture(0, 0)])
    ]
    one, two, three = (pipeline.finish(p, r) for p, r in zip(prepared, pipeline.infer(prepared), strict=True))
    assert (one.width, one.height) == (256, 64)
    # 51 is 0.2 and not above it; most certain first; a quarter of the way is 4 times as far, or 2.
    assert [(d.box, round(d.score, 3)) for d in one.detections] == [((0, 0, 128, 32), 1.0)]
    assert [d.box for d in two.detections] == [(192, 48, 256, 64), (0, 0, 128, 32)]
    assert three.detections == []
    assert one.detections[0].algorithm.key == "found_by_program"
    assert one.detections[0].classifications == []


@pytest.mark.parametrize(
    ("example", "dynamic", "more", "complaint"),
    [
        (
            (2, 3, 64, 32),
            True,
            "",
            r"size \[32, 64\] \(width, .*YAML says size: \[64, 32\]; width comes",
        ),
        ((2, 3, 48, 64), True, "", r"size \[64, 48\] \(width, height\), and the YAML says size: \[64, 32\]"),
        (
            (1, 3, 32, 64),
            False,
            "batch_size: 8\n",
            "takes exactly 1 photographs at once, .* batch_size: 8",
        ),
        (
            (2, 3, 32, 64),
            True,
            "batch_size: 80\n",
            "takes at most 64 photographs at once, .* batch_size",
        ),
    ],
)
def test_a_program_of_another_size_is_told_in_yaml_words(
    tmp_path: Path, example: tuple[int, ...], dynamic: bool, more: str, complaint: str
) -> None:
    """P10: torch says "Guard failed: x.size()[2] == 480"."""
    export(Corners(), tmp_path / "program.pt2", torch.zeros(example), dynamic=dynamic)
    with pytest.raises(errors.InternalError, match=complaint) as caught:
        built(tmp_path, PHOTOGRAPHS + more)
    assert "Guard" not in str(caught.value)
    assert "program.pt2" in str(caught.value)


def test_a_program_of_a_fixed_number_takes_fewer_photographs(tmp_path: Path) -> None:
    """P10: a program that was exported with four takes one, too, with the other places filled up."""
    export(Corners(), tmp_path / "program.pt2", torch.zeros(4, 3, 32, 64), dynamic=False)
    pipeline = built(tmp_path, PHOTOGRAPHS)
    prepared = [pipeline.prepare(RawImage(image=n, uri="", data=picture(255, 0))) for n in range(3)]
    assert [len(raw.scores) for raw in pipeline.infer(prepared)] == [1, 1, 1]


class Nothing(nn.Module):
    """Scores that are not numbers."""

    def forward(self, photographs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scores = photographs[:, :2, 0, 0] * torch.nan
        return torch.zeros(photographs.shape[0], 2, 4), scores


def test_scores_that_are_no_numbers_are_no_empty_photograph(tmp_path: Path) -> None:
    """P6: NaN is above no minimum, and read as "no insects"."""
    export(Nothing(), tmp_path / "program.pt2", torch.zeros(2, 3, 32, 64))
    pipeline = built(tmp_path, PHOTOGRAPHS)
    prepared = pipeline.prepare(RawImage(image=1, uri="", data=picture(255, 0)))
    with pytest.raises(errors.InternalError, match="scores that are not numbers"):
        pipeline.infer([prepared])


def test_labels_become_classifications(tmp_path: Path) -> None:
    export(Corners(3), tmp_path / "program.pt2", torch.zeros(2, 3, 32, 64))
    (tmp_path / "labels.json").write_text('{"c": 2, "a": 0, "b": 1}')
    pipeline = built(tmp_path, f"{PHOTOGRAPHS}labels: labels.json\n")
    prepared = pipeline.prepare(RawImage(image=1, uri="", data=picture(255, 0)))
    [detection] = pipeline.finish(prepared, pipeline.infer([prepared])[0]).detections
    [said] = detection.classifications
    assert (said.label, said.top_labels) == ("c", ["c", "b", "a"])
    assert said.algorithm.key == "found_by_program_labels"
    assert sum(said.top_scores) == pytest.approx(1)


def test_a_program_that_gives_something_else_is_said_so(tmp_path: Path) -> None:
    export(Corners(), tmp_path / "program.pt2", torch.zeros(2, 3, 32, 64))
    pipeline = built(tmp_path, f"{PHOTOGRAPHS}labels: [a, b]\n")
    prepared = pipeline.prepare(RawImage(image=1, uri="", data=picture(255, 0)))
    with pytest.raises(
        errors.InternalError, match=r"gives \[\(1, 2, 4\), \(1, 2\)\] for 1 .* boxes and scores and prob"
    ):
        pipeline.infer([prepared])


def test_the_new_form_runs_programs_of_torch_export(tmp_path: Path) -> None:
    write(seeded(SmallYolo()), tmp_path / "finds.pt2", torch.zeros(2, 3, 160, 160))
    write(seeded(SmallYolo()), tmp_path / "finds.torchscript", torch.zeros(2, 3, 160, 160))
    text = """
slug: finds-{runtime}
detector:
  runtime: {runtime}
  file: finds.{runtime}
  input: {{size: [160, 160]}}
  output: {{format: yolo, min_score: 0.5}}
"""
    files = [file_of(drawn(300, 200, 1)), file_of(drawn(200, 300, 2))]
    exported, scripted = (
        results(declared(tmp_path, text.format(runtime=one)), files) for one in ("pt2", "torchscript")
    )
    assert exported[0].detections
    for one, other in zip(exported, scripted, strict=True):
        assert [d.score for d in one.detections] == pytest.approx([d.score for d in other.detections], abs=1e-5)
        for found, wanted in zip(one.detections, other.detections, strict=True):
            assert found.box == pytest.approx(wanted.box, abs=0.01)
    with pytest.raises(errors.InternalError, match=r"detector.input: finds.pt2 does not fit: .*\[160, 160\]"):
        declared(tmp_path, text.format(runtime="pt2").replace("[160, 160]", "[160, 320]"))


def test_a_file_that_is_no_program_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "program.pt2").write_bytes(b"not a program")
    with pytest.raises(errors.InternalError, match=r"program.pt2 cannot be read as a program") as caught:
        built(tmp_path, PHOTOGRAPHS)
    assert "\n" not in str(caught.value)
    (tmp_path / "program.pt2").unlink()
    with pytest.raises(errors.Unavailable, match="no such file on this machine"):
        built(tmp_path, PHOTOGRAPHS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("slug: x\nprogram: x.pt2\n", "missing required field `takes`"),
        (PHOTOGRAPHS + "sise: 3\n", "unknown field `sise`"),
        (PHOTOGRAPHS.replace("photographs", "photos"), "Invalid enum value 'photos'"),
        (PHOTOGRAPHS.replace("found-by-program", "Found By"), "'Found By' is not a slug"),
        (PHOTOGRAPHS.replace("[64, 32]", "wide"), r"got `str` - at `\$.size`"),
        (PHOTOGRAPHS.replace("[64, 32]", "[0, 32]"), "at least 1"),
        (PHOTOGRAPHS.replace("[1, 1, 1]", "[1, 0, 1]"), "std must be above 0"),
        (PHOTOGRAPHS.replace("photographs", "crops"), "needs labels, and a size that is one number"),
        ("slug: [", "own.yaml"),
        ("- 3", "Expected `object`"),
        ("slug: x\n", "neither a detector nor classifiers"),
    ],
)
def test_a_wrong_description_is_one_line_that_names_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    [broken] = registry.broken([tmp_path / "own.yaml"])
    assert re.search(complaint, str(broken))
    assert str(broken).startswith(str(tmp_path / "own.yaml"))
    assert "\n" not in str(broken)
