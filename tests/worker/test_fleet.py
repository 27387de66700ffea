"""Several workers on one host under one command, as real processes; what they run stands in for GPUs."""

import asyncio
import os
import pickle
import signal
import sys
from pathlib import Path

import psutil
import pytest

from antenna_orchestration import errors
from antenna_orchestration.worker import fleet
from tests import waiting

ROOT = Path(__file__).parents[2]
RUN = """
import asyncio, pickle, sys
from antenna_orchestration.worker import fleet
sys.exit(asyncio.run(fleet.run(pickle.loads(bytes.fromhex(sys.argv[1])))))
"""
LEAVES_AT_SIGTERM = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
path = pathlib.Path(sys.argv[1])
path.write_text("up")
signal.sigwait([signal.SIGTERM])
path.write_text("left")
"""


LEAVES_WHEN_THERE = """
import pathlib, sys
from tests.waiting import wait_until
wait_until(pathlib.Path(sys.argv[1]).exists, description="the other is up")
sys.exit(int(sys.argv[2]))
"""


def stays(path: Path) -> list[str]:
    """A command that says in a file that it is up, and that it left."""
    return [sys.executable, "-c", LEAVES_AT_SIGTERM, str(path)]


def leaves(path: Path, code: int) -> list[str]:
    """A command that leaves with this code once the file is there."""
    return [sys.executable, "-c", LEAVES_WHEN_THERE, str(path), str(code)]


async def fleet_started(*commands: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, pickle.dumps(commands).hex(), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def says(path: Path, word: str) -> None:
    waiting.wait_until(lambda: path.exists() and path.read_text() == word, description=f"{path.name} {word}")


async def test_a_stop_reaches_every_worker(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one", "other")]
    process = await fleet_started(*(stays(path) for path in paths))
    for path in paths:
        says(path, "up")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert [path.read_text() for path in paths] == ["left", "left"]


async def test_a_worker_that_fails_takes_the_others_along(tmp_path: Path) -> None:
    path = tmp_path / "other"
    process = await fleet_started(leaves(path, 4), stays(path))
    assert await process.wait() == 4
    says(path, "left")


async def test_no_worker_outlives_the_command(tmp_path: Path) -> None:
    path = tmp_path / "one"
    process = await fleet_started(stays(path))
    says(path, "up")
    [worker] = psutil.Process(process.pid).children()
    process.kill()
    await process.wait()
    says(path, "left")
    worker.wait(10)


@pytest.mark.parametrize("text", ["some", "0,0", "-1", "", "0,MIG-a", "MIG-a,MIG-a"])
def test_what_names_no_gpus_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidSetting, match="--gpus"):
        fleet.gpus(text)


@pytest.mark.long
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(errors.InvalidSetting, match="no GPU"):
        fleet.gpus("99")


def test_workers_of_one_host_share_its_cpus() -> None:
    """M10: each took all of them."""
    assert fleet.threads_each(4, wanted=0, cpus=32) == 8
    assert fleet.threads_each(4, wanted=6, cpus=32) == 6
    assert fleet.threads_each(8, wanted=0, cpus=4) == 1


async def test_a_worker_whose_card_is_lost_leaves_the_others_alone(tmp_path: Path) -> None:
    path = tmp_path / "other"
    process = await fleet_started(leaves(path, errors.DeviceGone.exit_code), stays(path))
    says(path, "up")
    waiting.wait_until(lambda: len(psutil.Process(process.pid).children()) == 1, description="the first to leave")
    assert path.read_text() == "up"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == errors.DeviceGone.exit_code
    assert path.read_text() == "left"


LISTED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc)
"""
MODES = """GPU-aaaa, Enabled
GPU-bbbb, Disabled
GPU-cccc, Enabled
"""


@pytest.fixture
def divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a card in two slices, a whole one, and one without slices, as far as `nvidia-smi` says."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncase $1 in -L) cat <<'END'\n{LISTED}END\n;; *) cat <<'END'\n{MODES}END\n;; esac\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("divided")
def test_slices_of_a_card_are_named_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """M11: a process sees one slice, whatever their number, so that numbers name none but the first."""
    assert [gpu.visible for gpu in fleet.gpus("all")] == ["MIG-1111", "MIG-2222", "GPU-bbbb"]
    assert fleet.gpus("MIG-2222,GPU-bbbb") == [fleet.Gpu("cuda:0", "MIG-2222"), fleet.Gpu("cuda:0", "GPU-bbbb")]
    assert [gpu.visible for gpu in fleet.gpus("GPU-aaaa,MIG-1111")] == ["MIG-1111", "MIG-2222"]
    with pytest.raises(errors.InvalidSetting, match="there is no MIG-3333; nvidia-smi -L lists"):
        fleet.gpus("MIG-1111,MIG-3333")
    # What a scheduler gave us is all that there is.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-2222")
    [only] = fleet.gpus("all")
    assert [*only.prefix, "antenna"] == ["env", "CUDA_VISIBLE_DEVICES=MIG-2222", "antenna"]
