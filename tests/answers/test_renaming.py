"""A deployment gets another name: derived tables follow without inference, skipped photographs stay in theirs."""

import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import deployments, derive
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.processing import submit
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, Submitted
from tests.processing.classified_jobs import LABELS, processed, registered
from tests.processing.jobs_by_hand import claimed

pytestmark = pytest.mark.long


async def submitted_as(services: Services, project: str, names: list[str], *, first: int = 1) -> Submitted:
    """A submission of a photograph in each of these deployments."""
    images = [
        SubmittedImage(f"http://photos.example.org/{project}/2026060{number}233000.jpg", None, name)
        for number, name in enumerate(names, first)
    ]
    return await submit.submit(
        services, Submission(images=images, pipeline=await registered(services, project), project=project)
    )


async def ended(services: Services, made: Submitted) -> None:
    await processed(services, await claimed(services, await services.catalog.jobs.get(made.job_id)), LABELS)


async def nights_of(services: Services, project: str) -> list[tuple[str, str | None]]:
    await derive.derive(services, project=project)
    nights = derived.read(services.lake, Scope(project=project), "nights").to_pylist()
    return [(row["deployment"], row["zone"]) for row in nights]


async def test_tables_follow_a_deployment_to_its_new_name(services: Services, project: str) -> None:
    place = Place(deployment="wood", time_zone="+02:00")
    await services.catalog.deployments.describe(project, lambda known: [place], by="anna")
    await ended(services, await submitted_as(services, project, ["wood", "hill"]))
    assert await nights_of(services, project) == [("hill", None), ("wood", "+02:00")]

    await deployments.rename(services, project, "wood", "forest", by="Ada")
    assert await nights_of(services, project) == [("forest", "+02:00"), ("hill", None)]
    [formerly] = await deployments.former_names(services, project, "forest")
    assert (formerly["name"], formerly["by"]) == ("wood", "Ada")
    # Names may change places, and an earlier one be used anew.
    await deployments.rename(services, project, "hill", "valley")
    await deployments.rename(services, project, "forest", "hill")
    await ended(services, await submitted_as(services, project, ["wood"], first=3))
    assert await nights_of(services, project) == [("hill", "+02:00"), ("valley", None), ("wood", None)]

    with pytest.raises(errors.Conflict, match="has a deployment 'valley' already"):
        await deployments.rename(services, project, "hill", "valley")
    with pytest.raises(errors.NotFound, match="has no deployment 'forest'"):
        await deployments.rename(services, project, "forest", "beach")
    with pytest.raises(errors.InvalidInput, match="the new name: no name"):
        await deployments.rename(services, project, "hill", " ")


async def test_skipped_photographs_stay_in_their_deployment(services: Services, project: str) -> None:
    await ended(services, await submitted_as(services, project, ["wood", "wood", "hill"]))
    again = await submitted_as(services, project, ["forest", "forest", "hill"])
    [said] = [line for line in again.warnings if "deployment" in line and "rename" in line]
    assert "2 skipped images stay in another deployment" in said and "2 of wood, said to be of forest" in said
    assert f"`antenna deployments rename wood forest --project {project}`" in said
    # What it says can be done: nothing is known of the other name.
    await deployments.rename(services, project, "wood", "forest")
    known = await deployments.list_deployments(services, project)
    assert [(one.place.deployment, one.photographs and one.photographs.count) for one in known] == [
        ("forest", 2), ("hill", 1),
    ]  # fmt: skip
    assert await nights_of(services, project) == [("forest", None), ("forest", None), ("hill", None)]
    with pytest.raises(errors.Conflict, match="has a deployment 'hill' already"):
        await deployments.rename(services, project, "forest", "hill")
    once_more = await submitted_as(services, project, ["forest", "forest", "hill"])
    assert not [line for line in once_more.warnings if "rename" in line]
