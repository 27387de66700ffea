"""The clock on the wall of chosen processes, to be moved while they run.

A library of thirty lines of C, compiled here and loaded before libc, adds an offset to CLOCK_REALTIME; the offset lies
in a file that all share. The monotonic clock is left alone, as it is by whoever sets a real clock.

NATS is a Go program, which asks the kernel and not libc: its clock stays, as if it ran on another host.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    const char *name = getenv("CHAOS_CLOCK");
    int file = name ? open(name, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) offset = page;
}
int clock_gettime(clockid_t which, struct timespec *now) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    if (offset && which == CLOCK_REALTIME) now->tv_sec += *offset;
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return result;
}
time_t time(time_t *where) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where) *where = exact.tv_sec;
    return exact.tv_sec;
}
"""


_FOR_BUNDLED_SERVERS = """
import sys

if "antenna_orchestration.embedded.supervisor" in sys.orig_argv:
    import os

    from antenna_orchestration.embedded import processes

    plain = processes.plain_environment
    clock = {name: os.environ[name] for name in ("LD_PRELOAD", "CHAOS_CLOCK")}
    processes.plain_environment = lambda: {**plain(), **clock}
"""
"""Python imports it at each start. A supervisor gives the servers that it bundles little of its environment."""


@dataclass(frozen=True)
class Jumper:
    """Moves the clock. Made by `jumping`."""

    environment: Mapping[str, str]
    _file: Path

    @property
    def environment_of_a_stack(self) -> Mapping[str, str]:
        """For `antenna up`: all of its processes have this clock, PostgreSQL and Redis among them."""
        path = [str(self._file.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**self.environment, "PYTHONPATH": os.pathsep.join(path)}

    @property
    def seconds(self) -> int:
        """By how much the clock is off."""
        (seconds,) = struct.unpack("q", self._file.read_bytes())
        return int(seconds)

    def jump(self, seconds: int) -> None:
        """From now on the clock is off by so many seconds."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))


@contextlib.contextmanager
def jumping() -> Iterator[Jumper]:
    """A clock for the processes that are started with its environment; the test is skipped without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a clock with")
    # Not in the stack's folder: LD_PRELOAD is a list separated by spaces.
    with tempfile.TemporaryDirectory() as folder:
        # PostgreSQL has an account of its own when root runs the tests.
        Path(folder).chmod(0o755)
        source, library, offset = (Path(folder) / f"clock.{ending}" for ending in ("c", "so", "offset"))
        source.write_text(_SOURCE)
        (Path(folder) / "sitecustomize.py").write_text(_FOR_BUNDLED_SERVERS)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        offset.write_bytes(bytes(8))
        jumper = Jumper({"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(offset)}, offset)
        jumper.jump(7200)
        show = [sys.executable, "-c", "import time; print(time.time())"]
        shown = subprocess.run(show, env={**os.environ, **jumper.environment}, capture_output=True, check=True).stdout
        assert abs(float(shown) - time.time() - 7200) < 60, "the clock does not jump"
        jumper.jump(0)
        yield jumper
