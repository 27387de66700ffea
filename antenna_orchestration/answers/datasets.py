"""The description of a project as a data set: kept, shown again, and used by exports for which none is given.

It is kept as it was written, with its comments, so that what is shown is a file that can be given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.texts import storable
from antenna_orchestration.exports import dataset
from antenna_orchestration.exports.dataset import Dataset
from antenna_orchestration.processing.services import Services

MOST_BYTES = dataset.MOST_BYTES
"""Of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What people say of a project."""

    text: str
    dataset: Dataset
    created_by: str
    created_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """As programs read it."""
        return {
            "dataset": self.dataset.model_dump(mode="json", exclude_none=True),
            "text": self.text,
            "created_by": self.created_by,
            "created_at": self.created_at,
        }


async def of_project(services: Services, project: str) -> Known | None:
    """The description of a project; None if there is none.

    Raises `NotFound`, and `InvalidTable` if this version no longer understands it.
    """
    kept = await services.catalog.projects.dataset(project)
    if kept is None:
        return None
    said = dataset.read(kept.text.encode(), f"the description of project {project}")
    return Known(text=kept.text, dataset=said, created_by=kept.created_by, created_at=kept.created_at)


async def keep(services: Services, project: str, content: bytes, file: str, *, by: str = "") -> Dataset:
    """Keep the description in a YAML file, in place of an earlier one. Idempotent.

    Raises `InvalidTable`, which lists what is wrong, and `NotFound` for a project that does not exist.
    """
    ids.slug(project, "project")
    name = storable(file)
    said = dataset.read(content, name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        # YAML may be UTF-16.
        raise errors.InvalidTable(name, ["not UTF-8 text; save it as UTF-8"]) from None
    await services.catalog.projects.put_dataset(project, text, by=storable(by))
    return said


async def forget(services: Services, project: str) -> None:
    """Take the description of a project back. Idempotent. Raises `NotFound`."""
    await services.catalog.projects.put_dataset(project, None)


def summary(project: str, said: Dataset) -> str:
    """In one line, for people."""
    return f"project {project} is described as {said.title or 'a data set without a title'}"
