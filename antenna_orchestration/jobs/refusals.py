"""How a run refuses what a person typed into the launchpad: as the command line does, with one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.domain import terminal


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Let the run fail with the error's message, without a traceback; trying again would not help."""
    try:
        yield
    except errors.AntennaError as error:
        raise dg.Failure(description=terminal.line(error), allow_retries=False) from None


def check_range(name: str, value: float | None, least: float, most: float) -> None:
    """Raise `InvalidInput` for a value out of its range, which includes both ends; None stands for the default."""
    # Not `value < least or value > most`, which lets NaN pass.
    if value is not None and not least <= value <= most:
        raise errors.InvalidInput(f"{name} is {least:,} to {most:,}, not {value:,}")


def check_choice(name: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Raise `InvalidInput` for a word that is none of the choices; None stands for the default."""
    if value is not None and value not in choices:
        raise errors.InvalidInput(f"{name} is {' or '.join(choices)}, not {value!r}")
