"""Slugs become tokens of NATS subjects: nothing else may pass."""

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import ids


@pytest.mark.parametrize("text", ["a", "0", "default", "light-trap", "moths_2024", "a" * 64])
def test_slugs(text: str) -> None:
    assert ids.slug(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-a",
        "_a",
        "A",
        "a b",
        "a.b",
        "a*",
        ">",
        "a/b",
        "é",
        "٣",
        "a" * 65,
        "default\n",
        "\ndefault",
        "a\x00",
        "../a",
    ],
)
def test_what_is_no_slug(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match="project"):
        ids.slug(text, "project")


@pytest.mark.parametrize("job", [1, 7, 9_223_372_036_854_775_807])
def test_a_partition_names_its_job(job: int) -> None:
    assert ids.job_of_partition(ids.partition_key(ids.JobId(job))) == job


@pytest.mark.parametrize("key", ["", "7", "job-", "job-0", "job-07", "job-x", "job--1", "job-7-2", "Job-7", "job-7\n"])
def test_what_is_no_partition(key: str) -> None:
    with pytest.raises(errors.InvalidInput):
        ids.job_of_partition(key)
