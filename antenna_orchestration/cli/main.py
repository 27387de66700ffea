"""The root of the `antenna` command: its commands, and how they report errors.

Starting must be quick, so `index` imports the module of the command that is run, and no other. That module imports what
it works with when the command runs, for the sake of its `--help`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer

from antenna_orchestration import __version__, errors
from antenna_orchestration.cli import index, output
from antenna_orchestration.domain import proxies, terminal

DEBUG_LEVEL = "DEBUG"

EXIT_INTERRUPTED = 130
"""What shells report for a process that Ctrl-C ended."""


app = typer.Typer(
    cls=index.Root,
    help="Machine learning over camera-trap photographs: submit images, watch jobs, run workers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"antenna {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@functools.cache
def commands() -> Callable[..., Any]:
    """The tree of all commands."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command line and exit: 0, or the error's exit code after one line on stderr."""
    output.open_streams()
    os.environ.update(proxies.sparing_loopback(os.environ))
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    _configure_logging()
    try:
        outcome = commands()(args=arguments, prog_name="antenna", standalone_mode=False)
        sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # `antenna jobs list | head`: the reader has left, and the interpreter's last flush would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _explain(error)
    return outcome if isinstance(outcome, int) else 0


def _explain(error: Exception) -> int:
    """Print in one line what went wrong, and what is listed in a line each; returns the exit code."""
    # Of a file, and of an export that lacks something.
    listed = getattr(error, "faults", None) or getattr(error, "missing", None) or []
    if isinstance(error, errors.InvalidInput) and len(listed) > 1:
        code = _fail(str(getattr(error, "summary", error)), error, error.exit_code)
        for fault in listed:
            output.note(f"  {' '.join(fault.split())}")
        return code
    if isinstance(error, errors.AntennaError):
        return _fail(str(error), error, error.exit_code)
    if (message := getattr(error, "format_message", None)) is not None:
        return _fail_usage(error, message())
    return _fail(f"unexpected {type(error).__name__}: {error} (ANTENNA_LOG_LEVEL=DEBUG shows where)", error, 1)


def _fail_usage(error: Exception, message: str) -> int:
    """Report a command line that does not parse; returns the exit code that the parser's error carries."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{message}\n")
    else:
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        _fail(f"{message.rstrip('.')}{hint}", error, 2)
    return int(getattr(error, "exit_code", 2))


def _fail(message: str, error: BaseException, code: int) -> int:
    if _is_debugging():
        trace = terminal.lines("".join(traceback.format_exception(error)))
        with contextlib.suppress(OSError):
            sys.stderr.write(trace)
    output.note(f"antenna: error: {' '.join(message.split())}")
    return code


def _is_debugging() -> bool:
    # Not from the settings: they may be what is wrong.
    return os.environ.get("ANTENNA_LOG_LEVEL", "").upper() == DEBUG_LEVEL


def _configure_logging() -> None:
    """Warnings go to stderr as lines; commands that run long say more."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(output.LogLines("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if _is_debugging() else logging.WARNING, handlers=[handler])


if __name__ == "__main__":
    main()
