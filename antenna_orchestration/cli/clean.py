"""`antenna clean`: delete a stack's data, after asking."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.embedded.deleting import Plan
    from antenna_orchestration.embedded.home import Home

_WORD = "delete"
"""What a person types to go on: nobody types it by habit, as they do y."""

_WORTH_A_LINE = 50_000
"""Bytes from which on a part is listed."""


def clean(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; without a terminal, this is needed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing, only list what there is.")] = False,
) -> None:
    """Delete this stack's data: all jobs and their results.

    Says what there is and how large it is, and asks. The stack must be stopped. Photographs that were submitted, lakes
    and servers elsewhere, and downloaded weights stay.
    """
    from antenna_orchestration import errors
    from antenna_orchestration.embedded import deleting, environment
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.settings import find_home

    home = Home(find_home())
    with deleting.held(home):
        planned = deleting.plan(home)
        _show(home, planned, environment.lake_elsewhere(home))
        if dry_run:
            return
        if not yes:
            if not sys.stdin.isatty():
                raise errors.InvalidInput(
                    "nothing was deleted: nobody is there to ask; `antenna clean --yes`, or `make clean YES=1`, "
                    f"deletes {home.path} without asking"
                )
            if typer.prompt(f"Type {_WORD} to delete this for ever", default="", show_default=False, err=True) != _WORD:
                raise errors.InvalidInput("nothing was deleted")
        deleting.delete(home, planned)
    output.line(f"deleted {counted(len(planned.parts), 'part')} of {home.path}, {output.size(planned.bytes)}")


def _show(home: Home, planned: Plan, lake_elsewhere: str) -> None:
    output.note(f"in {home.path}:")
    rows = [
        (
            output.size(part.bytes),
            part.path.name,
            f"only the link; {part.leads_to} stays" if part.leads_to else part.what,
        )
        for part in planned.parts
        if part.bytes >= _WORTH_A_LINE or part.leads_to
    ]
    output.show_table(("SIZE", "NAME", "WHAT"), rows, numbers=("SIZE",), wraps=("WHAT",), to_stderr=True)
    for path in planned.kept:
        output.note(f"stays, because no stack made it: {path}")
    if lake_elsewhere:
        output.note(f"stays, because it lies elsewhere: the lake in {lake_elsewhere}")
