"""Tags on runs: the run queue's limits go by the role, people and sensors find a job's runs by the others."""

from typing import Final

ROLE: Final = "antenna/role"
JOB: Final = "antenna/job"
GENERATION: Final = "antenna/generation"
LAUNCH: Final = "antenna/launch"

NAME: Final = "antenna/name"
PROJECT: Final = "antenna/project"
PIPELINE: Final = "antenna/pipeline"
DEPLOYMENT: Final = "antenna/deployment"
SUBMITTED_BY: Final = "antenna/submitted-by"
"""What people know a job by, to filter runs."""

PROCESS: Final = "antenna/process"
"""The run's process (`kernel.this_process`); each run writes it when it starts."""

STOPPED: Final = "antenna/stopped"
"""The id of the run that ended because `antenna up` was stopped: nobody terminated it, and its job goes on at the next
start. The id, because a run that is executed again inherits the tags of the first."""

AWAITING: Final = "antenna/awaiting-results"
"""The id of the run that left its place in the run queue to others, because there was nothing to collect: nobody
terminated it, and its job goes on with the first result."""

START: Final = "antenna/worker-start"
"""The start that a worker's run is (`domain/scaling.py`): its worker's name."""

SLURM_JOB: Final = "antenna/slurm-job"
"""The number of the Slurm job that a worker's run was submitted as, for people: a run that is executed again has
that of the first until it is submitted itself."""

COLLECTOR_BULK: Final = "collector-bulk"
COLLECTOR_SMALL: Final = "collector-small"
COLLECTOR_INTERACTIVE: Final = "collector-interactive"
WORKER: Final = "worker"
OPERATIONS: Final = "ops"

LOCATION: Final = "antenna"
"""Name of our code location. Sensor cursors and run keys are stored under it: it never changes."""

SMALL: Final = 1_000
"""Images up to which a job counts as small. Interactive, small and long ones never queue behind each other."""


def share_of(role: str) -> str:
    """The tag that names the project of a collector's run, by which the run queue limits each project's runs."""
    return f"antenna/share-{role.removeprefix('collector-')}"
