"""The pipelines of a selection: results of different ones are never added up."""

from __future__ import annotations

from antenna_orchestration import errors
from antenna_orchestration.exports.material import Material


def of(material: Material) -> list[str]:
    """Their slugs, sorted."""
    return [row["pipeline"] for row in material.rows("SELECT DISTINCT pipeline FROM photographs ORDER BY pipeline")]


def require_one(material: Material, format: str) -> None:
    """Raise `InvalidInput` if there are several: the same photographs would be in a file twice."""
    found = of(material)
    if len(found) > 1:
        raise errors.InvalidInput(
            f"{material.selection.name} has results of {len(found)} pipelines, and {format} is of one: choose it with "
            f"--pipeline, one of {', '.join(found)}"
        )
