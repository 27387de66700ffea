"""What is asked of Slurm's commands; on a real cluster: tests/engines/test_slurm.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.pools import slurm
from antenna_orchestration.pools.configuration import SlurmPool
from antenna_orchestration.pools.launcher import Asked, Seen
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


POOL = pool(options=["--gres=gpu:1"], setup="export X=1\n")


def test_the_script_quotes_the_command_and_keeps_the_setup() -> None:
    script = slurm.batch_script(["antenna", "worker", "--name", "it's"], setup=POOL.setup)
    assert script.splitlines()[0] == "#!/bin/bash"
    assert "export X=1\n" in script
    assert script.endswith("CPUS_PER_TASK} antenna worker --name 'it'\"'\"'s'\n")


def test_of_jobs_with_one_name_the_newest_counts() -> None:
    listed = "12|antenna-p-1|RUNNING|None\n9|antenna-p-1|NODE_FAIL|NonZeroExitCode\nnoise\n"
    assert [number for _, number, _, _ in slurm.jobs_in(listed)] == ["9", "12"]
    assert slurm.job_of("12;cluster\n") == "12"


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ("PENDING", Seen("waiting", "Slurm job 7 is PENDING (why)")),
        ("RUNNING", Seen("running", "Slurm job 7 is RUNNING")),
        ("COMPLETED", Seen("gone")),
        ("CANCELLED by 1000", Seen("gone")),
        ("TIMEOUT", Seen("gone", "Slurm job 7 ended as TIMEOUT (why); the file that sbatch wrote says more")),
    ],
)
def test_what_a_state_means(state: str, seen: Seen) -> None:
    assert slurm.seen("7", state, "why") == seen
