"""Workers that a command starts: the real commands, and what is made of their answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pools.command import CommandLauncher
from antenna_orchestration.pools.configuration import CommandPool
from antenna_orchestration.pools.launcher import Asked, Seen, Undecided

LONG = 1e6


def pool(**changes: object) -> CommandPool:
    return CommandPool.model_validate({"kind": "command", "most": 1, "start": ["true"]} | changes)


def asked(**changes: object) -> Asked:
    values = {"start_id": "p-1", "handle": "i-7", "age": 1.0, "was_heard": False, "is_heard": False}
    return Asked(**(values | changes))  # type: ignore[arg-type]


async def test_the_command_gets_the_workers_arguments_and_names_what_it_started(tmp_path: Path) -> None:
    script = tmp_path / "start"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/given\necho\necho "  i-7 "\necho more\n')
    script.chmod(0o755)
    launcher = CommandLauncher(pool(start=[str(script), "--zone", "a"], pipelines=["null", "moth_binary"]))
    assert await launcher.start("p-1") == "i-7"
    given = (tmp_path / "given").read_text().split()
    assert given[:4] == ["--zone", "a", "--name", "p-1"]
    assert given[-2:] == ["--pipelines", "null,moth_binary"]
    assert await CommandLauncher(pool()).start("p-1") == "p-1"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/no/such/command"], "/no/such/command cannot be run: No such file or directory"),
        (["sh", "-c", "echo tried >&2; echo quota exceeded >&2; exit 3", "x"], "sh: quota exceeded"),
        (["sh", "-c", "exit 3", "x"], "sh: it ended with status 3"),
        (["sh", "-c", "exec sleep 600", "x"], "sh took longer than 0.2 s"),
    ],
    ids=["missing", "fails", "fails silently", "hangs"],
)
async def test_a_command_that_fails_says_why(command: list[str], said: str) -> None:
    with pytest.raises(errors.Unavailable) as raised:
        await CommandLauncher(pool(start=command, timeout_seconds=0.2)).start("p-1")
    assert str(raised.value) == said


async def test_what_a_command_leaves_behind_may_hold_its_output_open() -> None:
    """A worker in the background of a script: the start took as long as its time limit, and counted as failed."""
    command = ["sh", "-c", "echo i-7; sleep 30 & exit 0", "x"]
    assert await CommandLauncher(pool(start=command, timeout_seconds=20)).start("p-1") == "i-7"


async def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    command = ["sh", "-c", f"sh -c 'sleep 0.6; touch {tmp_path}/late' & echo $! > {tmp_path}/pid; wait", "x"]
    with pytest.raises(Undecided, match=r"sh took longer than 0\.3 s"):
        await CommandLauncher(pool(start=command, timeout_seconds=0.3)).start("p-1")
    child = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert not child.exists() or "Z" in (child / "stat").read_text().split()


async def test_endless_output_takes_no_memory() -> None:
    with pytest.raises(errors.Unavailable, match="yes took longer"):
        await CommandLauncher(pool(list=["yes"], timeout_seconds=0.3)).look([asked()])
    with pytest.raises(errors.Unavailable, match="head printed more than 16,777,216 bytes"):
        await CommandLauncher(pool(list=["head", "-c", "20000000", "/dev/zero"])).look([asked()])


async def test_errors_are_one_line_without_control_characters() -> None:
    command = ["sh", "-c", r"printf '\033]0;x\007\033[31m no\tquota \000\n' >&2; exit 1", "x"]
    with pytest.raises(errors.Unavailable) as raised:
        await CommandLauncher(pool(start=command)).start("p-1")
    assert str(raised.value).isprintable()
    assert "no quota" in str(raised.value)


async def test_commands_get_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTENNA_DATABASE_URL", "postgresql://antenna:s3kr1t@db/antenna")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    command = ["sh", "-c", f"env > {tmp_path}/given"]
    await CommandLauncher(pool(start=command, environment=["AWS_PROFILE"])).start("p-1")
    given = (tmp_path / "given").read_text()
    assert "s3kr1t" not in given
    assert "ANTENNA_" not in given
    assert "AWS_PROFILE=lab\n" in given
    assert "PATH=" in given


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (asked(), Seen("running", "its worker is to be heard")),
        (asked(is_heard=True, was_heard=True, age=LONG), Seen("running")),
        (asked(was_heard=True, age=LONG), Seen("gone")),
        (asked(age=LONG), Seen("gone", "its worker was not heard within 10 min")),
    ],
)
async def test_without_a_list_a_worker_is_there_while_it_is_heard(start: Asked, seen: Seen) -> None:
    assert await CommandLauncher(pool()).look([start]) == {"p-1": seen}


async def test_with_a_list_what_it_lacks_is_gone() -> None:
    launcher = CommandLauncher(pool(list=["printf", "i-7\n i-8 \n"]))
    starts = [asked(), asked(start_id="p-2", handle="i-8"), asked(start_id="p-3", handle="i-9")]
    assert {name: seen.state for name, seen in (await launcher.look(starts)).items()} == {
        "p-1": "running", "p-2": "running", "p-3": "running"
    }  # fmt: skip
    later = await launcher.look([asked(), asked(start_id="p-3", handle="i-9", age=LONG)])
    assert later["p-3"] == Seen("gone", "printf does not list it")


async def test_a_start_is_taken_back_by_what_it_is_called(tmp_path: Path) -> None:
    await CommandLauncher(pool(cancel=["sh", "-c", f'echo "$0" > {tmp_path}/canceled'])).cancel(asked())
    assert (tmp_path / "canceled").read_text() == "i-7\n"
    await CommandLauncher(pool()).cancel(asked())
