"""Own pipelines on a CPU are forked from one process that has imported PyTorch; what happens to it costs a load."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from antenna_orchestration.settings import Settings, load
from antenna_orchestration.worker.device import protocol
from antenna_orchestration.worker.device.client import Device, DeviceLost
from antenna_orchestration.worker.device.starting import Template
from antenna_orchestration.worker.policy.device_health import DeviceHealth
from tests import waiting
from tests.worker.test_device_pool import FILES, group, opened, run

pytestmark = pytest.mark.long

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


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that is imported as torch, which it is not: what is tested is what happens around the import."""
    package = tmp_path / "packages" / "torch"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(package.parent)
    for slug in ("first", "second"):
        file = tmp_path / f"{slug}.py"
        file.write_text(file.read_text().replace("import torch\n", "return\n"))
    (package / "__init__.py").touch()
    return package / "__init__.py"


async def test_a_template_that_does_not_answer_is_replaced(
    here: Settings, stand_in: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stopped one kept all own pipelines, and their leases, waiting for ever."""
    template = Template(here, answer_timeout=1.0)
    health = DeviceHealth()
    first, second = (
        Device(settings=here, device="cpu", process=name, load_timeout=60.0, template=template, health=health)
        for name in ("first", "second")
    )
    try:
        await first.start()
        forked = psutil.Process(pid_of_template()).children()[0]
        psutil.Process(pid_of_template()).suspend()
        # Nobody tells how it ended, so that no image is to blame.
        running = asyncio.create_task(first.run(group(0, "first", paths=here.pipeline_paths), [], lambda: None))
        forked.kill()
        with pytest.raises(DeviceLost) as lost:
            await running
        assert lost.value.may_be_ours
        async with asyncio.timeout(30):
            await second.start()
        assert "does not answer and is killed" in caplog.text
    finally:
        await second.end()
        await template.end()


async def test_no_one_else_waits_for_the_import_of_torch(here: Settings, stand_in: Path, tmp_path: Path) -> None:
    """It took a minute from a slow disk, and pipelines that do without it waited too."""
    stand_in.write_text(
        f"from pathlib import Path\nfrom tests.waiting import wait_until\n"
        f"wait_until(Path({str(tmp_path / 'go')!r}).exists, description='the import may end')\n"
    )
    paths = (*here.pipeline_paths, FILES[1])
    async with opened(here.model_copy(update={"pipeline_paths": paths})) as pool:
        waits = asyncio.create_task(pool.load(group(0, "first", paths=paths)))
        await waiting.eventually(lambda: _true(pool.changes), description="the import")
        await pool.load(group(1, "recording", paths=paths))
        assert pool.changes, "its leases are kept"
        assert not waits.done()
        (tmp_path / "go").touch()
        await waits


def pid_of_template() -> int:
    [found] = [one for one in psutil.Process().children() if "worker.device.template" in " ".join(one.cmdline())]
    return found.pid


@pytest.mark.parametrize(
    "torch",
    [
        "raise ImportError('libcudart is missing')",
        # A fork waits for ever for a lock that one of them held.
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n",
    ],
    ids=["no import", "threads"],
)
async def test_a_pytorch_that_cannot_be_forked_costs_only_its_users(
    here: Settings, stand_in: Path, caplog: pytest.LogCaptureFixture, torch: str
) -> None:
    stand_in.write_text(torch)
    async with opened(here) as pool:
        assert isinstance((await run(pool, group(0, "first", paths=here.pipeline_paths), 1))[0], protocol.Done)
    assert "each own pipeline imports PyTorch itself" in caplog.text


async def _true(value: bool) -> bool:
    return value
