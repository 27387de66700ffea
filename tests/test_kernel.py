"""The names of processes, and the end of tasks."""

import asyncio
import os
import subprocess
import sys

import pytest

from antenna_orchestration import kernel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are named by what Linux says of them")

SAY_WHO = "from antenna_orchestration import kernel; print(kernel.this_process(), flush=True); input()"


def test_a_process_is_gone_when_it_has_ended_even_as_a_zombie() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAY_WHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        name = child.stdout.readline().strip()
        assert int(name.split()[0]) == child.pid
        assert kernel.is_gone(name) is False
        child.kill()
        # Dead and not waited for yet: its entry in the process table is still there.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert kernel.is_gone(name) is True
    assert kernel.is_gone(name) is True


def test_a_process_id_that_was_given_again_names_another_process() -> None:
    pid, _, namespace, boot = kernel.this_process().split()
    assert kernel.is_gone(f"{pid} 1 {namespace} {boot}") is True


@pytest.mark.parametrize(
    "change",
    [
        lambda pid, since, namespace, boot: f"{pid} {since} {namespace} another-start-of-the-machine",
        lambda pid, since, namespace, boot: f"{pid} {since} pid:[1] {boot}",
        lambda *_: "",
        lambda *_: "four words not numbers",
    ],
)
def test_what_cannot_be_looked_at_is_not_called_gone(change) -> None:  # type: ignore[no-untyped-def]
    assert kernel.is_gone(change(*kernel.this_process().split())) is None


async def test_a_task_that_swallowed_a_cancellation_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was asked to leave never did: its reporter went on, when the server's answer came with the end."""
    monkeypatch.setattr(kernel, "CANCEL_AGAIN", 0.01)
    told, begun = 0, asyncio.Event()

    async def stubborn() -> None:
        nonlocal told
        begun.set()
        while told < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told += 1

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.Event().wait())]
    await begun.wait()
    await kernel.end(*tasks)
    assert told == 3 and all(task.done() for task in tasks)
    await kernel.end()
