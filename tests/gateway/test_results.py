"""What submitters read of a job that is over."""

import asyncio
import io
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import requests
from PIL import Image

from antenna_orchestration import errors
from antenna_orchestration.domain.access import Role
from antenna_orchestration.gateway import ranges
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, file_job, http_worker, token
from tests.gateway.http_worker import session, working
from tests.waiting import eventually


async def test_results_of_a_job_are_read_over_http(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file in files:
        Image.new("RGB", (40, 80)).save(file)
    slug = f"e-{project}"[:60]
    worker = await http_worker(services, gateway, project, slugs=(slug,))
    await asyncio.to_thread(worker.register)
    job = await file_job(services, project, files, slug=slug)
    url = f"{gateway.base}/jobs/{job.job_id}/results"
    secret = await token(services, project, role=Role.SUBMITTER)

    def get(path: str, token: str = secret, **headers: str) -> requests.Response:
        with session(token) as http:
            return http.get(f"{url}{path}", headers=headers, timeout=60)

    early = await asyncio.to_thread(get, "/")
    assert early.status_code == 409 and "has no results yet" in early.json()["detail"]
    async with collected(services, job):
        with working(worker):

            async def done() -> bool:
                return (await services.catalog.images.count(job.job_id)).done == len(files)

            await eventually(done, description="all images done")

    def read() -> None:
        listed = get("").json()
        tables = {table["name"]: table for table in listed["tables"]}
        (file,) = tables["detections"]["parquet"]
        path = f"/detections/{file['name']}"
        assert file["url"] == f"{url}{path}"
        whole = get(path)
        assert len(whole.content) == file["bytes"] == int(whole.headers["content-length"])
        assert pq.read_table(io.BytesIO(whole.content)).num_rows == len(files)
        rest = get(path, Range="bytes=100-", **{"If-Range": whole.headers["etag"]})
        assert rest.status_code == 206 and whole.content[:100] + rest.content == whole.content
        assert rest.headers["content-range"] == f"bytes 100-{file['bytes'] - 1}/{file['bytes']}"
        assert get(path, Range="bytes=100-", **{"If-Range": '"another"'}).content == whole.content
        assert get(path, Range=f"bytes={file['bytes']}-").status_code == 416
        text = get("/detections.csv/")
        assert text.headers["content-type"].startswith("text/csv") and len(text.text.splitlines()) == 1 + len(files)
        # The worker says no sizes, as the contract has none; the gateway reads them from the files' headers.
        images = get("/megadetector.json").json()["images"]
        assert [image["file"] for image in images] == ["0.jpg", "1.jpg", "2.jpg"]
        assert images[0]["detections"][0]["bbox"] == [0.25, 0.25, 0.5, 0.25]
        for wrong in ("/detections/part-g9-00000.parquet", "/detections/..%2f..%2fx", "/_parts.csv", "/manifest.csv"):
            assert get(wrong).status_code in (400, 404), wrong
        # Neither workers nor other projects' submitters see them.
        assert get("/", worker.token).status_code == 403
        assert get(path, stranger).status_code == get("/megadetector.json", stranger).status_code == 404

    stranger = await token(services, f"{project[:50]}-other", role=Role.SUBMITTER)
    await asyncio.to_thread(read)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", None), ("bytes=0-", (0, 10)), ("bytes=2-4", (2, 5)), ("bytes=2-99", (2, 10)), ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)), ("bytes=4-2", None), ("bytes=1-2,5-6", None), ("bytes=-", None), ("lines=1-2", None),
        ("bytes=٣-", None),
    ],
)  # fmt: skip
def test_ranges_as_the_standard_reads_them(header: str, part: tuple[int, int] | None) -> None:
    assert ranges.asked_for(header, 10) == part


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=-0", "bytes=99-100"])
def test_a_range_beyond_the_file_is_refused(header: str) -> None:
    with pytest.raises(errors.RangeNotSatisfiable):
        ranges.asked_for(header, 10)
