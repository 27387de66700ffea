"""The images of jobs: which are to be published, what became of each, and the ledger of images already processed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.catalog import queries
from antenna_orchestration.catalog.database import Database, Row, all_rows
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import given_boxes
from antenna_orchestration.domain.ids import ImageId, JobId, JobRun
from antenna_orchestration.domain.job import Counts, ImageStatus, ImageToPublish
from antenna_orchestration.domain.messages import GivenBox

_LOOKED_UP_AT_ONCE: Final = 10_000
"""Files that one statement looks up."""


class ImageOutcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one image, as the collector commits it."""

    image: ImageId
    status: str
    part: str | None
    attempts: int
    reason: str | None
    retryable: bool
    width: int | None
    height: int | None
    detections: int
    classifications: int
    worker: str
    seconds: float | None = None
    # By the worker's or the gateway's clock; None when that is not known.
    leased_at: datetime | None = None
    posted_at: datetime | None = None
    # Whether the result names other algorithms than the job was submitted with.
    by_others: bool = False


class ImageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a job as the catalog has it."""

    image_id: ImageId
    ordinal: int
    generation: int
    status: ImageStatus
    attempts: int
    reason: str | None
    part: str | None
    detections: int
    classifications: int
    worker: str | None
    leased_at: datetime | None
    posted_at: datetime | None
    finished_at: datetime | None
    url: str
    # Whether its task was published in this generation.
    is_published: bool


class PartOfImages(NamedTuple):
    """The images whose rows a part holds."""

    images: list[ImageId]
    # Of the pipeline; None for jobs from before it was recorded.
    version: str | None


class Images:
    """The images of all jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def to_publish(self, job_run: JobRun, *, after: int, limit: int) -> list[ImageToPublish]:
        """The next pending images after an ordinal, in order."""
        wanted = {**job_run._asdict(), "after": after, "limit": limit}
        async with self._database.transaction() as connection:
            await connection.execute(queries.load("in_index_order"))
            cursor = await connection.execute(queries.load("images_to_publish"), wanted)
            return [ImageToPublish(*row.values()) for row in await cursor.fetchall()]

    async def to_publish_again(self, job_run: JobRun, images: Sequence[ImageId]) -> list[ImageToPublish]:
        """Those of the images that are still pending, in order."""
        rows = await self._database.rows("images_to_publish_again", **job_run._asdict(), images=list(images))
        return [ImageToPublish(*row.values()) for row in rows]

    async def pending(self, job_run: JobRun, *, upto: int) -> set[ImageId]:
        """The pending images up to an ordinal."""
        rows = await self._database.rows("pending_images", **job_run._asdict(), upto=upto)
        return {ImageId(row["image_id"]) for row in rows}

    async def states(self, job_run: JobRun, images: Iterable[ImageId]) -> dict[ImageId, ImageStatus]:
        """The status of each of the images that belongs to this generation; empty if a later one is present."""
        rows = await self._database.rows("image_states", **job_run._asdict(), images=list(images))
        return {ImageId(row["image_id"]): ImageStatus(row["status"]) for row in rows}

    async def commit(self, job_run: JobRun, outcomes: Sequence[ImageOutcome]) -> dict[ImageId, ImageStatus]:
        """Commit outcomes; idempotent.

        Returns the images whose status this call changed, with their status before. The others are repetitions.
        """
        # One JSON text: psycopg takes three times as long to write the same as arrays.
        written = msgspec.json.encode(outcomes).decode()
        rows = await self._database.rows("commit_images", **job_run._asdict(), outcomes=written)
        return {image: ImageStatus(row["was"]) for row in rows for image in row["images"]}

    async def likely_copies(self, project: str, images: Sequence[SubmittedImage]) -> int:
        """How many of these local files are new, at a path where one of the same size is known by another time."""
        files = [(image.uri, image.version) for image in images if image.version and image.uri.startswith("file:")]
        found = 0
        for start in range(0, len(files), _LOOKED_UP_AT_ONCE):
            urls, versions = zip(*files[start : start + _LOOKED_UP_AT_ONCE], strict=True)
            row = await self._database.row(
                "count_likely_copies", project=project, urls=list(urls), versions=list(versions)
            )
            found += row["images"] if row else 0
        return found

    async def count(self, job_id: JobId) -> Counts:
        """Count the job's images by state."""
        row = await self._database.row("count_images", job=job_id)
        return Counts(**(row or {}))

    async def manifest(
        self, job_id: JobId, *, only: ImageStatus | None = None, chunk: int = 10_000
    ) -> AsyncIterator[list[Row]]:
        """All images of the job in order, or those of one status, in chunks of `chunk` rows to bound memory.

        Between two chunks neither a connection nor a transaction is held: who reads may take its time, or stop.
        """
        after = 0
        while True:
            wanted = {"job": job_id, "only": only, "after": after, "limit": chunk}
            async with self._database.transaction() as connection:
                await connection.execute(queries.load("in_index_order"))
                rows = await all_rows(connection, "job_manifest", **wanted)
            if rows:
                yield rows
                after = rows[-1]["ordinal"]
            if len(rows) < chunk:
                return

    async def by_part(self, job_id: JobId) -> dict[str, list[ImageId]]:
        """The done images whose rows no final table holds yet, grouped by the part that holds them."""
        return {part: found.images for part, found in (await self.parts(job_id)).items()}

    async def parts(self, job_id: JobId) -> dict[str, PartOfImages]:
        """The same, with the version of the pipeline that each part's images were done with."""
        rows = await self._database.rows("part_of_images", job=job_id)
        return {row["part"]: PartOfImages(row["images"], row["version"]) for row in rows}

    async def reset_part(self, job_run: JobRun, part: str) -> set[ImageId]:
        """Make the images of an unreadable part pending again. Returns them."""
        rows = await self._database.rows("reset_images_of_part", **job_run._asdict(), part=part)
        return {ImageId(row["image_id"]) for row in rows}

    async def boxes(self, job_id: JobId, images: Iterable[ImageId]) -> dict[ImageId, list[GivenBox]]:
        """The boxes that these images of a job were given; images without any have an empty list."""
        rows = await self._database.rows("boxes_of_images", job=job_id, images=list(images))
        return {ImageId(row["image_id"]): given_boxes.unpacked(row["boxes"]) for row in rows}

    async def done(self, job_id: JobId) -> dict[ImageId, SubmittedImage]:
        """The done images of a job, as they would be submitted again, in order."""
        return {
            ImageId(row["image_id"]): SubmittedImage(
                row["url"],
                row["captured_at"],
                row["deployment"],
                row["version"],
                link=row["link"],
                stamp=row["stamp"],
                stamp_offset=row["stamp_offset"],
            )
            for row in await self._database.rows("done_images", job=job_id)
        }

    async def add_processed(self, job_id: JobId) -> None:
        """Add the job's done images to the ledger of which algorithms have processed which images; idempotent.

        Those are the algorithms and the digest that the image's generation was opened with. Images whose results name
        others are left out.
        """
        await self._database.rows("number_digests", job=job_id)
        await self._database.rows("add_processed", job=job_id)

    async def find(self, job_id: JobId, image: ImageId) -> ImageRow | None:
        """The image as one of the job; None when it is none."""
        row = await self._database.row("image_of_job", job=job_id, image=image)
        return ImageRow(**{**row, "status": ImageStatus(row["status"])}) if row else None

    async def get_url(self, image: ImageId) -> str:
        """The URL of a capture. Raises `NotFound`."""
        row = await self._database.row("get_capture", image=image)
        if row is None:
            raise errors.NotFound(f"there is no image {image}")
        return str(row["url"])
