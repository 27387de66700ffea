"""What is asked of Slurm's commands; on a real cluster: tests/engines/test_slurm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.pools.configuration import SlurmPool
from antenna_orchestration.pools.launcher import Asked
from antenna_orchestration.pools.slurm import SlurmLauncher


def pool(**changes: object) -> SlurmPool:
    return SlurmPool.model_validate({"kind": "slurm", "most": 1} | changes)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm's names, which note what they were given."""
    for name in ("sbatch", "squeue"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}.words\nenv > {tmp_path}/{name}.env\n'
                          f"cat > {tmp_path}/{name}.script\ncat {tmp_path}/{name}.says\n")  # fmt: skip
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


async def test_a_job_sees_no_secret_of_the_machine_that_decides(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch hands its whole environment to the job, and to Slurm's spool."""
    monkeypatch.setenv("ANTENNA_DATABASE_URL", "postgresql://antenna:s3kr1t@db/antenna")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    (cluster / "sbatch.says").write_text("12;west\n")
    assert await SlurmLauncher(pool(options=["--gres=gpu:1"])).start("p-1") == "12"
    given = (cluster / "sbatch.env").read_text()
    assert "s3kr1t" not in given
    assert "ANTENNA_" not in given
    assert "SLURM_CONF=/etc/slurm.conf\n" in given
    assert "s3kr1t" not in (cluster / "sbatch.script").read_text()
    assert (cluster / "sbatch.words").read_text().split() == ["--gres=gpu:1", "--parsable", "--job-name=antenna-p-1"]


async def test_states_of_jobs(cluster: Path) -> None:
    lines = ["1|antenna-a|PENDING|Resources", "2|antenna-b|COMPLETED|None", "3|antenna-c|COMPLETED|None",
             "4|antenna-d|CANCELLED by 0|None", "5|antenna-e|NODE_FAIL|None", "6|other|RUNNING|None"]  # fmt: skip
    (cluster / "squeue.says").write_text("\n".join(lines) + "\n")
    starts = [
        Asked(start_id=name, handle=str(number), age=1.0, was_heard=name == "c", is_heard=False)
        for number, name in enumerate("abcdef", 1)
    ]
    seen = await SlurmLauncher(pool()).look(starts)
    assert [seen[name].state for name in "abcdef"] == ["waiting", *["gone"] * 5]
    assert [name for name in "abcdef" if seen[name].state == "gone" and seen[name].note] == ["b", "e", "f"]
