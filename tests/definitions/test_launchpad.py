"""What a person types into the Launchpad: every field is explained, what is refused is refused in one line."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from PIL import Image

from antenna_orchestration import settings
from antenna_orchestration.assets.exports import ExportConfig
from antenna_orchestration.assets.health import HealthConfig
from antenna_orchestration.assets.job_assets import manifest
from antenna_orchestration.assets.run_session import RunSession
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.cli.submit import submit as submit_command
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.jobs.deployments import DeploymentsConfig
from antenna_orchestration.jobs.export import ExportDatasetConfig
from antenna_orchestration.jobs.inference import WorkerConfig, inference_worker
from antenna_orchestration.jobs.names import TaxaConfig, import_taxa
from antenna_orchestration.jobs.operations import PruneConfig, prune_history
from antenna_orchestration.jobs.reviews import ReviewsConfig
from antenna_orchestration.jobs.submission import SubmitConfig, submit_job
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from tests.processing.boxes_by_hand import job_with_boxes
from tests.processing.jobs_by_hand import make_job

OF_THE_COMMAND_LINE_ALONE = {"wait", "json_", "dry_run", "list_left_out"}


def launched(job: dg.JobDefinition, op: str, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            resources={"stores": Stores()},
            run_config={"ops": {op: {"config": config}}},
            raise_on_error=False,
        )


def reason(result: dg.ExecuteInProcessResult) -> str:
    """What the run's page shows of the failure: the line that we wrote, and no traceback of another error."""
    assert not result.success
    [data] = [event.step_failure_data for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


@pytest.mark.parametrize(
    "config",
    [
        SubmitConfig,
        WorkerConfig,
        PruneConfig,
        HealthConfig,
        ReviewsConfig,
        DeploymentsConfig,
        TaxaConfig,
        ExportDatasetConfig,
        ExportConfig,
    ],
)
def test_every_field_of_the_launchpad_is_explained(config: type[dg.Config]) -> None:
    """B16: the Launchpad showed bare names."""
    assert [name for name, field in config.model_fields.items() if not field.description] == []


def test_every_job_sensor_and_schedule_is_explained() -> None:
    """B10, B16: jobs were described by a few words, schedules not at all."""
    definitions = build_definitions()
    described = [*(definitions.jobs or []), *(definitions.sensors or []), *(definitions.schedules or [])]
    short = [each.name for each in described if len(each.description or "") < 60]  # type: ignore[union-attr]
    assert short == []
    # Pages of sensors and schedules show them as they are, without Markdown.
    marked = [*(definitions.sensors or []), *(definitions.schedules or [])]
    assert [each.name for each in marked if "`" in (each.description or "")] == []  # type: ignore[union-attr]


def test_the_launchpad_takes_what_the_command_line_takes() -> None:
    """B16: `seed` and `exif` were missing."""
    options = set(inspect.signature(submit_command).parameters) - OF_THE_COMMAND_LINE_ALONE
    assert set(SubmitConfig.model_fields) == options


def test_local_folders_are_taken_without_image_roots(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    """B1: an empty ANTENNA_IMAGE_ROOTS was read as "no local files" by the Launchpad, as "any" everywhere else."""
    assert wanted.image_roots == ()
    Image.new("RGB", (64, 48)).save(tmp_path / "one.jpg")
    (tmp_path / "list.csv").write_text(f"path\n{tmp_path}/one.jpg\n")
    sources = [str(tmp_path), f"{tmp_path}/*.jpg", f"file://{tmp_path}/one.jpg", f"{tmp_path}/list.csv"]
    config = {"sources": sources, "pipeline": "null", "project": project, "exif": "always", "seed": 1}
    result = launched(submit_job, "submit", config)
    assert result.success
    [output] = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    job_id = output.step_output_data.metadata["job_id"].value

    async def images() -> int:
        async with opened(wanted) as services:
            return (await services.catalog.jobs.get(job_id)).total

    assert asyncio.run(images()) == 1


def test_what_was_left_out_and_nothing_to_do_are_told(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    """A14, B15: the log of `submit_job` said nothing of left-out files, and queued what had nothing to process."""
    Image.new("RGB", (64, 48)).save(tmp_path / "one.jpg")
    (tmp_path / "two.mp4").write_bytes(b"x")
    config = {"sources": [str(tmp_path)], "pipeline": "null", "project": project}

    async def process() -> None:
        async with opened(wanted) as services:
            [job] = await services.catalog.jobs.list(project=project)
            await services.catalog.jobs.claim(1, job_id=job.job_id)
            await services.catalog.jobs.start(job.job_run, "run")
            images = await services.catalog.images.pending(job.job_run, upto=1)
            done = [ImageOutcome(image, "done", None, 1, None, False, 1, 1, 0, 0, "w") for image in images]
            await services.catalog.images.commit(job.job_run, done)
            await services.catalog.images.add_processed(job.job_id)
            await services.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None)

    with dg.DagsterInstance.ephemeral() as instance:

        def submitted() -> list[str]:
            """The lines of a run's log."""
            result = submit_job.execute_in_process(
                instance=instance,
                resources={"stores": Stores()},
                run_config={"ops": {"submit": {"config": config}}},
            )
            return [record.user_message for record in instance.all_logs(result.run_id)]

        first = submitted()
        assert "left out: 1 video" in first
        [partition] = instance.get_dynamic_partitions("processing_jobs")
        assert f"queued {partition}: 1 image, 0 skipped" in first
        asyncio.run(process())
        assert any(line.endswith("is over already: nothing to process") for line in submitted())
        assert instance.get_dynamic_partitions("processing_jobs") == [partition]


def test_local_folders_outside_image_roots_stay_refused(
    wanted: settings.Settings, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B1: what is set still bounds people at the Launchpad."""
    monkeypatch.setenv("ANTENNA_IMAGE_ROOTS", str(tmp_path / "allowed"))
    settings.get.cache_clear()
    config = {"sources": [str(tmp_path)], "pipeline": "null", "project": project}
    assert "lies outside ANTENNA_IMAGE_ROOTS" in reason(launched(submit_job, "submit", config))


@pytest.mark.parametrize(
    ("job", "op", "config", "words"),
    [
        (submit_job, "submit", {"exif": "sometimes"}, "exif is auto or always or never, not 'sometimes'"),
        (submit_job, "submit", {"dispatch_mode": "x"}, "dispatch_mode is async_api or sync_api, not 'x'"),
        (submit_job, "submit", {"priority": 0}, "priority 0 is not between 1 and 100"),
        (submit_job, "submit", {"limit": -1}, "limit -1 leaves no image; it is 1 or more"),
        (submit_job, "submit", {"config": {"colour": 1}}, "pipeline null has no setting 'colour'"),
        (prune_history, "prune", {"keep_days": -1}, "keep_days is 1 to 36,500, not -1"),
        (prune_history, "prune", {"keep_days": 0}, "keep_days is 1 to 36,500, not 0"),
        (prune_history, "prune", {"keep_days": 10**9}, "keep_days is 1 to 36,500, not 1,000,000,000"),
        (inference_worker, "work", {"batch_size": -1}, "batch_size is 0 to 10,000, not -1"),
        (inference_worker, "work", {"exit_when_idle": float("nan")}, "exit_when_idle is 0 to "),
        (inference_worker, "work", {"max_lifetime": 0.0}, "max_lifetime is 1 to "),
        (inference_worker, "work", {"pipelines": ["moths"]}, "moths"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    wanted: settings.Settings, job: dg.JobDefinition, op: str, config: dict[str, Any], words: str
) -> None:
    """B6, B16: `keep_days: -1` deleted everything, and other values ended in a traceback."""
    given = {"sources": ["/nowhere"], "pipeline": "null", **config} if job is submit_job else config
    said = reason(launched(job, op, given))
    assert words in said and "\n" not in said


def test_boxes_of_a_job_are_submitted_from_the_launchpad(
    wanted: settings.Settings, project: str, tmp_path: Path
) -> None:
    async def finished() -> tuple[int, int]:
        async with opened(wanted) as services:
            other = await make_job(services, project, 1)
            return (await job_with_boxes(services, project, tmp_path, boxes=(0,))).job_id, other.job_id

    number, queued = asyncio.run(finished())
    config = {"detections_of": number, "pipeline": "null"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = submit_job.execute_in_process(
            instance=instance, resources={"stores": Stores()}, run_config={"ops": {"submit": {"config": config}}}
        )
        said = [record.user_message for record in instance.all_logs(result.run_id)]
    assert any("has no box: there is nothing to classify" in line for line in said)
    for changes, words in (
        ({"detections_of": 2**63}, f"there is no job {2**63}"),
        ({"detections_of": queued}, "is QUEUED: its boxes can be classified once it is finished"),
    ):
        why = reason(launched(submit_job, "submit", {**config, **changes}))
        assert words in why and "\n" not in why


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        (None, "this run has no partition: choose the partition job-<id> of a job"),
        ("job-999999999", "no job 999999999"),
    ],
)
def test_a_run_without_its_job_says_so(wanted: settings.Settings, partition: str | None, words: str) -> None:
    """B16: a missing partition ended in Dagster's own error."""
    with dg.DagsterInstance.ephemeral() as instance:
        if partition:
            instance.add_dynamic_partitions("processing_jobs", [partition])
        result = dg.materialize(
            [manifest],
            instance=instance,
            tags={"dagster/partition": partition} if partition else None,
            resources={"run_session": RunSession(stores=Stores())},
            raise_on_error=False,
        )
    assert words in reason(result)


async def lists_in_use(wanted: settings.Settings, project: str) -> list[str]:
    async with opened(wanted) as services:
        lists = await services.catalog.names.species_lists(project)
        return [one.name for one in lists if one.is_project_s]


@pytest.mark.long
def test_names_are_imported_as_the_command_line_does(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    file = tmp_path / "taxa.csv"
    file.write_text("label,scientificName,taxonRank\nmoth,Lepidoptera,order\n")
    config = {"file": str(file), "project": project}
    result = launched(import_taxa, "name_labels", config)
    assert result.success
    [output] = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    assert output.step_output_data.metadata["new"].value == 1
    assert launched(import_taxa, "name_labels", {**config, "name": "here"}).success
    result = launched(import_taxa, "name_labels", {**config, "name": "there", "use": True, "deployment": "pond"})
    assert "has no deployment 'pond'" in reason(result)
    for wrong, words in (({"use": True}, "name the species list"), ({"deployment": "pond"}, "set `use` as well")):
        assert words in reason(launched(import_taxa, "name_labels", {**config, **wrong}))
    assert launched(import_taxa, "name_labels", {**config, "name": "there", "use": True}).success
    assert asyncio.run(lists_in_use(wanted, project)) == ["there"]
    file.write_text("label,taxonRank\nmoth,odrer\n")
    assert "taxa.csv, row 2, column taxonRank: 'odrer' is not a rank" in reason(
        launched(import_taxa, "name_labels", config)
    )
    missing = {**config, "file": str(tmp_path / "none.csv")}
    assert "cannot be read: No such file" in reason(launched(import_taxa, "name_labels", missing))
