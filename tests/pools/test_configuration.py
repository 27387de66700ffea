"""The file of the pools: what it may say, and the line for each fault."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.pools import configuration
from antenna_orchestration.pools.configuration import CommandPool, DagsterPool, PoolSettings, SlurmPool
from antenna_orchestration.processing import scale

PAGE = (Path(__file__).parents[2] / "docs/howto/scale.md").read_text()


def written(folder: Path, text: str) -> Path:
    (folder / "pools.yaml").write_text(text)
    return folder / "pools.yaml"


def test_the_file_of_the_page_can_be_read(tmp_path: Path) -> None:
    example = PAGE.split("```yaml\n")[1].split("```")[0]
    pools = configuration.read(written(tmp_path, example))
    assert [type(pool) for pool in pools.values()] == [DagsterPool, SlurmPool, CommandPool]
    assert list(pools) == ["workstation", "cluster", "rented"], "pools are filled in the order of the file"
    assert pools["cluster"].limits("cluster").budget == 100 * 3600
    assert pools["workstation"].limits("workstation").finish_within == 3600
    wanted = ["--name", "cluster-1", "--exit-when-idle", "60", "--max-lifetime", "13680"]
    assert pools["cluster"].worker_arguments("cluster-1") == wanted


@pytest.mark.parametrize("kind", [PoolSettings, DagsterPool, SlurmPool, CommandPool])
def test_the_page_has_every_key_with_its_meaning(kind: type[PoolSettings]) -> None:
    own = {name: field for name, field in kind.model_fields.items() if name != "kind"}
    missing = [name for name, field in own.items() if not any(
        line.startswith(f"| `{name}` |") and line.endswith(f"| {field.description} |") for line in PAGE.splitlines()
    )]  # fmt: skip
    assert not missing


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no pools"),
        ("- a\n", "has no pools"),
        ("a: [\n", "line 2: "),
        ("a: " + "[" * 5000, "nest"),
        ("a:\n  kind: slurm\n  most: 1\na:\n  kind: slurm\n  most: 2\n", "line 4: "),
        ("a: {kind: slurm, most: 1, options: [-p, gpu]}", "a.options: 'gpu': each option is one word"),
        ("a: {kind: slurm, most: 1, options: [--wrap=true]}", "a.options: --wrap=true: each worker is one job"),
        ("a: {kind: slurm, most: 1, options: [--arr=1-3]}", "a.options: --arr=1-3: each worker is one job"),
        ("a: {kind: slurm, most: 1, options: [-a1-3]}", "a.options: -a1-3: each worker is one job"),
        ("a: {kind: slurm, most: 1, options: [-Jx]}", "a.options: -Jx: each worker is one job"),
        ("Night Owls:\n  kind: slurm\n  most: 1\n", "'Night Owls' is not a valid name for a pool"),
        ("a:\n  kind: pbs\n  most: 1\n", "a: `kind` is dagster, slurm or command"),
        ("a:\n  most: 1\n", "a: `kind` is dagster, slurm or command"),
        ("a:\n  kind: slurm\n", "a.most: Field required"),
        (
            "a: {kind: slurm, most: 1, worker: antenna worker}",
            "a.worker: a list is wanted, each word an entry: [antenna,",
        ),
        ("a:\n  kind: slurm\n  most: 1\n  partition: gpu\n", "a.partition: there is no such key"),
        ("a:\n  kind: slurm\n  most: -1\n", "a.most: Input should be greater than or equal to 0"),
        ("a:\n  kind: slurm\n  most: 1\n  idle_exit_seconds: .nan\n", "a.idle_exit_seconds: Input should be"),
        ("a:\n  kind: command\n  most: 1\n  start: []\n", "a.start: Tuple should have at least 1 item"),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(errors.InvalidSetting) as raised:
        configuration.read(written(tmp_path, text))
    assert said in str(raised.value)
    assert str(raised.value).startswith("ANTENNA_WORKER_POOLS: ")
    assert "\n" not in str(raised.value)


def test_any_setting_makes_the_pool_that_there_is_without_a_file() -> None:
    """A worker that stays for two days was a ValidationError, with which `antenna up` did not start."""
    wanted = settings.Settings(worker_idle_exit=172_800.0, autoscale_max_workers=20_000)
    assert scale.pools_of(wanted)["here"].idle_exit_seconds == 172_800
    endless = settings.Settings(worker_idle_exit=math.inf)
    assert scale.pools_of(endless)["here"].idle_exit_seconds == configuration.LONGEST


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidSetting, match=r"none\.yaml cannot be read: No such file"):
        configuration.read(tmp_path / "none.yaml")
