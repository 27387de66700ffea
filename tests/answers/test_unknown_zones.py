"""A deployment whose time zone this machine does not know: nothing fails, nothing is guessed, it is repaired."""

import pytest

from antenna_orchestration.answers import deployments, derive
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.processing import submit
from antenna_orchestration.processing.services import Services
from tests.processing.classified_jobs import LABELS, processed, registered
from tests.processing.jobs_by_hand import claimed


@pytest.mark.long
async def test_an_unknown_zone_is_named_and_replaced(services: Services, project: str) -> None:
    await services.catalog.deployments.describe(
        project, lambda known: [Place(deployment="wood", time_zone="Europe/Kyjiw"), Place(deployment="hill")], by="anna"
    )
    [_, wood] = await deployments.list_deployments(services, project)
    assert (wood.place.time_zone, wood.place.zone) == ("Europe/Kyjiw", None)
    image = SubmittedImage(f"http://photos.example.org/{project}/20260601233000.jpg", None, "wood")
    submission = submit.Submission(images=[image], pipeline=await registered(services, project), project=project)
    submitted = await submit.submit(services, submission)
    lost = "this machine does not know the time zone of wood (Europe/Kyjiw)"
    assert [lost in line for line in submitted.warnings if "time zone" in line] == [True]
    await processed(services, await claimed(services, await services.catalog.jobs.get(submitted.job_id)), LABELS)
    made = await derive.derive(services, project=project)
    [said] = made.warnings
    assert lost in said
    [night] = derived.read(services.lake, Scope(project=project), "nights").to_pylist()
    assert (night["zone"], str(night["first"])) == (None, "2026-06-01 23:30:00")

    # Another value leaves it, for the machine that knows it.
    moved = await deployments.set_values(services, project, "wood", {"country_code": "UA"})
    assert (moved.time_zone, moved.country_code) == ("Europe/Kyjiw", "UA")
    imported = await deployments.import_file(services, project, b"deployment,name\nwood,Oak wood\n", "sites.csv")
    assert [line for line in imported.warnings if lost in line]
    await deployments.import_file(services, project, b"deployment,timezone\nwood,Europe/Kiev\n", "sites.csv")
    assert (await derive.derive(services, project=project)).warnings == []
    [night] = derived.read(services.lake, Scope(project=project), "nights").to_pylist()
    assert (night["zone"], str(night["night"])) == ("Europe/Kiev", "2026-06-01")
