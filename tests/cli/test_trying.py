"""`antenna pipelines try`: a pipeline on photographs, with no stack."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from antenna_orchestration.cli import output
from antenna_orchestration.cli.trying import PATIENCE
from tests.cli.shells import Shell

pytestmark = pytest.mark.long

FILE = Path(__file__).with_name("tried.py")


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    """The pipeline's file, with weights beside it."""
    np.save(tmp_path / "weights.npy", np.zeros(3))
    return Path(shutil.copy(FILE, tmp_path / "tried_here.py"))


def photograph(file: Path, *, orientation: int = 1, quality: int = 80) -> Path:
    """A grey JPEG of 160 x 120 pixels."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (160, 120), (90, 90, 90)).save(file, exif=exif, quality=quality)
    return file


def test_try_shows_rows_times_and_every_failure(
    lonely: Shell, tmp_path: Path, tried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's checks (P6, P8, P9), numpy's numbers, a batch that fails together, odd photographs, and pictures."""
    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    night = tmp_path / "night"
    for name in ("alone", "nan", "raises", "whole"):
        photograph(night / f"{name}.jpg")
    photograph(night / "turned.jpg", orientation=6)
    whole = photograph(night / "truncated.jpg").read_bytes()
    (night / "truncated.jpg").write_bytes(whole[: len(whole) // 3])
    (night / "notes.txt").write_text("a cloudy night")
    (tmp_path / "tried_notes").mkdir()
    (tmp_path / "tried_notes" / "__init__.py").touch()
    shown = lonely("pipelines", "try", tried, night, "--out", "drawn", "--config", '{"load": "weights"}')
    assert shown.code == 1
    lines = shown.out.splitlines()
    # Paths are not broken, because people copy them.
    assert max(len(line) for line in lines if not line.startswith("from ")) <= 80
    # Whatever fails is told with its step, its reason and, where it is the code's fault, the trace.
    assert "nan.jpg: finish failed: detections[0].score is nan" in shown.err
    assert "raises.jpg: prepare failed: KeyError: 'no such thing' (" in shown.err
    assert f'File "{tried}", line' in shown.err and "in prepare" in shown.err
    assert "truncated.jpg: prepare failed: " in shown.err
    assert "antenna/worker" not in shown.err
    assert shown.err.splitlines()[-1] == "antenna: error: 3 of 6 photographs failed"
    assert f"{tmp_path}/tried_notes/log.txt was written while the pipeline ran" in " ".join(shown.err.split())
    assert "infer fails with 4 photographs at once and is tried with each alone: RuntimeError: Guard" in shown.err
    assert f"tried reads {tmp_path / 'weights.npy'}, which no algorithm names" in shown.err
    assert "seen alone" in shown.err
    # Rows: boxes in pixels as stored, and what is said of the whole photograph.
    assert [line.split()[:8] for line in lines if line.startswith("turned.jpg")][1] == [
        "turned.jpg", "1", "2", "159", "20", "0.500", "moth", "0.750",
    ]  # fmt: skip
    assert any(line.split() == ["whole.jpg", "whole", "photograph", "fly", "0.250"] for line in lines)
    # Pictures are upright, and no photograph is written over.
    assert sorted(path.name for path in Path("drawn").iterdir()) == [
        "alone.boxes.jpg", "turned.boxes.jpg", "whole.boxes.jpg",
    ]  # fmt: skip
    assert cv2.imread("drawn/turned.boxes.jpg").shape == (160, 120, 3)


@pytest.mark.parametrize(
    ("load", "told"),
    [
        (
            "mismatch",
            ["tried_here.py", "load failed: RuntimeError: Error(s) in loading state_dict for ResNet: size mis"],
        ),
        pytest.param("exit", ["SystemExit: 3"], marks=pytest.mark.slow),
        pytest.param("hang", ["load takes longer than 20 s", "in load"], marks=pytest.mark.slow),
    ],
)
def test_try_tells_why_a_pipeline_cannot_be_loaded(
    load: str, told: list[str], lonely: Shell, tmp_path: Path, tried: Path
) -> None:
    """P7: the line that helps, after the whole trace; P2: `sys.exit` and a hang in `load` are told as such."""
    limit = "20" if load == "hang" else str(PATIENCE)
    shown = lonely(
        "pipelines",
        "try",
        tried,
        photograph(tmp_path / "a.jpg"),
        "--time-limit",
        limit,
        "--config",
        f'{{"load": "{load}"}}',
    )
    assert (shown.code, shown.out) == (1, "")
    for text in told:
        assert text in shown.err
    assert f'File "{tried}", line' in shown.err


def test_the_import_of_a_library_does_not_count_as_the_pipelines(lonely: Shell, tmp_path: Path) -> None:
    """On a slow disk the import of PyTorch alone took the 120 seconds."""
    # One that is not installed stands for them; whoever imports it finds this file. It sleeps: that time passes is what
    # is tested, and the import has to outlast the limit.
    (tmp_path / "tensorflow.py").write_text("import time\ntime.sleep(12)\n")
    file = tmp_path / "tried_here.py"
    code = FILE.read_text().replace("device: str) -> None:\n", "device: str) -> None:\n        import tensorflow\n")
    file.write_text(code)
    shown = lonely("pipelines", "try", file, photograph(tmp_path / "a.jpg"), "--time-limit", "8")
    assert shown.code == 0, shown.err


@pytest.mark.slow
def test_try_says_in_which_photograph_the_process_ended(lonely: Shell, tmp_path: Path, tried: Path) -> None:
    names = [*"abcdefg", "crashes", "h", "i"]
    shown = lonely("pipelines", "try", tried, *(photograph(tmp_path / f"{name}.jpg") for name in names), "--json")
    assert shown.code == 1
    told = {one["photograph"]: one["failed"] for one in shown.json["photographs"]}
    assert told == {f"{name}.jpg": "infer" for name in names[:8]}
    assert "infer ended the process by SIGSEGV" in shown.json["photographs"][0]["reason"]
    assert "2 photographs not tried" in shown.err


def test_try_shows_the_line_of_a_broken_file(lonely: Shell, tmp_path: Path) -> None:
    """P3: with the trace as Python tells it."""
    (tmp_path / "broken_here.py").write_text("PIPELINES = [\n")
    shown = lonely("pipelines", "try", tmp_path / "broken_here.py", "a.jpg")
    assert (shown.code, shown.out) == (2, "")
    assert f"antenna: error: {tmp_path / 'broken_here.py'}, line 1: SyntaxError" in shown.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nope", "a.jpg"], "there is no pipeline 'nope'"),
        (["nope.py", "a.jpg"], "there is no file nope.py"),
        (["null", "a.jpg"], "a.jpg"),
        (["null", ".", "--slug", "null"], "--slug is for a FILE"),
        (["null", ".", "--config", '{"nope": 1}'], "has no setting 'nope'"),
        (["null", ".", "--config", "[]"], "is not a JSON object"),
    ],
)
def test_try_refuses_what_cannot_be_tried(arguments: list[str], told: str, lonely: Shell, tmp_path: Path) -> None:
    lonely("pipelines", "try", *arguments).refused(2, told)
