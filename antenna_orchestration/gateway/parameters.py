"""Path parameters, and the filters of job lists as existing clients send them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, Field

from antenna_orchestration import errors
from antenna_orchestration.contract import statuses

Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
"""The number of a job or project in a path."""

LARGEST_PAGE: Final = 1_000

_FALSE: Final = frozenset({"false", "0"})


def _flag(value: Any) -> Any:
    """As in the contract: a parameter without a value is true; only `false` and `0` are false."""
    return value.strip().lower() not in _FALSE if isinstance(value, str) else value


def _nothing(value: Any) -> Any:
    """An empty filter is the same as none."""
    return None if isinstance(value, str) and not value.strip() else value


JOB_TYPE: Final = "ml"
"""The contract's word for jobs that process images, the only kind here."""

_REFUSED: Final = {
    "source_image_collection": "there are no collections here; filter by deployment, project or created_by",
    "source_image_single": "jobs cannot be filtered by one image; filter by deployment, project or created_by",
}
"""Filters of the contract that jobs here have no answer to, and what to do instead."""

Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[Annotated[str, Field(max_length=10_000)] | None, BeforeValidator(_nothing)]
Count = Annotated[Annotated[int, Field(ge=1, le=LARGEST_PAGE)] | None, BeforeValidator(_nothing)]


class Filters(BaseModel):
    """The filters of a list of jobs; unknown parameters are ignored."""

    pipeline__slug__in: Text = None
    pipeline__slug: Text = None
    pipeline: Text = None
    status: Text = None
    ids_only: Flag = False
    incomplete_only: Flag = False
    dispatch_mode: Text = None
    limit: Count = None
    page_size: Count = None
    offset: Annotated[int, Field(ge=0, le=2**31)] = 0
    project: Text = None
    project_id: Text = None
    cutoff_hours: Annotated[int, Field(ge=0, le=10**6)] = 72
    search: Text = None
    deployment: Text = None
    created_by: Text = None
    job_type_key: Text = None
    source_image_collection: Text = None
    source_image_single: Text = None
    ordering: Text = None

    def check(self) -> None:
        """Raise `InvalidInput` for what no job here has: a status beyond the contract's, a collection, a single image.

        Also for text that PostgreSQL cannot store.
        """
        if self.status is not None:
            statuses.from_wire(self.status)
        for name, instead in _REFUSED.items():
            if getattr(self, name) is not None:
                raise errors.InvalidInput(f"{name}: {instead}")
        texts = (self.search, self.project_wanted, self.dispatch_mode, self.deployment, self.created_by)
        if any("\0" in (text or "") for text in (*texts, *(self.pipelines or ()))):
            raise errors.InvalidInput("a filter holds a zero byte")

    @property
    def pipelines(self) -> list[str] | None:
        """The slugs of the pipelines asked for, sorted; None for all pipelines."""
        named = [self.pipeline__slug__in, self.pipeline__slug, self.pipeline]
        if all(one is None for one in named):
            return None
        sets = [{slug.strip() for slug in one.split(",") if slug.strip()} for one in named if one is not None]
        return sorted(set.intersection(*sets))

    @property
    def has_no_job(self) -> bool:
        """Whether no job matches because it asks for jobs of another kind than those that process images."""
        return self.job_type_key not in (None, JOB_TYPE)

    @property
    def project_wanted(self) -> str | None:
        """The id or slug of the project asked for; None for all projects."""
        return self.project or self.project_id

    @property
    def page_limit(self) -> int | None:
        """The number of jobs per page that the caller asked for, if any."""
        return self.limit or self.page_size
