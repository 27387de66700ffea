"""The asset `jobs_health`: what the health check found and repaired, with its history."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from antenna_orchestration.assets import metadata
from antenna_orchestration.domain import markdown, terminal
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.resources import deleted_jobs
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.upkeep import health


class HealthConfig(dg.Config):
    """Whether to repair what is found."""

    dry_run: bool = Field(default=False, description="Look only: say what would be repaired, and change nothing.")


@dg.asset(
    group_name="operations",
    check_specs=[
        dg.AssetCheckSpec(name, asset="jobs_health", description=text) for name, text in health.CHECKS.items()
    ],
    description="What the health checks looked at, repaired, and could not repair, as numbers over time: of each "
    "check, how many things were `checked`, `fixed`, and are `unfixable`, which needs a person. The tab *Checks* says "
    "of each what it looks at. `antenna health` does the same in a shell.",
)
def jobs_health(context: dg.AssetExecutionContext, config: HealthConfig, stores: Stores) -> Iterator[Any]:
    """Run the health check once."""
    report = stores.call(lambda services: health.check(services, dry_run=config.dry_run))
    if not config.dry_run:
        forgotten = stores.call(lambda services: deleted_jobs.forget_open(services, context.instance))
        if forgotten:
            context.log.info(f"deleted what Dagster held of {counted(len(forgotten), 'deleted job')}")
    numbers: dict[str, Any] = {}
    for result in report.results:
        numbers |= {f"{result.name}/checked": result.checked, f"{result.name}/fixed": result.fixed}
        numbers[f"{result.name}/unfixable"] = result.unfixable
        for detail in result.details[:20]:
            context.log.info(terminal.line(f"{result.name}: {detail}"))
    metadata.attach(context, numbers)
    yield dg.MaterializeResult(asset_key="jobs_health")
    for result in report.results:
        yield dg.AssetCheckResult(
            check_name=result.name,
            asset_key="jobs_health",
            passed=not result.unfixable,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata=check_metadata(result),
        )


def check_metadata(result: health.CheckResult) -> dict[str, Any]:
    """What Dagster shows of one check."""
    return {
        "checked": result.checked,
        "fixed": result.fixed,
        "unfixable": result.unfixable,
        "details": dg.MetadataValue.md(
            "\n".join(f"- {markdown.escape(detail)}" for detail in result.details[:50]) or "nothing"
        ),
    }
