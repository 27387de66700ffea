"""`antenna doctor`: what is wrong with this installation, in one page."""

from __future__ import annotations

import os
import sys

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted


def doctor(json_: JsonOption = False) -> None:
    """Say what is wrong with this installation, and what to do.

    Looks at versions, settings, disks, rights, ports, servers, clocks, the GPU and what stands still; changes nothing,
    and works without a stack, too. The exit code is 1 when something is wrong.
    """
    import logging

    from antenna_orchestration.embedded.doctor import Level, examine

    # What libraries say about a server that does not answer is said here, once.
    logging.disable(logging.ERROR)
    try:
        examined = examine()
    finally:
        logging.disable(logging.NOTSET)
    if json_:
        findings = [{"what": one.what, "level": one.level, "text": one.text} for one in examined.findings]
        output.as_json({"well": examined.is_well, "findings": findings})
    else:
        rows = [(one.level, one.what, one.text) for one in examined.findings]
        output.show_table(("", "WHAT", "FINDING"), rows, wraps=("FINDING",))
        wrong = sum(one.level is Level.WRONG for one in examined.findings)
        warnings = sum(one.level is Level.WARNING for one in examined.findings)
        output.note(f"{counted(wrong, 'thing is', 'things are')} wrong, {counted(warnings, 'warning')}")
    code = 0 if examined.is_well else 1
    if examined.hangs:
        # The interpreter would wait for the thread that hangs.
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)
