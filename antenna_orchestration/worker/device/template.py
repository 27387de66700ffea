"""A process that has imported PyTorch, and from which device processes of own pipelines are forked on a CPU.

To import PyTorch takes seconds of CPU time, which each process of an own pipeline would take from the pipelines that
work, and again after each crash. This one takes them once. It never imports a pipeline's code, so what it forks reads
that anew.

The worker sends `Fork` with a socket, the device process's own; the answers are `Forked` and, later, `Ended`. When the
worker is gone this process ends, and those that it forked end with it. Once anything was installed that was not when it
began it refuses, and stays only as long as those that it forked; the worker starts another.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import msgspec

from antenna_orchestration import kernel
from antenna_orchestration.worker.device import process
from antenna_orchestration.worker.device.template_protocol import (
    LARGEST,
    Ended,
    Forked,
    FromTemplate,
    NotForked,
    Refused,
    Up,
    to_template,
)


def serve(control: socket.socket) -> None:
    """Fork a device process for each request, and tell how each ended, until the worker is gone."""
    before = _installed()
    import torch  # noqa: F401

    if (threads := kernel.threads()) > 1:
        # A fork has only the thread that forked, and waits for ever for a lock that another one held.
        sys.exit(f"the import of PyTorch left {threads} threads")
    kernel.keep_what_is_imported()
    woken, wakes = os.pipe()
    for end in (woken, wakes):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes)
    _tell(control, Up())
    forks = 0
    refused = False
    while forks or not refused:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            with suppress(BlockingIOError):
                os.read(woken, 4096)
            forks -= _tell_of_the_ended(control)
        if control.fileno() in ready:
            request, descriptors, _, _ = socket.recv_fds(control, LARGEST, 1)
            if not request:
                return
            number = to_template.decode(request).number
            [channel] = descriptors
            if refused := _installed() != before:
                answer: FromTemplate = Refused(number)
            else:
                answer = _fork(number, control, woken, wakes, channel)
                forks += isinstance(answer, Forked)
            os.close(channel)
            _tell(control, answer)


def _installed() -> set[str]:
    """The packages on the import path, each with its version: the folders of their metadata."""
    return {found.name for entry in sys.path for found in Path(entry).glob("*.dist-info")}


def _tell(control: socket.socket, message: FromTemplate) -> None:
    control.send(msgspec.msgpack.encode(message))


def _tell_of_the_ended(control: socket.socket) -> int:
    """How many have ended since the last call."""
    ended = 0
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            _tell(control, Ended(pid, os.waitstatus_to_exitcode(status)))
            ended += 1
    return ended


def _fork(number: int, control: socket.socket, woken: int, wakes: int, channel: int) -> Forked | NotForked:
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        # Those that were forked before go on.
        return NotForked(number, error.errno or errno.EAGAIN)
    if pid == 0:
        _be_a_device_process(control, woken, wakes, channel, parent)
    return Forked(number, pid)


def _be_a_device_process(control: socket.socket, woken: int, wakes: int, channel: int, parent: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        os.close(woken)
        os.close(wakes)
        process.serve(socket.socket(fileno=channel), parent)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def main() -> None:
    """Serve the worker. Arguments: the control socket's file descriptor, the worker's process id."""
    control = socket.socket(fileno=int(sys.argv[1]))
    kernel.die_with_parent(int(sys.argv[2]))
    # Ctrl-C and a batch system's SIGTERM reach the whole process group; the worker decides when this process ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(ConnectionError):
        serve(control)
    # Those that it forked are signalled by the kernel.
    os._exit(0)


if __name__ == "__main__":
    main()
