"""What stores say about an image, and which version that is (A2)."""

from datetime import UTC, datetime

import pytest

from antenna_orchestration.domain import versions
from antenna_orchestration.domain.algorithms import ran_others, why_other
from antenna_orchestration.domain.ids import Generation, ImageId, JobId
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, Result

STAMP = "Wed, 21 Oct 2015 07:28:00 GMT"
MOMENT = datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
NS = 1_718_000_000_000_000_000


@pytest.mark.parametrize(
    ("headers", "size", "version", "modified"),
    [
        ({"ETag": '"abc"', "Last-Modified": STAMP}, 5, "abc", MOMENT),
        ({"ETag": 'W/"abc"'}, None, "abc", None),
        ({"Last-Modified": STAMP}, 5, f"{STAMP}-5", MOMENT),
        ({"Last-Modified": STAMP}, None, "", MOMENT),
        ({"Last-Modified": "yesterday"}, 5, "", None),
        ({"ETag": '"' + "x" * 400 + '"'}, 5, "", None),
        ({}, 5, "", None),
    ],
)
def test_a_web_server_tells_a_version(
    headers: dict[str, str], size: int | None, version: str, modified: datetime | None
) -> None:
    assert versions.of_answer(headers, size)[:2] == (version, modified)


def test_the_same_bytes_in_a_bucket_are_one_version() -> None:
    """A2: an upload of the same bytes is known, whenever it was made."""
    first = versions.of_object({"ETag": '"abc"', "size": 5, "LastModified": MOMENT})
    again = versions.of_object({"ETag": '"abc"', "size": 5, "LastModified": datetime.now(UTC)})
    assert first.version == again.version == "abc-5"
    assert versions.of_object({"size": 5}).version == versions.UNKNOWN


@pytest.mark.parametrize(
    ("submitted", "found", "changed"),
    [
        (f"5-{NS}", f"5-{NS}", False),
        (f"5-{NS}", f"6-{NS}", True),
        # A share shows whole seconds, or two.
        (f"5-{NS + 999_999_999}", f"5-{NS}", False),
        (f"5-{NS}", f"5-{NS + 10**10}", True),
        ("", f"5-{NS}", False),
        ("abc-5", "", False),
        ("abc-5", "abd-5", True),
        ("abc-2-5", "abc-2-6", True),
    ],
)
def test_a_store_has_other_bytes(submitted: str, found: str, changed: bool) -> None:
    assert versions.have_changed(submitted, found) is changed


def result(*named: AlgorithmRef, told: list[AlgorithmRef] | None = None, outcome: str = "done") -> Result:
    classifications = [Classification(algorithm=one, label="x", score=0.5) for one in named[1:]]
    found = [
        Detection(box=(0, 0, 1, 1), score=0.5, algorithm=one, classifications=classifications) for one in named[:1]
    ]
    return Result(
        job=JobId(1), generation=Generation(1), image=ImageId(1), worker="w", delivery=1,
        outcome=outcome, detections=found, algorithms=told or [],  # type: ignore[arg-type]
    )  # fmt: skip


FINDS, NAMES, NEWER, ALIEN = (
    AlgorithmRef("finds", "1"),
    AlgorithmRef("names", "1"),
    AlgorithmRef("names", "2"),
    AlgorithmRef("alien", "1"),
)


@pytest.mark.parametrize(
    ("came", "others"),
    [
        (result(FINDS, NAMES), False),
        (result(FINDS), False),
        (result(), False),
        (result(FINDS, NEWER), True),
        (result(ALIEN), True),
        (result(FINDS, ALIEN), False),
        (result(told=[FINDS, NAMES]), False),
        (result(told=[FINDS, NEWER]), True),
        (result(told=[FINDS]), True),
        (result(FINDS, NEWER, outcome="failed"), False),
    ],
)
def test_a_result_of_other_algorithms_is_recognized(came: Result, others: bool) -> None:
    """C1: the ledger may not say that an algorithm saw an image which another one saw."""
    assert ran_others(came, frozenset({FINDS, NAMES})) is others
    assert not ran_others(came, frozenset())


def test_a_worker_of_another_version_says_why_it_leaves_a_job() -> None:
    """C1: an older or newer worker does not take tasks of a version that it does not have."""
    asked = ("2", [FINDS, NEWER])
    assert why_other("moths", asked, ("2", [FINDS, NEWER])) is None
    assert "moths 2 (finds 1, names 2), here is 1 (finds 1)" in str(why_other("moths", asked, ("1", [FINDS])))
    assert why_other("moths", asked, ("2", [FINDS, NAMES]))
