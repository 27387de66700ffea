"""`antenna env`: join the running stack from another shell."""

from __future__ import annotations

from antenna_orchestration import errors
from antenna_orchestration.cli import output


def env() -> None:
    """Print the variables that join a shell to this stack.

    To join, run: eval "$(antenna env)". The output contains passwords.
    """
    from antenna_orchestration.embedded import environment, stack
    from antenna_orchestration.embedded.home import Home
    from antenna_orchestration.settings import find_home

    home = Home(find_home())
    lines = environment.export_lines(home)
    if not lines:
        raise errors.NotFound(f"there is no stack in {home.path}: start one with `antenna up`")
    for line in lines:
        output.verbatim(line)
    if stack.status(home.path) is None:
        output.note(f"# no stack runs in {home.path} now: start it with `antenna up`")
