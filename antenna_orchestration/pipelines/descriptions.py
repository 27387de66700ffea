"""Asks a process of its own for descriptions, so that no long-lived process imports other people's code."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from antenna_orchestration.pipelines import describe
from antenna_orchestration.pipelines.describe import Answer
from antenna_orchestration.pipelines.sources import Broken, Source

PATIENCE: Final = 60.0
"""Seconds that describing the sources of one folder may take. Descriptions import nothing slow, they are told."""

_decoder = msgspec.json.Decoder(Answer)


def of(found: Sequence[Source], *, patience: float = PATIENCE) -> Iterator[tuple[Source, Answer]]:
    """What each source defines, in their order. YAML files are read here, all others elsewhere, folder by folder."""
    for _, group in itertools.groupby(
        found, key=lambda source: (source.is_declared, source.kind, source.folder, source.import_path)
    ):
        some = list(group)
        if some[0].is_declared:
            yield from ((source, describe.answer(source)) for source in some)
            continue
        while some:
            answers, cause = _ask(some, patience)
            yield from zip(some, answers, strict=False)
            some = some[len(answers) :]
            if some:
                # The first that was not answered for is the cause; the others are asked for again.
                yield some[0], Answer([], Broken(origin=str(some[0]), reason=cause))
                some = some[1:]


def _ask(some: Sequence[Source], patience: float) -> tuple[list[Answer], str]:
    """The answers for the first of these, and why there is none for the next."""
    # Files, not pipes: a process that outlives its parent may hold a pipe open for ever.
    with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "antenna_orchestration.pipelines.describe"],
            stdin=subprocess.PIPE,
            stdout=answers,
            stderr=said,
            env=_environment(some[0].import_path),
            start_new_session=True,
        )
        try:
            process.communicate(msgspec.json.encode(some), timeout=patience)
            cause = _cause(process.returncode, said)
        except subprocess.TimeoutExpired:
            cause = f"reading it takes longer than {patience:g} s; a file must import nothing slow and wait for nothing"
        finally:
            # And what it started.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answers.seek(0)
        whole = [line for line in answers if line.endswith(b"\n")]
    return [_decoder.decode(line) for line in whole[: len(some)]], cause


def _environment(first: Sequence[str]) -> dict[str, str]:
    """This process's environment, with its import path after these; nothing is written beside other people's files."""
    path = os.pathsep.join(str(Path(entry or ".").absolute()) for entry in (*first, *sys.path))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _cause(status: int, said: IO[bytes]) -> str:
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
    return f"reading it ends the process that reads it: {how}" + (f" ({lines[-1][:200]})" if lines else "")
