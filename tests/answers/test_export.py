"""Exporting: what is refused before any work, and where what was made ends up, whole or not at all."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import export as verb
from antenna_orchestration.domain.capture_sets import Rule
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.exports import formats
from antenna_orchestration.exports.formats import Format
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake.folder import Folder
from antenna_orchestration.processing import capture_sets
from antenna_orchestration.processing.services import Services
from tests.processing.classified_jobs import LABELS, finished_job
from tests.submission.s3_store import CREDENTIALS, s3_store

TABLES = formats.named("tables")


def order(out: str | Path, selection: Selection, **options: Any) -> verb.Order:
    return verb.order(TABLES, selection, out=str(out), **options)


@pytest.mark.long
async def test_an_export_is_there_whole_and_is_replaced_only_if_asked(
    services: Services, project: str, tmp_path: Path
) -> None:
    job = await finished_job(services, project, LABELS, failing=1)
    out, whole = tmp_path / "of the pond", Selection(jobs=(job.job_id,))
    made = await verb.export(services, order(out, whole, check=True))

    assert made.uri == str(out) and made.is_complete
    assert made.checked is not None and not made.checked.faults
    assert made.written.counts["observations"] == 2
    assert {one.name for one in out.iterdir()} >= {"observations.csv", "nights.csv", "counts.csv", verb.ABOUT}
    about = json.loads((out / verb.ABOUT).read_text())
    assert (about["project"], about["jobs"], about["complete"]) == (project, [job.job_id], True)
    with pytest.raises(errors.InvalidInput, match="--replace"):
        await verb.export(services, order(out, whole))
    (out / "mine.csv").write_text("a")
    with pytest.raises(errors.InvalidInput, match="1 file that the export did not write"):
        await verb.export(services, order(out, whole, replace=True))
    (out / "mine.csv").unlink()
    (out / "observations.csv").unlink()
    await verb.export(services, order(out, whole, replace=True))
    assert (out / "observations.csv").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [out.name], "no draft stays behind"


@pytest.mark.long
async def test_of_several_jobs_and_of_a_project_no_image_counts_twice(
    services: Services, project: str, tmp_path: Path
) -> None:
    one = await finished_job(services, project, LABELS)
    other = await finished_job(services, project, LABELS[:1], reprocess=True)
    both = await verb.export(services, order(tmp_path / "jobs", Selection(jobs=(one.job_id, other.job_id))))
    whole = await verb.export(services, order(tmp_path / "project", Selection(project=project)))
    assert both.written.counts == whole.written.counts
    assert whole.written.counts["observations"] == 3
    # Photographs without a time are in no range of nights.
    with pytest.raises(errors.NotFound, match="no photograph"):
        night = Selection(project=project, first=date(2026, 6, 1), last=date(2026, 6, 1))
        await verb.export(services, order(tmp_path / "night", night))


@pytest.mark.long
async def test_an_export_of_a_set_has_its_photographs_alone(services: Services, project: str, tmp_path: Path) -> None:
    job = await finished_job(services, project, LABELS, failing=1)
    made = await capture_sets.create(services, project, "two", Rule(random=2, seed=1))
    wanted = {image async for some in services.catalog.capture_sets.images(made) for image in some}
    rows = {}
    for name, selection in (("job", Selection(jobs=(job.job_id,))), ("project", Selection(project=project))):
        of_set = order(tmp_path / name, replace(selection, capture_set="two"), check=True)
        exported = await verb.export(services, of_set)
        assert exported.checked is not None and not exported.checked.faults
        assert json.loads((tmp_path / name / verb.ABOUT).read_text())["set"] == "two"
        with (tmp_path / name / "nights.csv").open(encoding="utf-8-sig") as file:
            [night] = csv.DictReader(file)
        # What is counted is what the set has.
        assert int(night["photographs"]) == len(wanted) == 2
        rows[name] = exported.written.counts
    assert rows["job"] == rows["project"]
    # The tables in the lake are still those of all.
    whole = await verb.export(services, order(tmp_path / "whole", Selection(jobs=(job.job_id,))))
    assert whole.written.counts["observations"] == 2
    with pytest.raises(errors.NotFound, match="has no capture set 'three'"):
        await verb.export(services, order(tmp_path / "x", Selection(project=project, capture_set="three")))
    other = f"{project}-other"
    await finished_job(services, other, LABELS[:1])
    await capture_sets.create(services, project, "small", Rule(random=1, seed=1))
    with pytest.raises(errors.NotFound, match="has no capture set 'small'"):
        await verb.export(services, order(tmp_path / "x", Selection(project=other, capture_set="small")))


async def test_files_of_people_are_never_replaced(services: Services, project: str, tmp_path: Path) -> None:
    job = await finished_job(services, project, LABELS[:1])
    whole = Selection(jobs=(job.job_id,))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.md").write_text("mine")
    (tmp_path / "note").write_text("mine")
    for name, said in (
        ("thesis", "files that are not an export"),
        ("note", "is not a folder"),
        ("no/such", "is not a folder"),
        ("", "is empty"),
    ):
        with pytest.raises(errors.InvalidInput, match=said):
            await verb.export(services, order(tmp_path / name if name else " ", whole, replace=True))
    assert (tmp_path / "thesis/chapter.md").read_text() == (tmp_path / "note").read_text() == "mine"


@pytest.mark.long
async def test_of_two_exports_into_one_place_one_is_refused(services: Services, project: str, tmp_path: Path) -> None:
    job = await finished_job(services, project, LABELS[:1])
    both = [verb.export(services, order(tmp_path / "out", Selection(jobs=(job.job_id,)))) for _ in range(2)]
    made = await asyncio.gather(*both, return_exceptions=True)
    [refused] = [one for one in made if isinstance(one, BaseException)]
    assert isinstance(refused, errors.InvalidInput) and "--replace" in str(refused)
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
async def test_half_an_export_in_a_bucket_is_replaced(
    services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await finished_job(services, project, LABELS[:1])
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_store() as endpoint:
        own = replace(services, settings=services.settings.model_copy(update={"s3_endpoint_url": endpoint}))
        bucket = Folder("s3://traps", storage_options={"endpoint_url": endpoint})
        bucket.remote.mkdir("traps")
        wanted = order("s3://traps/pond", Selection(jobs=(job.job_id,)), replace=True)
        made = await verb.export(own, wanted)
        assert made.uri == "s3://traps/pond" and {verb.ABOUT, "observations.csv"} < set(bucket.names("pond"))
        # A file that cannot be read ends the copying halfway, as a crash does.
        draft = tmp_path / "pond"
        draft.mkdir()
        (draft / "half.csv").write_text("half")
        (draft / "lost.csv").symlink_to(tmp_path / "nowhere")
        with pytest.raises(errors.Unavailable):
            verb._place(own, wanted).publish(draft)
        assert verb.ABOUT not in bucket.names("pond")
        await verb.export(own, wanted)
        left = bucket.names("pond")
        assert verb.ABOUT in left and not {"half.csv", verb.UNFINISHED} & set(left)
        with pytest.raises(errors.InvalidInput, match="--replace"):
            await verb.export(own, order("s3://traps/pond", Selection(jobs=(job.job_id,))))
        bucket.write("thesis/chapter.md", lambda sink: sink.write(b"mine"))
        with pytest.raises(errors.InvalidInput, match="no export"):
            await verb.export(own, order("s3://traps/thesis", Selection(jobs=(job.job_id,)), replace=True))
    with pytest.raises(errors.InvalidInput, match="s3://bucket"):
        await verb.export(services, order("gs://traps/pond", Selection(jobs=(job.job_id,))))


async def test_what_selects_nothing_is_said_and_nothing_is_written(
    services: Services, project: str, tmp_path: Path
) -> None:
    job = await finished_job(services, project, LABELS[:1])
    out = tmp_path / "export"
    for selection, kind, said in (
        (Selection(jobs=(JobId(999_999_999),)), errors.NotFound, "no job 999999999"),
        (Selection(project=f"{project}-x"), errors.NotFound, f"no project {project}-x"),
        (Selection(jobs=(job.job_id,), deployment="nowhere"), errors.NotFound, "no photograph"),
    ):
        with pytest.raises(kind, match=said):
            await verb.export(services, order(out, selection))
    assert list(tmp_path.iterdir()) == []


async def test_a_place_that_takes_nothing_is_named_and_stays_empty(
    services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await finished_job(services, project, LABELS[:1])
    whole = Selection(jobs=(job.job_id,))
    with pytest.raises(errors.InvalidInput, match="/proc: nothing can be written there"):
        await verb.export(services, order("/proc/export", whole))

    # A device that is always full.
    full = ModuleType("always_full")
    vars(full)["write"] = lambda _, out: Path("/dev/full").write_text(str(out))
    monkeypatch.setitem(sys.modules, "antenna_orchestration.exports.always_full", full)
    fills = verb.order(Format(name="full", title="", module="always_full"), whole, out=str(tmp_path / "full"))
    with pytest.raises(errors.Unavailable, match="No space left on device: nothing was kept"):
        await verb.export(services, fills)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("format", "options", "said"),
    [
        ("tables", {"options": {"as": "docx"}}, "csv, parquet, xlsx"),
        ("yolo", {"options": {"images": "link"}, "out": "s3://bucket/yolo"}, "a bucket takes no links"),
        ("tables", {"options": {"colour": "red"}}, "no option --colour"),
        ("tables", {"selection": Selection(project="p", threshold=0.5)}, "takes no threshold"),
    ],
)
def test_what_a_format_cannot_do_is_refused(format: str, options: dict[str, Any], said: str) -> None:
    selection = options.pop("selection", Selection(project="p"))
    with pytest.raises(errors.InvalidInput, match=said):
        verb.order(formats.named(format), selection, **{"out": "x", **options})


def test_an_unknown_format_is_told_of_all() -> None:
    with pytest.raises(errors.InvalidInput, match="tables"):
        formats.named("docx")
