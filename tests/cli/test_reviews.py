"""`antenna reviews`: a review by mistake, and what becomes of it, at 80 columns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from antenna_orchestration.cli import output
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import services
from tests.answers.test_importing_reviews import job_with_detections
from tests.cli.shells import Shell


def test_a_review_is_listed_as_withdrawn(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def made() -> str:
        async with services.opened(shared_stores.settings) as opened:
            job, [one] = await job_with_detections(opened, project, 1)
            return f"{job.job_id}-{one}"

    monkeypatch.setattr(output, "_WIDTH_OF_FILES", 80)
    monkeypatch.chdir(tmp_path)
    detection = asyncio.run(made())
    (tmp_path / "reviews.csv").write_text(f"detection_id,label,reviewer\n{detection},fly,Ana\n")
    assert antenna("reviews", "import", "reviews.csv", "--project", project).code == 0
    done = antenna("reviews", "withdraw", detection)
    assert done.out == f"{detection} is no longer fly, which Ana said\n"
    assert f"`antenna tables --project {project}`" in done.err
    lines = antenna("reviews", "list", "--project", project).out.splitlines()
    assert "fly (withdrawn)" in lines[1] and max(map(len, lines)) <= 80
    [listed] = antenna("reviews", "list", "--project", project, "--json").json
    assert (listed["observation_id"], listed["withdrawn"]) == (detection, True)
    antenna("reviews", "withdraw", detection).refused(3, f"no review of {detection} that holds; `antenna reviews list`")
    for wrong, why in (("x", "'x' is not a detection"), ("7-0", "does not say of which job"), ("", "not a detection")):
        antenna("reviews", "withdraw", wrong).refused(2, why)
