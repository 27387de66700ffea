"""Routes that show a project's post-processing recipe, and set another. They call the command line's verbs."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body

from antenna_orchestration import errors
from antenna_orchestration.answers import recipes
from antenna_orchestration.contract import models
from antenna_orchestration.ecology.recipes import Recipe
from antenna_orchestration.gateway.dependencies import (
    ProjectForSubmitter,
    ProjectForViewer,
    SubmitterCaller,
    ThisGateway,
)
from antenna_orchestration.gateway.routing import Route

router = APIRouter(prefix="/api/v2", route_class=Route, tags=["projects"])

_BODY: Final = {
    "required": True,
    "content": {"application/yaml": {"schema": {"type": "string", "description": "A recipe as it is in its file."}}},
}


@router.get("/projects/{project_id}/recipe/", summary="Show the recipe")
async def show_recipe(gateway: ThisGateway, project: ProjectForViewer) -> models.RecipeItem:
    """The recipe that holds for the project: its own, else the built-in one."""
    return _item(await recipes.of_project(gateway.http.services, project.slug))


@router.post("/projects/{project_id}/recipe/", summary="Set the recipe", openapi_extra={"requestBody": _BODY})
async def set_recipe(
    gateway: ThisGateway, caller: SubmitterCaller, project: ProjectForSubmitter, said: Annotated[Any, Body()]
) -> models.RecipeItem:
    """Let a recipe hold for the project: a YAML file as it is. Tables that are derived from then on use it."""
    if not isinstance(said, bytes):
        raise errors.InvalidInput("the body is a recipe in YAML (Content-Type: application/yaml), and no JSON")
    recipe = recipes.read_bytes(said, "the recipe")
    await recipes.use(gateway.http.services, project.slug, recipe, by=caller.owner)
    return _item(await recipes.of_project(gateway.http.services, project.slug))


def _item(recipe: Recipe) -> models.RecipeItem:
    return models.RecipeItem(recipe=recipe.hash, **recipe.as_data(), text=recipe.text)
