"""Own pipelines come, change and break while a stack is up, each beside the others (P1, P3, P4, P5)."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.stack.antenna_up import RunningStack, blank_images

CODE = """
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

ALGORITHM = AlgorithmSpec(key="SLUG", version="VERSION", name="A", task="localization")
PIPELINES = [PipelineSpec(slug="SLUG", name="Lab", version="VERSION", description="", factory=f"{__name__}:Lab",
                          algorithms=(ALGORITHM,))]


class Lab(Pipeline):
    def load(self, device): pass
    def prepare(self, image): return image.uri
    def infer(self, batch): return batch

    def finish(self, prepared, raw):
        found = Detection(box=(1.0, 2.0, 9.0, 8.0), score=SCORE, algorithm=ALGORITHM.ref)
        return ImageResult(width=64, height=48, detections=[found])
"""


def write(folder: Path, slug: str, *, version: str, score: float) -> None:
    (folder / f"{slug}.py").write_text(
        CODE.replace("SLUG", slug).replace("VERSION", version).replace("SCORE", str(score))
    )


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(folder / f"2026061200{number:02d}00.jpg")
    return folder


def rows_of(running: RunningStack, job: int) -> set[tuple[float, str]]:
    """Score and version of each detection."""
    files = (running.home / "lake").rglob(f"detections/job_id={job}/*.parquet")
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return {(row["score"], row["pipeline_version"]) for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_own_pipelines_come_change_and_break_beside_others(own_stack_process: RunningStack, tmp_path: Path) -> None:
    running = own_stack_process
    lab, installed = tmp_path / "lab", tmp_path / "installed"
    lab.mkdir()
    installed.mkdir()
    running.environment |= {
        "ANTENNA_PIPELINE_PATHS": str(lab),
        # A folder of installed packages.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(installed), running.environment.get("PYTHONPATH", "")])),
    }
    write(lab, "lab_one", version="1", score=0.5)
    running.up()
    trap = photographs(tmp_path / "trap", 2)
    first = running.submit(trap, "--pipeline", "lab_one")
    running.wait_for(first, timeout=240)
    assert rows_of(running, first) == {(0.5, "1")}

    # P1: a changed file under the old version, then under a new one, with the worker of before still there.
    write(lab, "lab_one", version="1", score=0.75)
    refused = running.antenna("submit", str(trap), "--pipeline", "lab_one", "--reprocess", check=False)
    assert refused.returncode != 0
    said = " ".join(refused.stderr.split())
    assert "version 1 was run before with other code" in said and "line 6" in said, said
    write(lab, "lab_one", version="2", score=0.75)
    second = running.submit(trap, "--pipeline", "lab_one")
    running.wait_for(second, timeout=240)
    assert rows_of(running, second) == {(0.75, "2")}
    assert rows_of(running, first) == {(0.5, "1")}

    # P5: a file added while the stack is up.
    write(lab, "lab_two", version="1", score=0.25)
    third = running.submit(trap, "--pipeline", "lab_two")
    running.wait_for(third, timeout=240)
    assert rows_of(running, third) == {(0.25, "1")}

    # P3 and P4: a broken file, and a package with an entry point, whose code is broken, are installed meanwhile.
    (lab / "broken.py").write_text("def f(:\n")
    info = installed / "broken_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[antenna.pipelines]\nbroken = broken_package:PIPELINES\n")
    built_in = running.submit(blank_images(tmp_path / "blank", 5), "--pipeline", "null")
    running.wait_for(built_in, timeout=240)
    own = running.submit(trap, "--pipeline", "lab_two", "--reprocess")
    running.wait_for(own, timeout=240)
    listed = running.antenna("pipelines", "list")
    told = " ".join((listed.stdout + listed.stderr).split())
    assert "lab_two" in told and "broken.py" in told and "broken_package" in told, told
