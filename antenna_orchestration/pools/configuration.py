"""The file that says in which pools workers are started: `ANTENNA_WORKER_POOLS`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from antenna_orchestration import errors
from antenna_orchestration.domain.scaling import Pool
from antenna_orchestration.pipelines import yaml_files

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_DAY: Final = 86_400.0

# Options of sbatch with which a job would not be one worker, or not be found again.
_FOREIGN: Final = ("--array", "--clusters", "--job-name", "--test-only", "--wait", "--wrap")
_FOREIGN_LETTERS: Final = ("-J", "-M", "-W", "-a")

LONGEST: Final = 366 * _DAY
"""Seconds that a worker may stay idle."""

MOST: Final = 10_000
"""Workers of a pool."""

Seconds = Annotated[float, Field(gt=0, le=_DAY)]


class PoolSettings(BaseModel):
    """What is common to the pools of all engines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: int = Field(ge=0, le=MOST, description="Workers at the same time, those on their way among them.")
    pipelines: tuple[str, ...] = Field(
        default=(), description="Slugs that the workers serve, and for whose jobs they are started. Empty: all."
    )
    reaches: tuple[str, ...] = Field(
        default=(),
        description="Kinds of images that its workers can load, as in `ANTENNA_WORKER_REACHES`: `file:*` where the "
        "submitting host's folders are mounted. Empty: http and S3, and on this machine what its settings say.",
    )
    only_unserved: bool = Field(default=False, description="Start one only for jobs that no worker serves.")
    finish_within_minutes: float = Field(
        default=10,
        gt=0,
        le=100_000,
        description="What waits is to be done in this time; a job's deadline may be nearer.",
    )
    cold_start_seconds: Seconds = Field(default=20, description="From a start to the worker's first image.")
    idle_exit_seconds: float = Field(
        default=60, gt=0, le=LONGEST, description="How long a worker stays when nothing waits."
    )
    overhead: float = Field(
        default=0.25,
        gt=0,
        le=100,
        description="Share of the work that starting and leaving may cost; so a small backlog gets few workers. Jobs "
        "that are due within `finish_within_minutes` may cost as much as they have work.",
    )
    worker_hours_per_day: float | None = Field(
        default=None, ge=0, description="Budget of the last 24 hours, over all its workers. Not given: no limit."
    )
    seconds_per_image: float = Field(
        default=1.0, gt=0, le=_DAY, description="First guess for a pipeline that no worker has measured."
    )
    cool_down_seconds: Seconds = Field(
        default=60, description="How long a start may wait for a place although it is of no use any more."
    )
    max_lifetime_hours: float = Field(
        default=4, gt=0, le=8_784, description="A worker finishes what it has begun and leaves after this time."
    )

    def limits(self, name: str) -> Pool:
        """The pool as the decision sees it."""
        return Pool(
            name=name,
            most=self.most,
            finish_within=self.finish_within_minutes * 60,
            cold_start=self.cold_start_seconds,
            idle_exit=self.idle_exit_seconds,
            overhead=self.overhead,
            budget=None if self.worker_hours_per_day is None else self.worker_hours_per_day * 3600,
            cool_down=self.cool_down_seconds,
            only_unserved=self.only_unserved,
        )

    def worker_arguments(self, name: str) -> list[str]:
        """The arguments of `antenna worker` for a worker of this name."""
        given = ["--name", name, "--exit-when-idle", f"{self.idle_exit_seconds:g}"]
        given += ["--max-lifetime", f"{self.max_lifetime_hours * 3600:g}"]
        return [*given, "--pipelines", ",".join(self.pipelines)] if self.pipelines else given


class DagsterPool(PoolSettings):
    """Runs of `inference_worker` in a code location of this Dagster instance."""

    kind: Literal["dagster"]
    location: str = Field(
        default="antenna", description="Code location: `antenna`, or one of ANTENNA_WORKER_LOCATIONS."
    )
    device: str | None = Field(default=None, pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="What it computes on.")
    tags: dict[str, str] = Field(
        default={}, description="Tags of the runs, such as `dagster-k8s/config` for the launcher that starts them."
    )


class SlurmPool(PoolSettings):
    """Jobs of a Slurm cluster; `sbatch`, `squeue` and `scancel` are called on the machine that decides."""

    kind: Literal["slurm"]
    options: tuple[str, ...] = Field(
        default=(),
        description="Options of sbatch: `--partition=gpu`, `--gres=gpu:1`, `--time=04:00:00`, `--account=…`.",
    )
    setup: str = Field(
        default="",
        description="Lines of shell before the worker starts: settings (ANTENNA_WORKER_NATS_URL from a file that only "
        "you can read) and the environment. They see no setting of the machine that decides.",
    )
    worker: tuple[str, ...] = Field(
        default=("antenna", "worker"),
        description="The command of a worker, with further options such as `--device cuda`.",
    )

    @field_validator("options")
    @classmethod
    def _can_be_told_apart(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("-") or option in ("-", "--"):
                raise ValueError(f"{option!r}: each option is one word, such as --partition=gpu")
            name = option.split("=")[0]
            # sbatch takes any beginning of a name for the name.
            if name[:2] in _FOREIGN_LETTERS or any(taken.startswith(name) for taken in _FOREIGN):
                raise ValueError(f"{option}: each worker is one job with a name of its own, whose script is made here")
        return options


class CommandPool(PoolSettings):
    """Anything that a command can start: a cloud instance, a worker over ssh."""

    kind: Literal["command"]
    start: tuple[str, ...] = Field(
        min_length=1,
        description="Command that starts one worker and returns; the worker's arguments come after it. Its first line "
        "of output is what `list` and `cancel` call the worker; without any, that is its name.",
    )
    list: tuple[str, ...] = Field(
        default=(),
        description="Command that prints what is still there, one per line. Not given: a worker is there while it is "
        "heard.",
    )
    cancel: tuple[str, ...] = Field(
        default=(), description="Command that takes back a start that was not heard yet; what it is called comes last."
    )
    environment: tuple[str, ...] = Field(
        default=(),
        description="Names of variables of the sensor's environment that the commands get besides PATH, HOME, USER and "
        "the language, such as AWS_PROFILE.",
    )
    # A look and a start, of all pools at once, are one tick of the sensor, which may take a minute.
    timeout_seconds: float = Field(default=20, gt=0, le=25, description="How long each of the commands may take.")


AnyPool = DagsterPool | SlurmPool | CommandPool
_POOLS: TypeAdapter[dict[str, AnyPool]] = TypeAdapter(
    dict[str, Annotated[DagsterPool | SlurmPool | CommandPool, Field(discriminator="kind")]]
)


def read(path: Path) -> dict[str, AnyPool]:
    """The pools in the file, in the order in which they are filled. Raises `InvalidSetting`."""
    said = yaml_files.of_setting("ANTENNA_WORKER_POOLS", path, holds="pools")
    if not isinstance(said, Mapping) or not said:
        raise errors.InvalidSetting(f"ANTENNA_WORKER_POOLS: {path} has no pools; see docs/howto/scale.md")
    for name in said:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise errors.InvalidSetting(
                f"ANTENNA_WORKER_POOLS: {path}: {name!r} is not a valid name for a pool: up to 32 of a-z, 0-9 and -"
            )
    try:
        return _POOLS.validate_python(said)
    except ValidationError as error:
        raise errors.InvalidSetting(f"ANTENNA_WORKER_POOLS: {path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    fault: Any = error.errors()[0]
    place = [str(part) for part in fault["loc"]]
    # After the name pydantic tells the kind that it chose.
    named = ".".join([*place[:1], *place[2:]])
    if fault["type"] == "extra_forbidden":
        return f"{named}: there is no such key; see docs/howto/scale.md"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{named}: `kind` is dagster, slurm or command"
    if fault["type"] == "tuple_type":
        return f"{named}: a list is wanted, each word an entry: [{', '.join(str(fault['input']).split())}]"
    return f"{named}: {fault['msg'].removeprefix('Value error, ')}"
