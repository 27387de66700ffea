"""One image of a job, as `antenna jobs show --image` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from antenna_orchestration.cli import output

if TYPE_CHECKING:
    from antenna_orchestration.processing.image_life import ImageLife


def show(life: ImageLife, *, as_json: bool) -> None:
    """Print what is known of the image."""
    if as_json:
        output.as_json(life.as_dict())
        return
    row = life.row
    values = {
        "image": f"{row.image_id} of job {life.job.job_id}",
        "url": row.url,
        "now": life.now,
        "generation": row.generation if row.generation > 1 else None,
        "not recorded": list(life.unknown) or None,
    }
    output.show_pairs(values)
    rows = [
        (output.clock(moment.at) if moment.at is not None else "?", moment.what, moment.detail)
        for moment in life.moments
    ]
    output.show_table(("WHEN", "WHAT", ""), rows, wraps=("",))
