"""`antenna serve`: run pipelines as a processing service, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from antenna_orchestration.cli import output

SHORTEST_TOKEN: Final = 16


def serve(
    *,
    pipelines: Annotated[
        str, typer.Option(metavar="A,B", help="Pipelines to serve: slugs, separated by commas.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 2000,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="ANTENNA_DEVICE")
    ] = None,
    queue: Annotated[
        int, typer.Option(metavar="N", min=1, help="Images in hand at most; more are refused with 503.")
    ] = 1000,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File with a token that clients have to send.", show_default="none"),
    ] = None,
) -> None:
    """Process images that others post over HTTP.

    Answers GET /info, /livez and /readyz, and POST /process, as platforms expect of a processing service. Needs no
    stack: neither `antenna up` nor a database. After Ctrl-C or SIGTERM the command finishes the requests that it has;
    after a second one it stops at once.
    """
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.serve import main
    from antenna_orchestration.serve.options import ServeOptions

    settings = settings_module.get()
    output.show_own_logs(settings.log_level)
    options = ServeOptions(
        pipelines=tuple(dict.fromkeys(part.strip() for part in pipelines.split(",") if part.strip())),
        host=host,
        port=port,
        device=None if device is None else settings_module.load(device=device).device,
        queue=queue,
        token="" if token_file is None else _token(token_file),
    )
    main.run(
        settings, options, on_listening=lambda url: output.outcome(f"serving {', '.join(options.pipelines)} on {url}")
    )


def _token(file: Path) -> str:
    """The token in a file. Raises `InvalidInput`."""
    from antenna_orchestration import errors

    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidInput(f"--token-file {file} cannot be read: {error}") from None
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise errors.InvalidInput(
            f"--token-file {file} has to hold one word of at least {SHORTEST_TOKEN} characters, such as `openssl rand "
            "-hex 32` prints"
        )
    return token
