import pytest

from antenna_orchestration import errors
from antenna_orchestration.contract import statuses
from antenna_orchestration.domain.job import JobStatus


@pytest.mark.parametrize("status", JobStatus)
def test_every_status_is_found_by_its_name_on_the_wire(status: JobStatus) -> None:
    assert status in statuses.from_wire(statuses.WIRE[status])


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(errors.InvalidInput, match=r"there is no status 'DONE'; there are: .*REVOKED"):
        statuses.from_wire("DONE")
