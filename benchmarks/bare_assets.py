"""Dagster's floor with the assets of ours: as many steps, assets, checks and edges between them, which do nothing.

What one of these runs costs more than one of `bare_definitions` is the price of showing each table as an asset.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from benchmarks.bare_definitions import definitions, jobs


def step(
    name: str, assets: Mapping[str, Sequence[str]], checks: Mapping[str, str] | None = None
) -> dg.AssetsDefinition:
    """A step that materializes assets, each with what it is made of, and their checks: asset by name."""
    checked = checks or {}

    @dg.multi_asset(
        name=name,
        partitions_def=jobs,
        specs=[dg.AssetSpec(asset, deps=list(deps)) for asset, deps in assets.items()],
        check_specs=[dg.AssetCheckSpec(check, asset=asset) for check, asset in checked.items()],
    )
    def nothing() -> Iterator[Any]:
        for asset in assets:
            yield dg.MaterializeResult(asset_key=asset)
        for check, asset in checked.items():
            yield dg.AssetCheckResult(passed=True, check_name=check, asset_key=asset)

    return nothing


TABLES = ("captures", "detections", "classifications", "failed_images")

defs = definitions(
    step("manifest", {"manifest": []}),
    step("image_tasks", {"image_tasks": ["manifest"]}),
    step(
        "results",
        {
            "captures": ["image_tasks"],
            "detections": ["image_tasks"],
            "classifications": ["detections"],
            "failed_images": ["image_tasks"],
        },
        {"every_image_accounted_for": "detections", "failure_rate": "failed_images"},
    ),
    step(
        "derived_tables",
        {
            "observations": ["captures", "detections", "classifications"],
            "tracks": ["observations"],
            "nights": ["captures", "detections"],
            "counts": ["observations"],
            "photographs": ["captures", "failed_images"],
        },
    ),
    step("job_report", {"job_report": TABLES}),
)
