"""Own pipelines on a CPU are forked from one process that has imported PyTorch; what happens to it costs a load."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import DeviceLost
from tests import waiting
from tests.worker.test_device_pool import group, opened, run

OWN = """
import os, sys
from antenna_orchestration.domain.messages import Attribute
from antenna_orchestration.pipelines.interface import AlgorithmSpec, ImageResult, Pipeline, PipelineSpec

FINDER = AlgorithmSpec(key="SLUG_finder", version="1", name="Finder", task="localization")
PIPELINES = [PipelineSpec(slug="SLUG", name="SLUG", version="1", description="", factory=f"{__name__}:Own",
                          algorithms=(FINDER,), default_config={"crash": False})]


class Own(Pipeline):
    def load(self, device):
        had = "torch" in sys.modules
        import torch
        torch.nn.functional.conv2d(torch.rand(1, 3, 64, 64), torch.rand(8, 3, 3, 3))
        print(f"SLUG is {os.getpid()}, had torch: {had}", file=sys.stderr, flush=True)

    def prepare(self, image):
        if self.config["crash"]:
            os.abort()
        return image.image

    def infer(self, batch):
        return batch

    def finish(self, prepared, raw):
        return ImageResult(width=64, height=48, detections=[])
"""


@pytest.fixture
def here(tmp_path: Path) -> Settings:
    for slug in ("first", "second"):
        (tmp_path / f"{slug}.py").write_text(OWN.replace("SLUG", slug))
    files = (tmp_path / "first.py", tmp_path / "second.py")
    return load(home=tmp_path / "home", device="cpu", worker_threads=1, pipeline_paths=files)


async def test_own_pipelines_share_one_import_of_torch(
    here: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Five imports took 20 s of CPU time from the pipelines that worked, and again after each crash."""
    monkeypatch.syspath_prepend(tmp_path / "packages")
    paths = here.pipeline_paths
    first, second = group(0, "first", paths=paths), group(1, "second", paths=paths)
    crashing = group(2, "second", paths=paths, crash=True)
    said = ""

    def pid_of(slug: str) -> int:
        nonlocal said
        said += capfd.readouterr().err
        pid, had = re.findall(rf"{slug} is (\d+), had torch: (\w+)", said)[-1]
        assert had == "True"
        return int(pid)

    async with opened(here) as pool:
        for one in (first, second):
            assert isinstance((await run(pool, one, 1))[0], protocol.Done)
        template = psutil.Process(pid_of("first")).parent()
        assert template is not None
        assert (template.ppid(), template) == (os.getpid(), psutil.Process(pid_of("second")).parent())

        with pytest.raises(DeviceLost, match="killed by SIGABRT"):
            await run(pool, crashing, 2)
        assert pool.has_loaded(first)

        # What it has imported is not what would be imported now: the worker starts another one.
        info = tmp_path / "packages" / "torch-99.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99\n")
        assert isinstance((await run(pool, second, 3))[0], protocol.Done)
        newer = psutil.Process(pid_of("second")).parent()
        assert newer is not None
        assert newer != template
        assert pool.has_loaded(first), "what was forked before stays"

        newer.send_signal(signal.SIGKILL)
        await waiting.eventually(lambda: _true(not pool.has_loaded(second)), description="its fork ends with it")
        assert isinstance((await run(pool, second, 4))[0], protocol.Done)
        last = psutil.Process(pid_of("second"))
    await waiting.eventually(lambda: _true(not last.is_running()), description="the last fork ends with the pool")


async def test_a_pytorch_that_cannot_be_imported_costs_only_its_users(
    here: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "packages" / "torch").mkdir(parents=True)
    (tmp_path / "packages" / "torch" / "__init__.py").write_text("raise ImportError('libcudart is missing')")
    (tmp_path / "first.py").write_text((tmp_path / "first.py").read_text().replace("import torch\n", "return\n"))
    monkeypatch.syspath_prepend(tmp_path / "packages")
    async with opened(here) as pool:
        assert isinstance((await run(pool, group(0, "first", paths=here.pipeline_paths), 1))[0], protocol.Done)
    assert "each own pipeline imports PyTorch itself" in caplog.text


async def _true(value: bool) -> bool:
    return value
