"""S4: a job's configuration is bounded."""

from typing import Any

import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain import job_config


def nested(levels: int, *, in_lists: bool = False) -> dict[str, Any]:
    config: Any = {"a": 1}
    for _ in range(levels - 2):
        config = [config] if in_lists else {"a": config, "b": 2}
    return {"a": config}


@pytest.mark.parametrize("in_lists", [False, True])
def test_a_configuration_may_be_twenty_levels_deep(in_lists: bool) -> None:
    job_config.check(nested(job_config.MAX_DEPTH, in_lists=in_lists))
    for levels in (job_config.MAX_DEPTH + 1, 300, 100_000):
        with pytest.raises(errors.InvalidInput, match="nested more than 20 levels deep"):
            job_config.check(nested(levels, in_lists=in_lists))


def test_a_configuration_has_at_most_64_kib() -> None:
    job_config.check({})
    job_config.check({"text": "é" * (job_config.MAX_BYTES // 2 - 7)})
    with pytest.raises(errors.InvalidInput, match="the limit is 65536"):
        job_config.check({"text": "é" * (job_config.MAX_BYTES // 2)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes", {1, 2}, object()])
def test_what_json_lacks_is_refused(value: object) -> None:
    with pytest.raises(errors.InvalidInput, match="cannot be written as JSON"):
        job_config.check({"value": value})
