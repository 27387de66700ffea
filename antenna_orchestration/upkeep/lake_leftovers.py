"""Leftovers in the lake: parts that no table is made from, drafts of dead writers, rows so far of jobs that ended.

Nothing of a job that is not over is touched, and no part that the catalog names: a retry of a canceled job goes on from
its parts. Parts of jobs that the catalog does not know stay, too, for another deployment may use the lake.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from antenna_orchestration.answers import kept_downloads
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.processing.services import Services


@dataclass(slots=True)
class LakeLeftovers:
    """How many things were looked at, and a line for each that was deleted."""

    checked: int = 0
    cleared: list[str] = field(default_factory=list)
    # What the lake refused to delete.
    kept: list[str] = field(default_factory=list)


async def clear(services: Services, *, dry_run: bool = False) -> LakeLeftovers:
    """Delete what is left over; with `dry_run` only say so. Raises `Unavailable`."""
    found = LakeLeftovers()
    lake = services.lake
    with_parts = await asyncio.to_thread(lake.jobs_with_parts)
    compacted = await services.catalog.jobs.compacted(with_parts)
    for job_id in sorted(with_parts):
        if job_id in compacted:
            found.checked += 1
            if dry_run or await asyncio.to_thread(lake.drop_parts, job_id):
                found.cleared.append(f"job {job_id}: its parts deleted, the final tables hold their rows")
            else:
                found.kept.append(f"job {job_id}: its parts cannot be deleted from {lake.uri}")
        else:
            await _clear_unnamed(services, job_id, found, dry_run=dry_run)
    with_rows = await asyncio.to_thread(kept_downloads.jobs_so_far, lake)
    ended = await services.catalog.jobs.compacted(with_rows) if with_rows else set()
    for job_id in sorted(ended):
        found.checked += 1
        if not dry_run:
            await asyncio.to_thread(kept_downloads.drop_so_far, lake, job_id)
        found.cleared.append(f"job {job_id}: the rows so far that were made for downloads deleted, it has final tables")
    for job_id in sorted(with_rows - ended):
        old = await asyncio.to_thread(kept_downloads.old_so_far, lake, job_id)
        if old and not dry_run:
            await asyncio.to_thread(kept_downloads.drop_old, lake, job_id)
        if old:
            found.checked += 1
            found.cleared.append(f"job {job_id}: rows so far that were made for downloads deleted, they are old")
    drafts = await asyncio.to_thread(lake.lost_drafts)
    if drafts:
        found.checked += len(drafts)
        if not dry_run:
            await asyncio.to_thread(lake.drop, drafts)
        found.cleared.append(
            f"{counted(len(drafts), 'unfinished file')} of the lake deleted, left by writers that died"
        )
    return found


async def _clear_unnamed(services: Services, job_id: JobId, found: LakeLeftovers, *, dry_run: bool) -> None:
    """Delete parts of a job that is over and was canceled or given up, if the catalog does not name them.

    In this order no part is deleted that will be named: what is listed was written before the job was seen to be over,
    and an image is committed only while its job is not.
    """
    written = await asyncio.to_thread(services.lake.parts, job_id)
    job = await services.catalog.jobs.find(job_id)
    if job is None or not job.status.is_terminal:
        return
    found.checked += 1
    named = await services.catalog.images.by_part(job_id)
    unnamed = written - set(named)
    if not unnamed:
        return
    if not dry_run:
        for part in sorted(unnamed):
            await asyncio.to_thread(services.lake.drop_part, job_id, part)
        if not named:
            await asyncio.to_thread(services.lake.drop_parts, job_id)
    found.cleared.append(f"job {job_id}: {counted(len(unnamed), 'part')} deleted that no image counts for")
