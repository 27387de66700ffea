"""An export uses what is kept of its project as a data set, and another description where one is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import datasets
from antenna_orchestration.answers import export as verb
from antenna_orchestration.exports import dataset, formats
from antenna_orchestration.exports.formats import Incomplete
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.processing.services import Services
from tests.processing.classified_jobs import LABELS, finished_job

DESCRIPTION = b"""\
title: Moths of the catalog
contributors: [{family: Example, roles: [contact]}]
data_licence: CC0-1.0
media_licence: CC0-1.0
project: {sampling_design: targeted, capture_method: [timeLapse]}
"""


@pytest.mark.long
async def test_what_is_kept_of_a_project_is_used(services: Services, project: str, tmp_path: Path) -> None:
    job = await finished_job(services, project, LABELS[:1])
    whole = Selection(jobs=(job.job_id,))

    async def asked() -> list[str]:
        """What a package of it lacks."""
        order = verb.order(formats.named("camtrap-dp"), whole, out=str(tmp_path / "package"))
        with pytest.raises(Incomplete) as caught:
            await verb.export(services, order)
        return [line.partition(":")[0] for line in caught.value.missing]

    assert (await asked())[:2] == ["a contact", "a licence of the data"]
    with pytest.raises(errors.InvalidTable):
        await datasets.keep(services, project, b"titel: x", "dataset.yaml")
    await datasets.keep(services, project, DESCRIPTION, "dataset.yaml", by="test")
    assert await asked() == ["the deployment of 1 photograph"]

    given = dataset.read(DESCRIPTION.replace(b"the catalog", b"a file"), "other.yaml")
    for other, title in ((None, "Moths of the catalog"), (given, "Moths of a file")):
        async with verb.material(services, whole, dataset=other) as made:
            assert made.dataset.title == title
    assert not list(tmp_path.iterdir())
