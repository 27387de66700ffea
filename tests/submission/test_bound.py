"""A job is bound to what its pipeline is: one version is one digest, and the ledger compares digests (P1, P13)."""

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.domain.ids import JobId, PipelineSlug
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.pipelines import identity, registry
from antenna_orchestration.processing import served_here
from antenna_orchestration.processing.bound import bind
from antenna_orchestration.processing.retry import retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, Submitted, submit
from tests.submission.test_submit import finish
from tests.waiting import eventually

DECLARED = """slug: SLUG
version: "1"
takes: photographs
program: weights.pt2
size: 64
labels: [a, b]
"""


class Lab:
    """A folder of one declared pipeline, and a project that runs it."""

    def __init__(self, services: Services, folder: Path, project: str) -> None:
        self.services, self.folder, self.project = services, folder, project
        # Slugs are known to all tests of these stores.
        self.slug = f"lab-{project[:8]}"
        self.file = folder / "lab.yaml"
        self.file.write_text(DECLARED.replace("SLUG", self.slug))
        self.weights = folder / "weights.pt2"
        self.weights.write_text("weights")
        # Not read again within the same moment, and not of the future.
        for file in (self.file, self.weights):
            os.utime(file, (1_700_000_000, 1_700_000_000))

    def change(self, old: str, new: str) -> None:
        self.file.write_text(self.file.read_text().replace(old, new))

    async def send(self, *, slug: str = "", **changes: Any) -> Submitted:
        images = [SubmittedImage(f"https://example.org/{number}.jpg", None, None) for number in range(2)]
        values: dict[str, Any] = {"images": images, "pipeline": slug or self.slug, "project": self.project, **changes}
        return await submit(self.services, Submission(**values))

    async def ran(self, **changes: Any) -> JobId:
        submitted = await self.send(**changes)
        assert (submitted.total, submitted.skipped) == (2, 0), submitted.warnings
        await finish(self.services, submitted.job_id)
        return submitted.job_id

    async def digest(self, job: JobId) -> str | None:
        found = await self.services.catalog.jobs.get(job)
        return (await self.services.catalog.generations.terms(found.job_run)).digest


@pytest.fixture
def lab(services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setattr(registry, "LOOK_EVERY", 0.0)
    monkeypatch.setenv("ANTENNA_PIPELINE_PATHS", str(tmp_path))
    settings.get.cache_clear()
    yield Lab(services, tmp_path, project)
    settings.get.cache_clear()


async def test_a_job_keeps_the_digest_of_its_pipeline(lab: Lab) -> None:
    job = await lab.ran()
    assert await lab.digest(job) == identity.digest_of(registry.get(lab.slug))
    again = await lab.send()
    assert (again.total, again.skipped) == (0, 2)
    assert "was run before" not in " ".join(again.warnings)


def with_other_weights(lab: Lab) -> None:
    lab.weights.write_text("trained on")


def with_other_labels(lab: Lab) -> None:
    lab.change("[a, b]", "[b, a]")


@pytest.mark.parametrize(
    ("change", "what"),
    [(with_other_weights, "weights.pt2"), (with_other_labels, "lab.yaml")],
    ids=["weights", "labels"],
)
async def test_a_changed_pipeline_under_its_version_is_refused(
    lab: Lab, change: Callable[[Lab], None], what: str
) -> None:
    """P1: its results were booked under the version of the old one, for good."""
    job = await lab.ran()
    change(lab)
    with pytest.raises(errors.OtherVersion) as refused:
        await lab.send(reprocess=True)
    assert str(refused.value) == (
        f"pipeline {lab.slug} version 1 was run before with other code, weights or labels ({what} changed); raise its "
        f'version, {lab.file}, line 2, from "1"'
    )
    with pytest.raises(errors.OtherVersion):
        await retry(lab.services, job)
    lab.change('"1"', '"2"')
    second = await lab.ran()
    assert await lab.digest(second) != await lab.digest(job)


async def test_what_came_to_nothing_leaves_its_version_free(lab: Lab) -> None:
    """Whoever mends a pipeline that failed on every image need not raise its version each time."""
    first = await lab.send()
    with_other_weights(lab)
    with pytest.raises(errors.OtherVersion):
        await lab.send()
    await finish(lab.services, first.job_id, failed={f"https://example.org/{number}.jpg" for number in range(2)})
    before = await lab.digest(first.job_id)
    second = await lab.ran()
    assert await lab.digest(second) != before
    await retry(lab.services, first.job_id)
    assert await lab.digest(first.job_id) == await lab.digest(second)


async def test_a_retry_that_is_refused_binds_nothing(lab: Lab) -> None:
    """It said for good what a version is that nobody has run."""
    job = (await lab.send()).job_id
    lab.change('"1"', '"2"')
    with pytest.raises(errors.Conflict, match="is QUEUED; only a job that is over"):
        await retry(lab.services, job)
    assert await lab.services.catalog.pipelines.digest_of(PipelineSlug(lab.slug), "2") is None
    await finish(lab.services, job, failed={"https://example.org/0.jpg"})
    await retry(lab.services, job)
    assert await lab.services.catalog.pipelines.digest_of(PipelineSlug(lab.slug), "2") is not None


async def test_the_log_of_a_job_without_images_says_its_end(lab: Lab) -> None:
    await lab.ran()
    empty = await lab.send()
    first, second, *_ = [line for _, line in await lab.services.catalog.job_log.read(empty.job_id)]
    assert [first.action, second.action] == ["submitted", "finished"]
    assert second.message == "SUCCESS: all 2 images were processed before"


async def test_two_codes_at_the_same_moment_make_no_two_digests(lab: Lab) -> None:
    """Each was bound while no job of the other was there, and then both were written, as the same version."""
    binding = await bind(lab.services, registry.get(lab.slug), {})
    with_other_weights(lab)
    other = await lab.send()
    new = NewJob(
        project=lab.project, name="x", pipeline=PipelineSlug(lab.slug), config={}, config_hash="", priority=1,
        interactive=False, reprocess=False, duplicates=0, source_kinds=["http"],
        digest=binding.digest, of_version=binding.of_version,
    )  # fmt: skip
    with pytest.raises(
        errors.OtherVersion, match=f"{lab.slug} was submitted with other code, .* as version 1; nothing"
    ):
        await lab.services.catalog.jobs.create(new, [SubmittedImage("https://example.org/0.jpg", None, None)])
    await finish(lab.services, other.job_id, failed={"https://example.org/0.jpg"})
    with pytest.raises(errors.OtherVersion, match="nothing was written"):
        await lab.services.catalog.jobs.retry(other.job_id, digest=binding.digest, of_version=binding.of_version)
    async with lab.services.catalog.jobs._database.transaction() as connection:
        cursor = await connection.execute("SELECT job_id, generation FROM jobs WHERE pipeline = %s", [lab.slug])
        assert await cursor.fetchall() == [{"job_id": other.job_id, "generation": 1}]


async def test_a_version_is_not_changed_while_a_job_of_it_is_written(lab: Lab) -> None:
    database = lab.services.catalog.jobs._database

    async def waits_for(what: str) -> bool:
        async with database.session() as session:
            cursor = await session.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s", [f"%{what}%"]
            )
            [found] = await cursor.fetchone() or [0]
            return bool(found)

    async with database.session() as session, session.transaction():
        # A job that is written waits here, when it is nearly whole.
        await session.execute("LOCK TABLE job_images IN SHARE MODE")
        writing = asyncio.create_task(lab.send())
        await eventually(lambda: waits_for("INSERT INTO job_images"), description="the job waits")
        with_other_weights(lab)
        other = asyncio.create_task(lab.send())
        await eventually(lambda: waits_for("pipeline_digests%FOR UPDATE"), description="the other submission waits")
    written = await writing
    with pytest.raises(errors.OtherVersion, match=r"weights\.pt2 changed"):
        await other
    assert await lab.digest(written.job_id) == await lab.services.catalog.pipelines.digest_of(lab.slug, "1")


async def test_the_same_under_a_new_version_says_so(lab: Lab) -> None:
    """P1: it was skipped as processed before, without a word of why."""
    spec = registry.get(lab.slug)
    assert not (await bind(lab.services, spec, {})).warnings
    [warning] = (await bind(lab.services, replace(spec, version="2"), {})).warnings
    assert warning.startswith(f"version 2 of {lab.slug} is the same as version 1: neither its code nor")


CODE = """
from antenna_orchestration.pipelines.interface import AlgorithmSpec, PipelineSpec

ALGORITHM = AlgorithmSpec(key="KEY", version="1", name="K", task="classification")
PIPELINES = [
    PipelineSpec(slug=slug, name="Lab", version="1", description="",
                 factory="antenna_orchestration.pipelines.null:NullPipeline",
                 algorithms=(ALGORITHM,), default_config={"weights": ""})
    for slug in ("SLUG", "SLUG-twin")
]
"""


async def test_only_the_same_code_and_files_have_processed(lab: Lab) -> None:
    """P13: slugs that share an algorithm counted for each other, and weights in the configuration for others."""
    for name, slug in (("one", f"{lab.slug}-one"), ("two", f"{lab.slug}-two")):
        code = CODE.replace("SLUG", slug).replace("KEY", f"key-{lab.slug}")
        (lab.folder / f"{slug.replace('-', '_')}_{name}.py").write_text(code)
    await lab.ran(slug=f"{lab.slug}-one")
    assert (await lab.send(slug=f"{lab.slug}-one-twin")).skipped == 2
    await lab.ran(slug=f"{lab.slug}-two")
    # The ledger knows both.
    assert (await lab.send(slug=f"{lab.slug}-one")).skipped == 2
    other = {"weights": str(lab.weights)}
    await lab.ran(slug=f"{lab.slug}-one", config=other)
    assert (await lab.send(slug=f"{lab.slug}-one", config=other)).skipped == 2
    lab.weights.write_text("trained on")
    await lab.ran(slug=f"{lab.slug}-one", config=other)


async def test_where_images_were_processed_is_told_of_the_same_digest(lab: Lab) -> None:
    """Skipped images were said to be in the deployment in which other weights of that version had processed them."""
    file = lab.folder / f"{lab.slug.replace('-', '_')}_one.py"
    slug = f"{lab.slug}-one"
    file.write_text(CODE.replace("SLUG", slug).replace("KEY", f"key-{lab.slug}"))
    await lab.ran(slug=slug, deployment="east")
    await lab.ran(slug=slug, deployment="west", config={"weights": str(lab.weights)})

    async def kept(deployment: str) -> list[str]:
        submitted = await lab.send(slug=slug, deployment=deployment)
        assert submitted.skipped == 2
        return [one for one in submitted.warnings if "stay in another deployment" in one]

    assert await kept("east") == []
    [warning] = await kept("west")
    assert "2 of east, said to be of west" in warning


async def test_other_code_under_the_same_algorithm_version_is_told(lab: Lab) -> None:
    """The rows of both versions say one algorithm and version; who raised any of them is not bothered."""
    slug = f"{lab.slug}-one"
    file = lab.folder / f"{slug.replace('-', '_')}.py"
    code = CODE.replace("SLUG", slug).replace("KEY", f"key-{lab.slug}")

    def write(version: str, of_algorithm: str) -> None:
        text = code.replace('description=""', f'description="{version}"').replace(
            'name="Lab", version="1"', f'name="Lab", version="{version}"'
        )
        file.write_text(text.replace(f'"key-{lab.slug}", version="1"', f'"key-{lab.slug}", version="{of_algorithm}"'))

    async def told() -> list[str]:
        submitted = await lab.send(slug=slug)
        await finish(lab.services, submitted.job_id)
        return [one for one in submitted.warnings if "has other code" in one]

    write("1", "1")
    assert await told() == []
    write("2", "1")
    assert await told() == [
        f"version 2 of {slug} has other code, weights or labels than version 1, and its algorithm has the version of "
        f'then: key-{lab.slug} "1" ({file.name}, line 4); rows of both say the same algorithm and version, so raise it '
        "if its answers changed"
    ]
    assert await told() == []
    write("3", "2")
    assert await told() == []


async def test_a_version_in_the_code_is_part_of_it(lab: Lab) -> None:
    """Raising it makes another digest, so that images are processed again: no warning says that nothing changed."""
    slug = f"{lab.slug}-one"
    file = lab.folder / f"{slug.replace('-', '_')}.py"
    code = CODE.replace("SLUG", slug).replace("KEY", f"key-{lab.slug}")
    file.write_text(code)
    first = await lab.ran(slug=slug)
    file.write_text(code.replace('name="Lab", version="1"', 'name="Lab", version="20"'))
    assert await lab.digest(await lab.ran(slug=slug)) != await lab.digest(first)


async def test_images_of_before_digests_count_as_processed(lab: Lab) -> None:
    job = await lab.send()
    async with lab.services.catalog.jobs._database.transaction() as connection:
        await connection.execute("UPDATE job_generations SET digest = NULL WHERE job_id = %s", [job.job_id])
    await finish(lab.services, job.job_id)
    assert (await lab.send()).skipped == 2


async def test_a_missing_file_leaves_the_job_unbound_with_a_warning(lab: Lab) -> None:
    lab.weights.unlink()
    submitted = await lab.send()
    [warning] = [one for one in submitted.warnings if "sha256" in one]
    assert warning == (
        f"what {lab.slug} 1 is cannot be known here, because {lab.weights} is not on this machine: workers with any "
        "weights serve this job; `#sha256=…` after a file's name tells its content"
    )
    assert await lab.digest(submitted.job_id) is None


@pytest.mark.parametrize("is_broken", [True, False], ids=["broken", "gone"])
async def test_a_pipeline_that_cannot_be_read_here_keeps_its_digest(lab: Lab, is_broken: bool) -> None:
    """Its jobs were bound to nothing then, without a word: any worker's code of that name and version served them."""
    first = await lab.send()
    await finish(lab.services, first.job_id, failed={"https://example.org/0.jpg"})
    before = await lab.digest(first.job_id)
    if is_broken:
        lab.file.write_text("slug: [")
    else:
        lab.file.unlink()
    second = await lab.send(reprocess=True)
    retried = await retry(lab.services, first.job_id)
    for job, warnings in ((second.job_id, second.warnings), (first.job_id, retried.warnings)):
        assert before is not None and await lab.digest(job) == before
        assert [one for one in warnings if "not here any more" in one] == [
            f"{lab.slug} is not here any more, or cannot be read; the job is bound to version 1 as it was here (digest "
            f"{before[:12]}), so that only workers with just that serve it"
        ]


async def test_pushed_jobs_are_not_bound(lab: Lab) -> None:
    submitted = await lab.send(dispatch_mode=DispatchMode.SYNC)
    assert await lab.digest(submitted.job_id) is None


async def test_a_worker_here_would_leave_a_job_of_other_code_alone(lab: Lab) -> None:
    """P1: the autoscaler, the health check and the job's own page tell what a worker that is started would do."""
    here = lab.services.settings.model_copy(update={"pipeline_paths": (lab.folder,)})
    services = replace(lab.services, settings=here)
    submitted = await lab.send()
    job = await lab.services.catalog.jobs.get(submitted.job_id)
    assert await served_here.why_not(services, [job]) == {}
    with_other_weights(lab)
    told = await served_here.why_not(services, [job])
    assert f"it was submitted for {lab.slug} 1, digest" in told[job.job_id]
    lab.weights.unlink()
    assert "files of it are missing here" in (await served_here.why_not(services, [job]))[job.job_id]
