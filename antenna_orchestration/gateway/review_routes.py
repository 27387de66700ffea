"""The route that imports what people say detections are."""

from __future__ import annotations

from fastapi import APIRouter

from antenna_orchestration.contract import models
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.gateway.dependencies import ProjectForSubmitter, SubmitterCaller, ThisGateway
from antenna_orchestration.gateway.routing import Route
from antenna_orchestration.processing import reviews

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])


@router.post("/projects/{project_id}/reviews/", status_code=201, summary="Import reviews")
async def import_reviews(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, new: models.NewReviews
) -> models.ReviewsAnswer:
    """All of a file, or nothing. The same file again adds nothing; of each detection the newest review counts."""
    services = gateway.http.services
    imported = await reviews.import_reviews(
        services,
        # Half a surrogate pair is refused as what it is, text that is not UTF-8.
        new.content.encode("utf-8", "surrogatepass"),
        name=new.name,
        project=project.slug,
        job=None if new.job is None else JobId(new.job),
        reviewer=new.reviewer,
        imported_by=caller.owner,
    )
    return models.ReviewsAnswer(reviews=imported.reviews, added=imported.added, notes=list(imported.notes))
