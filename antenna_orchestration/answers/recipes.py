"""The post-processing recipe of a project: which one holds, and setting another.

Setting one derives nothing: `antenna tables` does, and so does each job that ends from then on.
"""

from __future__ import annotations

import re
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.answers import known_projects
from antenna_orchestration.catalog.recipes import StoredRecipe
from antenna_orchestration.domain import ids
from antenna_orchestration.ecology import recipes, written_out
from antenna_orchestration.ecology.recipes import Recipe
from antenna_orchestration.processing.services import Services

_HASH = re.compile(rf"[0-9a-f]{{{recipes.HASH_LENGTH}}}")


async def of_project(services: Services, project: str) -> Recipe:
    """The recipe that holds for a project: its own, else the built-in one.

    Raises `InvalidInput` if this version no longer understands the project's own.
    """
    stored = await services.catalog.recipes.of_project(project)
    return recipes.default() if stored is None else recipes.parsed(stored.text, f"recipe {stored.hash} of {project}")


async def shown(services: Services, project: str) -> Recipe:
    """The same as `of_project`, for people who ask. Raises `NotFound` for a project that does not exist, too."""
    await known_projects.require(services, project)
    return await of_project(services, project)


async def use(services: Services, project: str, recipe: Recipe, *, by: str) -> str:
    """Let a recipe hold for a project, which is made if there is none; returns the recipe's hash.

    It is kept with every value written out: a later version with other defaults does the same with it. Raises
    `InvalidInput` for a text that the catalog cannot hold.
    """
    ids.slug(project, "project")
    if "\0" in recipe.text:
        raise errors.InvalidInput("the recipe has a null character")
    await services.catalog.recipes.use(project, written_out.text_of(recipe), recipe.hash, by=by)
    return recipe.hash


async def use_earlier(services: Services, project: str, hash_: str, *, by: str) -> str:
    """Let a recipe hold that the project had before, named by its hash. Raises `NotFound`."""
    for one in await versions(services, project):
        if one.hash == hash_:
            return await use(services, project, recipes.parsed(one.text, f"recipe {hash_}"), by=by)
    raise errors.NotFound(
        f"project {project} has no recipe {hash_}; `antenna recipes list --project {project}` shows all"
    )


async def use_built_in(services: Services, project: str) -> str:
    """Let the built-in recipe hold for a project; returns its hash. Raises `NotFound`."""
    await services.catalog.recipes.use_built_in(project)
    return recipes.default().hash


async def versions(services: Services, project: str) -> list[StoredRecipe]:
    """All recipes that a project has or had, the newest first. Raises `NotFound` for a project that does not exist."""
    await known_projects.require(services, project)
    return await services.catalog.recipes.list(project)


def is_hash(text: str) -> bool:
    """Whether a text is the hash of a recipe, and no file."""
    return _HASH.fullmatch(text) is not None


def read(path: Path) -> Recipe:
    """The recipe in a file. Raises `InvalidInput`, with file, line, step and parameter."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.InvalidInput(f"{path} cannot be read: {error.strerror or error}") from None
    return read_bytes(content, str(path))


def read_bytes(content: bytes, name: str) -> Recipe:
    """The recipe in the content of a file; `name` is for people. Raises `InvalidInput` likewise."""
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise errors.InvalidInput(f"{name} is not text in UTF-8") from None
    return recipes.parsed(text, name)
