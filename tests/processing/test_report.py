"""The page about a job: it leaves nothing out without a word, and shows every site."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from antenna_orchestration.domain.job import Job
from antenna_orchestration.lake import schemas
from antenna_orchestration.processing import report, samples
from antenna_orchestration.processing.services import Services
from tests.domain.test_markdown import plain, seen
from tests.processing.jobs_by_hand import make_job

DUSK = datetime(2026, 6, 1, 20, tzinfo=UTC)

Captures = list[tuple[str | None, datetime | None, int, str]]
"""Of each image: deployment, time, how many detections, and URL."""


async def job_with(services: Services, project: str, captures: Captures, **changes: object) -> Job:
    """A job whose final tables hold these images, a detection with a label of its own each, and as many reasons."""
    job = await make_job(services, project, 0, **changes)
    images = [
        {
            "image_id": number, "deployment": site, "captured_at": at, "detections": count, "url": url,
            "status": "done" if count else "failed",
        }
        for number, (site, at, count, url) in enumerate(captures)
    ]  # fmt: skip
    detections: list[dict[str, Any]] = [
        {
            "image_id": one["image_id"], "detection_id": f"{one['image_id']}-{n}", "algorithm": "a", "score": 0.5,
            "algorithm_version": "1", "x1": 1.0, "y1": 1.0, "x2": 9.0, "y2": 9.0,
        }
        for one in images
        for n in range(int(str(one["detections"])))
    ]  # fmt: skip
    labels = [one | {"label": f"species {one['image_id']}", "terminal": True} for one in detections]
    failed = [one | {"reason": f"reason {one['image_id']}"} for one in images if one["status"] == "failed"]
    tables = {"captures": images, "detections": detections, "classifications": labels, "failed_images": failed}
    for name, rows in tables.items():
        table = pa.Table.from_pylist(rows, schema=schemas.TABLES[name])
        services.lake.write_table(name, job.job_id, job.generation, [table])
    return job


def rows_of(text: str, title: str) -> list[list[str]]:
    """The cells of a table of the report, without its header."""
    [part] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\|.*\|$", part, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines][2:]


async def test_the_report_has_every_row_and_its_copy_says_what_it_leaves(services: Services, project: str) -> None:
    """B2: nights, labels and reasons ended at row 30 without a word, and with them whole sites."""
    captures: Captures = [
        (f"site {site:02}", DUSK + timedelta(days=night), count, "http://192.0.2.1/1.jpg")
        for site in range(40)
        for night in range(2)
        for count in (0, 1)
    ]
    captures.append((None, None, 1, "http://192.0.2.1/1.jpg"))
    job = await job_with(services, project, captures)
    written = await report.write_report(services, job)
    text = Path(written.uri).read_text()
    sites = rows_of(text, "Where")
    # Its images are all, so the failed ones have a column of their own.
    assert sites[0] == ["no deployment", "1", "0", "1", "0", "time unknown", ""]
    assert sites[1:] == [[f"site {n:02}", "4", "2", "2", "2", "2026-06-01", "2026-06-02"] for n in range(40)]
    assert len(rows_of(text, "Where and when")) == 2 * 40 + 1
    assert len(rows_of(text, "What was found")) == 2 * 40 + 1
    assert len(rows_of(text, "What failed")) == 2 * 40
    assert "more rows" not in text and "from noon to noon UTC" in text
    # The copy for the UI is shorter, but names each site, and says where the rest is.
    copy = written.markdown
    assert rows_of(copy, "Where") == sites
    assert len(rows_of(copy, "Where and when")) == report.SHOWN
    assert copy.count(f"and 21 more rows: see `{written.uri}`") == 2


async def test_a_report_beyond_all_bounds_names_the_table_with_the_rest(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B2"""
    monkeypatch.setattr(report, "MOST", 5)
    captures: Captures = [(f"site {n}", DUSK, 1, "http://192.0.2.1/1.jpg") for n in range(9)]
    job = await job_with(services, project, captures)
    text = Path((await report.write_report(services, job)).uri).read_text()
    assert "and 4 more rows: see the column `deployment` of the table `captures`" in text
    assert "and 4 more rows: see the column `label` of the table `classifications`" in text


async def test_the_report_says_what_whole_photographs_show(services: Services, project: str) -> None:
    """Labels of whole photographs, masks and attributes were in the lake, and the report was silent about them."""
    job = await job_with(services, project, [("pond", DUSK, 1, "x"), ("pond", DUSK, 1, "y")])
    said = {"image_id": 0, "algorithm": "a", "algorithm_version": "1", "terminal": True}
    more = {
        "image_labels": [said | {"label": "rain"}, said | {"image_id": 1, "label": "rain"},
                         said | {"label": "fog|snow"}, said | {"label": "step", "terminal": False}],
        "detection_details": [{"image_id": 0, "detection_id": "0-0", "mask": '{"size": [1, 1], "counts": "01"}',
                               "attributes": "{}"}],
        "image_attributes": [{"image_id": 0, "attributes": "{}"}],
    }  # fmt: skip
    for name, rows in more.items():
        table = pa.Table.from_pylist(rows, schema=schemas.FURTHER[name])
        services.lake.write_table(name, job.job_id, job.generation, [table])
    written = await report.write_report(services, job)
    for text in (Path(written.uri).read_text(), written.markdown):
        assert rows_of(text, "What whole photographs show") == [["rain", "2"], ["fog\\|snow", "1"]]
        assert "Beyond boxes: 1 detection with an outline, 1 detection with attributes, 1 photograph with attr" in text
        assert f"`{services.lake.table('image_labels', job.job_id)}`" in text
    plain_job = await job_with(services, project, [("pond", DUSK, 1, "x")])
    text = (await report.write_report(services, plain_job)).markdown
    assert "whole photographs" not in text and "Beyond boxes" not in text and "image_labels" not in text


async def test_the_report_cuts_nights_at_noon_of_the_job_s_zone(services: Services, project: str) -> None:
    """B3: dusk and dawn of one night in Panama fell on two nights, and 13:00 UTC is not yet day there."""
    captures: Captures = [("pond", DUSK.replace(hour=23), 1, "x"), ("pond", DUSK.replace(day=2, hour=13), 1, "x")]
    for zone, found in (("America/Panama", ["2026-06-01"]), ("UTC", ["2026-06-01", "2026-06-02"])):
        job = await job_with(services, project, captures, time_zone=zone)
        text = Path((await report.write_report(services, job)).uri).read_text()
        assert [night for _, night, *_ in rows_of(text, "Where and when")] == found
        assert f"from noon to noon {zone}" in text


async def test_hostile_names_are_shown_as_they_are(services: Services, project: str) -> None:
    """A15: names went raw into the report."""
    hostile = "[x](javascript:alert(1)) <img src=http://h> |**a**`b`\n# c"
    job = await job_with(services, project, [(hostile, DUSK, 1, "http://192.0.2.1/1.jpg")], name=hostile)
    written = await report.write_report(services, job)
    # The file has a line for the sample, too.
    for text, times in ((written.markdown, 3), (Path(written.uri).read_text(), 4)):
        reader = seen(text)
        assert reader.text.count(plain(hostile)) == times
        assert not {"a", "img", "strong", "em", "script"} & set(reader.elements)


@pytest.mark.long
async def test_pictures_are_spread_over_sites_and_nights(services: Services, project: str, tmp_path: Path) -> None:
    """B11: they were the most crowded photographs, of one site of four, and small ones in the lake, too."""
    captures: Captures = []
    for site in range(4):
        for night in range(2):
            for n in range(3):
                path = tmp_path / f"{site}-{night}-{n}.jpg"
                Image.new("RGB", (1500, 60)).save(path)
                # The first site is the most crowded, and some images have nothing.
                captures.append(
                    (f"site {site}", DUSK + timedelta(days=night), 0 if n else 20 - 5 * site, path.as_uri())
                )
    captures[2] = (*captures[2][:2], 20, captures[2][3])
    job = await job_with(services, project, captures)
    found = await samples.sample_pictures(services, job, count=4, width=900)
    assert sorted(one.caption.split(",")[0] for one in found) == [f"site {site}" for site in range(4)]
    found = await samples.sample_pictures(services, job, count=8)
    assert sorted({one.caption.rpartition(",")[0] for one in found}) == [
        f"site {site}, 2026-06-0{1 + night}" for site in range(4) for night in (0, 1)
    ]
    # Where there are fewer nights than pictures, a night has several.
    assert len(await samples.sample_pictures(services, job, count=9)) == 9
    # In the lake they are as large as the photographs.
    uri = (await report.write_report(services, job)).uri
    pictures = sorted(Path(uri).parent.glob("sample-*.jpg"))
    assert len(pictures) == report.PICTURES
    assert {Image.open(io.BytesIO(one.read_bytes())).size for one in pictures} == {(1500, 60)}


async def test_a_picture_that_cannot_be_drawn_is_told_in_its_place(
    services: Services, project: str, tmp_path: Path
) -> None:
    """S3: it was left out without a word."""
    path = tmp_path / "a|b.jpg"
    path.write_bytes(b"no picture")
    gone = (tmp_path / "gone.jpg").as_uri()
    job = await job_with(services, project, [("pond", DUSK, 1, path.as_uri()), ("pond", DUSK, 1, gone)])
    reader = seen(Path((await report.write_report(services, job)).uri).read_text())
    assert "pond, 2026-06-01, a%7Cb.jpg: 1 detection; no picture: not an image" in reader.text
    assert "gone.jpg: 1 detection; no picture: no such file" in reader.text
    assert "img" not in reader.elements
