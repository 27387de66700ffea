"""Which runs of workers are taken for lost; the sensor at work is in tests/scale/test_remote_workers.py."""

from pathlib import Path

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.resources.run_states import SILENT_AFTER, START_GRACE
from antenna_orchestration.sensors.lost_runs import silent_since

NOW = 1_000_000.0
LONG_AGO = NOW - 10 * START_GRACE


def test_a_run_is_silent_from_when_it_was_first_seen_so() -> None:
    begun = {"loud": LONG_AGO, "silent": LONG_AGO, "young": NOW - START_GRACE / 2}
    first = silent_since(begun, {"loud"}, {}, NOW)
    assert first == {"silent": NOW}
    later = NOW + SILENT_AFTER
    assert silent_since({"silent": LONG_AGO}, set(), first, later) == {"silent": NOW}


def test_a_run_that_began_in_the_future_is_silent_from_now() -> None:
    """The clock was set back; one that is only a little ahead is another machine's."""
    begun = {"dead": NOW + 7200, "ahead": NOW + START_GRACE / 2}
    assert silent_since(begun, set(), {}, NOW) == {"dead": NOW}
    assert silent_since(begun, {"dead"}, {}, NOW) == {}
    # Since when it was silent was noted before the clock was set back.
    assert silent_since({"dead": LONG_AGO}, set(), {"dead": NOW + 7200}, NOW) == {"dead": NOW}


def test_who_is_heard_again_begins_anew() -> None:
    begun = {"run": LONG_AGO}
    assert silent_since(begun, {"run"}, {"run": NOW - 40}, NOW) == {}
    assert silent_since(begun, set(), {}, NOW + 15) == {"run": NOW + 15}


def test_a_run_that_is_over_is_forgotten() -> None:
    assert silent_since({}, set(), {"run": NOW - 40}, NOW) == {}


@pytest.mark.parametrize(
    "locations",
    ["gpu-1", "gpu-1=10.0.0.12", "gpu-1=10.0.0.12:grpc", "antenna=10.0.0.12:4100", "a=h:1,a=h:2", "Gpu 1=h:1"],
)
def test_locations_that_cannot_be_meant(locations: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTENNA_WORKER_LOCATIONS", locations)
    with pytest.raises(errors.InvalidSetting, match="WORKER_LOCATIONS"):
        settings.load(home=tmp_path)


def test_locations_are_a_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTENNA_WORKER_LOCATIONS", "gpu-1=10.0.0.12:4100, gpu-2=gpu2.example.org:4100")
    assert settings.load(home=tmp_path).worker_locations == ("gpu-1=10.0.0.12:4100", "gpu-2=gpu2.example.org:4100")
