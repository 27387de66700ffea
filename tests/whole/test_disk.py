"""What happens to the disk below a machine: what was not synced is lost, or files are lost, torn or from before."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recoveries import Recovery
from tests.waiting import wait_until
from tests.whole.machine import Machine
from tests.whole.test_power_loss import MOMENTS

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1800)]

DELAY = 0.1
"""Seconds that an image takes."""

SIZE = 2 * 2**30
"""Bytes of the disk, most of which are never written."""

_FS_IOC_SHUTDOWN = 0x8004587D
_WITHOUT_ITS_LOG = 2


class Disk:
    """An ext4 file system in a file."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.image = image
        self.folder = folder
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)

    def mount(self) -> None:
        """Attach it; the file system replays its journal, as at a boot."""
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True)
        self.folder.chmod(0o711)

    def lose_power(self) -> None:
        """Let the file system forget, at once and without writing its journal, what nobody has synced."""
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _WITHOUT_ITS_LOG))
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Detach it, once the last of the processes that were killed has closed its files."""

        def done() -> bool:
            return subprocess.run(["umount", self.folder], capture_output=True, check=False).returncode == 0

        wait_until(done, description=f"{self.folder} is unmounted", poll=0.2)


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk of the test's own, mounted."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root mounts a disk of its own, made by mkfs.ext4")
    with tempfile.TemporaryDirectory(prefix="antenna test ") as own:
        folder = Path(own) / "disk"
        folder.mkdir()
        Path(own).chmod(0o711)
        made = Disk(Path(own) / "disk.img", folder)
        try:
            made.mount()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop device can be mounted here: {error}")
        try:
            yield made
        finally:
            made.unmount()


@pytest.fixture
def on_disk(disk: Disk, recoveries: list[Recovery]) -> Iterator[Machine]:
    """A machine whose home lies on that disk; its photographs do not, for whoever syncs them syncs the home's, too."""
    made = Machine(disk.folder, recoveries)
    made.photographs = disk.image.parent
    try:
        yield made
    finally:
        made.remove()


def test_what_was_acknowledged_outlives_a_power_loss(disk: Disk, on_disk: Machine) -> None:
    machine = on_disk
    machine.up()
    over = machine.null_job(500)
    machine.ends(over)
    job = machine.null_job(150, delay_ms=DELAY * 1000)
    before = machine.under_way(job)
    # Acknowledged a moment before, and nothing of it is begun.
    last = machine.null_job(20)
    struck = machine.power_loss(disk.lose_power)
    disk.unmount()
    disk.mount()
    machine.up()
    fault = "power loss, and what was not synced is lost"
    machine.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
    machine.ends(last)
    machine.ends(over)


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_was_not_synced_is_lost_while(disk: Disk, on_disk: Machine, moment: str) -> None:
    machine = on_disk
    machine.up()
    job = MOMENTS[moment](machine)
    seen = machine.progress(job)
    struck = machine.power_loss(disk.lose_power)
    disk.unmount()
    disk.mount()
    machine.up()
    before = machine.progress(job)
    # What somebody has seen in the catalog is there.
    assert before.accounted >= seen.accounted and before.is_over >= seen.is_over, (seen, before)
    lost = () if before.is_over or before.accounted == before.total else ("worker",)
    fault = f"power loss while {moment}, and what was not synced is lost"
    machine.recovers(job, fault=fault, since=struck, before=before, lost=lost)
    machine.takes_up_another()


def test_the_first_start_meets_a_power_loss(disk: Disk, on_disk: Machine) -> None:
    machine = on_disk
    machine.up()
    struck = machine.power_loss(disk.lose_power)
    disk.unmount()
    disk.mount()
    machine.up()
    job = machine.null_job(20)
    machine.recovers(job, fault="power loss right after the first start, and what was not synced is lost", since=struck)


def truncate_the_queue(machine: Machine) -> None:
    """As a file system leaves files whose last blocks were not written."""
    blocks = [path for path in (machine.home / "nats").rglob("*.blk") if path.stat().st_size]
    assert blocks
    for path in blocks:
        os.truncate(path, path.stat().st_size // 2)


def lose_the_queue(machine: Machine) -> None:
    shutil.rmtree(machine.home / "nats")


def lose_the_parts(machine: Machine) -> None:
    shutil.rmtree(machine.home / "lake" / "_parts")


def lose_the_lake(machine: Machine) -> None:
    shutil.rmtree(machine.home / "lake")


def lose_redis(machine: Machine) -> None:
    shutil.rmtree(machine.home / "redis")


def lose_what_can_be_made_again(machine: Machine) -> None:
    for name in ("env", "ports.json", "stack.json"):
        (machine.home / name).unlink()
    for name in ("dagster", "logs"):
        shutil.rmtree(machine.home / name)


LOSSES: dict[str, Callable[[Machine], None]] = {
    "NATS' files are truncated": truncate_the_queue,
    "NATS' files are lost": lose_the_queue,
    "the lake's parts are lost": lose_the_parts,
    "the lake is lost": lose_the_lake,
    "Redis' files are lost": lose_redis,
    "env, ports, logs and Dagster's home are lost": lose_what_can_be_made_again,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_part_of_the_home_is_lost(lasting: Machine, loss: str) -> None:
    job = lasting.null_job(150, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    struck = lasting.power_loss()
    LOSSES[loss](lasting)
    lasting.up()
    fault = f"power loss, and {loss}"
    lasting.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
    lasting.takes_up_another()


def test_the_queue_is_set_back_to_before(lasting: Machine) -> None:
    finished = lasting.null_job(50)
    earlier = lasting.null_job(150, delay_ms=DELAY * 1000)
    lasting.under_way(earlier)
    lasting.power_loss()
    kept = lasting.folder / "nats from before"
    shutil.copytree(lasting.home / "nats", kept)
    lasting.up()
    for job in (finished, earlier):
        lasting.ends(job)
    job = lasting.null_job(150, delay_ms=DELAY * 1000)
    before = lasting.under_way(job)
    struck = lasting.power_loss()
    shutil.rmtree(lasting.home / "nats")
    kept.rename(lasting.home / "nats")
    lasting.up()
    fault = "power loss, and NATS' files are from before"
    lasting.recovers(job, fault=fault, since=struck, before=before, each=DELAY, lost=("worker",))
    lasting.takes_up_another()
