"""The route that imports what people say detections are. It calls the command line's verb."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Query

from antenna_orchestration.answers import reviews
from antenna_orchestration.contract import models
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.gateway.dependencies import ProjectForSubmitter, SubmitterCaller, ThisGateway
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])

_NAME: Final = "the file"

_BODY: Final = {
    "required": True,
    "content": {
        "text/csv": {"schema": {"type": "string", "description": "A file with columns detection_id and label."}},
        "application/json": {
            "schema": {
                "type": "array",
                "items": {"type": "object"},
                "description": "A Label Studio export, or objects whose keys are the columns of such a file.",
            }
        },
    },
}


@router.post("/projects/{project_id}/reviews/", summary="Import reviews", openapi_extra={"requestBody": _BODY})
async def import_reviews(
    gateway: ThisGateway,
    caller: SubmitterCaller,
    project: ProjectForSubmitter,
    said: Annotated[Any, Body()],
    *,
    job: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    reviewer: Annotated[str, Query(max_length=200)] = "",
) -> models.ReviewsImported:
    """A CSV file or a Label Studio export as it is: all of it, or nothing. The same again adds nothing.

    `job` and `reviewer` hold where it names none. Of each detection the newest review counts.
    """
    verb = reviews.import_file if isinstance(said, bytes) else reviews.import_objects
    done = await verb(
        gateway.http.services,
        said,
        name=_NAME,
        project=project.slug,
        job=None if job is None else JobId(job),
        reviewer=reviewer,
        imported_by=caller.owner,
    )
    return models.ReviewsImported(reviews=done.reviews, added=done.added, notes=list(done.notes))
