"""What Slurm's answers mean, and what it is handed; on a cluster in tests/engines."""

from __future__ import annotations

import pytest

from antenna_orchestration.pools import slurm
from antenna_orchestration.pools.configuration import SlurmPool
from antenna_orchestration.pools.launcher import Seen

POOL = SlurmPool(kind="slurm", most=1, options=("--gres=gpu:1",), setup="export X=1\n")


def test_the_script_quotes_the_command_and_keeps_the_setup() -> None:
    script = slurm.batch_script(["antenna", "worker", "--name", "it's"], setup=POOL.setup)
    assert script.splitlines()[0] == "#!/bin/bash"
    assert "export X=1\n" in script
    assert script.endswith("exec srun antenna worker --name 'it'\"'\"'s'\n")


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
