"""Workers that a command starts: the real commands, and what is made of their answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.pools.command import CommandLauncher
from antenna_orchestration.pools.configuration import CommandPool
from antenna_orchestration.pools.launcher import Asked, Seen

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
        "p-1": "running", "p-2": "running", "p-3": "gone"
    }  # fmt: skip


async def test_a_start_is_taken_back_by_what_it_is_called(tmp_path: Path) -> None:
    await CommandLauncher(pool(cancel=["sh", "-c", f'echo "$0" > {tmp_path}/canceled'])).cancel(asked())
    assert (tmp_path / "canceled").read_text() == "i-7\n"
    await CommandLauncher(pool()).cancel(asked())
