"""`antenna health`: one round of the checks that also run on a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_services
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.upkeep.health import HealthReport


def health(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Repair nothing, only report what would be repaired.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Check jobs, queue and workers, and repair what is broken.

    The exit code is 1 when a problem remains that a person must solve.
    """
    from antenna_orchestration.upkeep import health as verb

    async def run(services: Services) -> HealthReport:
        return await verb.check(services, dry_run=dry_run)

    report = with_services(run)
    if json_:
        output.as_json(
            {
                "healthy": report.is_healthy,
                "dry_run": dry_run,
                "checks": [
                    {
                        "name": result.name,
                        "checked": result.checked,
                        "fixed": result.fixed,
                        "unfixable": result.unfixable,
                        "details": result.details,
                    }
                    for result in report.results
                ],
            }
        )
    else:
        rows = [
            (result.name, result.checked, result.fixed, result.unfixable, list(result.details))
            for result in report.results
        ]
        columns = ("CHECK", "CHECKED", "FIXABLE" if dry_run else "FIXED", "UNFIXABLE", "")
        output.show_table(columns, rows, numbers=columns[1:4], wraps=("",))
    raise typer.Exit(0 if report.is_healthy else 1)
