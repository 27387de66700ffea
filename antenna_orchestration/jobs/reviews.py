"""The Dagster job that imports what people say detections are."""

import dagster as dg
from pydantic import Field

from antenna_orchestration.answers import reviews as verb
from antenna_orchestration.answers.named_files import allowed, content_of
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain import terminal, who
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.refusals import check_range, told_in_one_line
from antenna_orchestration.resources.stores import Stores


class ReviewsConfig(dg.Config):
    """Which file to import: the same as the options of `antenna reviews import`."""

    file: str = Field(
        description="Label Studio's export as JSON, or a CSV file with the columns detection_id, label and, if wanted, "
        "reviewer and reviewed_at; it lies on the machine that runs Dagster."
    )
    project: str | None = Field(default=None, description="Take reviews of this project only; not given: of any.")
    job: int | None = Field(
        default=None, description="Job of the detections, for ids such as 1007-0 that do not name it."
    )
    reviewer: str = Field(default="", description="Who it was, where the file does not say.")


@dg.op
def import_file(context: dg.OpExecutionContext, config: ReviewsConfig, stores: Stores) -> None:
    """Import all of a file of reviews, or nothing; the same file again adds nothing."""
    with told_in_one_line():
        check_range("job", config.job, 1, 2**63 - 1)
        content = content_of(allowed(config.file, stores.settings.image_roots), verb.MOST_BYTES)
        imported = stores.call(
            lambda services: verb.import_file(
                services,
                content,
                name=config.file,
                project=config.project,
                job=None if config.job is None else JobId(config.job),
                reviewer=config.reviewer,
                imported_by=who.dagster_run(context.run_id),
            )
        )
    for note in imported.notes:
        context.log.info(terminal.line(note))
    context.log.info(f"{counted(imported.added, 'review')} added, {imported.reviews - imported.added:,} known before")
    context.add_output_metadata({"reviews": imported.reviews, "added": imported.added})


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def import_reviews() -> None:
    """Import what people say detections are, as `antenna reviews import` does; derive the tables again after it."""
    import_file()
