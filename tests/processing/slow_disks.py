"""A disk below a folder that answers late, or not at all, for the processes that are started with its environment.

A library of C, compiled here and loaded before libc, lets each call that names a file of the folder wait; how long lies
in a file that all share.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile long long *delay;
static const char *folder;

__attribute__((constructor)) static void start(void) {
    folder = getenv("SLOW_FOLDER");
    const char *name = getenv("SLOW_DELAY");
    int file = name ? open(name, O_RDONLY) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) delay = page;
}
static void answer(const char *path) {
    if (!delay || !folder || !path || strncmp(path, folder, strlen(folder))) return;
    while (*delay < 0) usleep(10000);
    if (*delay) usleep(*delay);
}
#define TWO(name) int name(const char *path, void *buffer) { \
    static int (*real)(const char *, void *); if (!real) real = dlsym(RTLD_NEXT, #name); \
    answer(path); return real(path, buffer); }
#define THREE(name) int name(int version, const char *path, void *buffer) { \
    static int (*real)(int, const char *, void *); if (!real) real = dlsym(RTLD_NEXT, #name); \
    answer(path); return real(version, path, buffer); }
TWO(stat) TWO(stat64) TWO(lstat) TWO(lstat64)
THREE(__xstat) THREE(__xstat64) THREE(__lxstat) THREE(__lxstat64)
"""


@dataclass(frozen=True)
class SlowDisk:
    """Sets how slow. Made by `slow_disk`."""

    environment: Mapping[str, str]
    _file: Path

    def answer_after(self, milliseconds: float) -> None:
        """From now on each question about a file takes so long."""
        self._set(int(milliseconds * 1000))

    def hang(self) -> None:
        """Answer nothing until `answer_after`."""
        self._set(-1)

    def _set(self, microseconds: int) -> None:
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", microseconds))


@contextlib.contextmanager
def slow_disk(folder: Path) -> Iterator[SlowDisk]:
    """A disk that answers at once for now; the test is skipped without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a disk slow with")
    # LD_PRELOAD is a list separated by spaces.
    with tempfile.TemporaryDirectory() as home:
        source, library, delay = (Path(home) / f"disk.{ending}" for ending in ("c", "so", "delay"))
        source.write_text(_SOURCE)
        # The header's own declarations of these functions are not included.
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        delay.write_bytes(bytes(8))
        variables = {"LD_PRELOAD": str(library), "SLOW_FOLDER": f"{folder}/", "SLOW_DELAY": str(delay)}
        yield SlowDisk(variables, delay)
