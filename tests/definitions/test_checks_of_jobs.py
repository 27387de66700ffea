"""The asset checks of a job's tables."""

import dataclasses

from antenna_orchestration.assets import job_assets
from antenna_orchestration.domain.job import Counts
from tests.exports.test_formats import JOB


def test_each_check_of_a_jobs_tables_is_able_to_fail() -> None:
    """C2: rows that were lost or doubled between part and table, and too many failed images."""
    counts = Counts(total=4, done=3, failed=1, detections=5, classifications=6)
    rows = {"captures": 4, "detections": 5, "classifications": 6, "failed_images": 1}

    def passed(counts: Counts, threshold: float = 0.5, **others: int) -> tuple[bool, bool]:
        tables = {name: {"dagster/row_count": count} for name, count in {**rows, **others}.items()}
        collected = job_assets._Collected(job=JOB, counts=counts, tables=tables)
        adds_up = job_assets._every_image_accounted_for(collected)
        rate = job_assets._failure_rate(collected, threshold=threshold)
        return adds_up.passed, rate.passed

    assert passed(counts) == (True, True)
    assert passed(counts, threshold=0.2) == (True, False)
    assert passed(dataclasses.replace(counts, done=2)) == (False, True)
    for table in ("captures", "detections", "classifications"):
        assert passed(counts, **{table: rows[table] + 1}) == (False, True)
        assert passed(counts, **{table: rows[table] - 1}) == (False, True)
