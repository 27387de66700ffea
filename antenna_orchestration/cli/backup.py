"""`antenna backup` and `antenna restore`: copy catalog and lake, and fill an empty stack from the copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.upkeep.backup import Contents

_WHERE = "A folder, or s3://bucket/prefix."


def backup(
    target: Annotated[str, typer.Argument(metavar="DIR", help=f"{_WHERE} New or empty.", show_default=False)],
    json_: JsonOption = False,
) -> None:
    """Copy catalog and lake to DIR; jobs continue meanwhile.

    The backup holds neither queued tasks, which are created again from the catalog, nor Dagster's run history.
    """
    from antenna_orchestration.upkeep import backup as verb

    contents = with_services(lambda services: verb.backup(services, target))
    _print(contents, "backed up to", as_json=json_)


def restore(
    source: Annotated[str, typer.Argument(metavar="DIR", help=f"{_WHERE} Made by `antenna backup`.")],
    json_: JsonOption = False,
) -> None:
    """Fill an empty stack from a backup.

    The stack must be running and must not hold jobs. Finished jobs are shown as before; unfinished ones continue.
    """
    from antenna_orchestration.upkeep import backup as verb

    contents = with_services(lambda services: verb.restore(services, source))
    _print(contents, "restored from", as_json=json_)


def _print(contents: Contents, what: str, *, as_json: bool) -> None:
    if as_json:
        output.as_json(
            {
                "uri": contents.uri,
                "created_at": contents.created_at.isoformat(),
                "catalog_version": contents.catalog_version,
                "jobs": contents.jobs,
                "files": contents.files,
                "bytes": contents.bytes,
            }
        )
        return
    megabytes = contents.bytes / 2**20
    output.line(
        f"{what} {contents.uri}: {counted(contents.jobs, 'job')}, {counted(contents.files, 'file')} of the lake, "
        f"{megabytes:.1f} MB"
    )
