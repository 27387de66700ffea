"""Reads the descriptions of own pipelines, in a process that exists for nothing else.

Importing somebody else's file may end its process, hang, print, or load a gigabyte; here that costs nobody anything.
`descriptions.py` starts this process with the sources on its standard input, and reads one answer a line, in their
order. If it ends before the last answer, the first source without one is the cause.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.pipelines import sources
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.pipelines.sources import Broken, Source

LONGEST_TRACE = 4_000
"""Characters of a traceback that are kept: its end says most."""


class Answer(msgspec.Struct, frozen=True):
    """What a source defines, or why nothing could be read of it."""

    # Those of Python code without their recipes, which only device processes need.
    specs: list[PipelineSpec]
    broken: Broken | None = None


def answer(source: Source) -> Answer:
    """Import the source and describe what it defines, or what is wrong with it."""
    try:
        specs = sources.import_specs(source)
        return Answer(specs if source.is_declared else [replace(spec, recipe=None) for spec in specs])
    # SystemExit, too: `sys.exit` at the top of a file is a fault of that file.
    except BaseException as error:
        return Answer([], broken_by(source, error))


def broken_by(source: Source, error: BaseException) -> Broken:
    """What a failed import says of its source."""
    is_ours = isinstance(error, errors.AntennaError)
    # Its text has the file and the line, which are told apart from it.
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    # And the errors of YAML files begin with the file.
    said = " ".join(text.removeprefix(f"{source.name}: ").split())
    reason = said if is_ours else f"{type(error).__name__}: {said}" if said else type(error).__name__
    trace = "" if is_ours else "".join(traceback.format_exception(error))[-LONGEST_TRACE:]
    return Broken(origin=str(source), reason=reason, line=_line(source, error), trace=trace)


def _line(source: Source, error: BaseException) -> int | None:
    """The last line of the source's own file that the error passed."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == Path(source.name):
        return error.lineno
    passed = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == source.name]
    return passed[-1] if passed else None


def main() -> None:
    """Answer for each source on the standard input."""
    # What a file prints must not be taken for an answer.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        encoder = msgspec.json.Encoder()
        for source in msgspec.json.decode(sys.stdin.buffer.read(), type=list[Source]):
            given = answer(source)
            try:
                line = encoder.encode(given)
            except (TypeError, ValueError, OverflowError) as error:
                line = encoder.encode(Answer([], Broken(origin=str(source), reason=f"its description: {error}")))
            answers.write(line + b"\n")
            answers.flush()
    # Without waiting for threads that a file may have started.
    os._exit(0)


if __name__ == "__main__":
    main()
