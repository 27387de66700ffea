"""The pipelines of a selection: results of different ones are never added up."""

from __future__ import annotations

from antenna_orchestration import errors
from antenna_orchestration.domain.texts import listed
from antenna_orchestration.exports.material import Material


def require_one(material: Material) -> None:
    """Raise `InvalidInput` for results of several pipelines: the same photographs would be in an export twice."""
    found = [row["pipeline"] for row in material.rows("SELECT DISTINCT pipeline FROM photographs ORDER BY pipeline")]
    if len(found) > 1:
        raise errors.InvalidInput(
            f"{material.selection.name} has results of {len(found)} pipelines, which are never added up: "
            f"choose one with --pipeline, {listed(found)}"
        )
