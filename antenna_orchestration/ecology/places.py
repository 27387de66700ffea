"""When a photograph was taken: the one rule that makes a moment and a local time of the digits that a camera wrote.

    the file says its offset            the moment is certain
    else the clock showed UTC           the digits are UTC
    else the deployment has a zone      the digits are the time there
    else                                the moment is not known, and nothing is guessed: the digits stay

Before that, the shift of a deployment whose clock was wrong is added to the digits. The local time is the moment in the
deployment's zone, and without a zone the digits.

Where summer time begins, the clocks leave out an hour. A camera that did not follow has digits that never were: they
count with the offset from before the change, so that 02:30 is 03:30. Where summer time ends, an hour comes twice: the
digits are of the first, unless the order of the photographs says otherwise (`moments`).

`moment` is the rule for one photograph, `moments` the same for columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from antenna_orchestration.domain import nights
from antenna_orchestration.domain.texts import listed

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from antenna_orchestration.ecology.model import Place

_FIRST: Final = np.datetime64("1973-01-01T00:00:00", "us")
_LAST: Final = np.datetime64("2200-01-01T00:00:00", "us")
"""Between these, zones change at whole minutes of local time. What lies outside is a clock that was never set."""

_HALF_A_DAY: Final = np.timedelta64(12 * 3600 * 1_000_000, "us")

_MOST_FROM_SUN: Final = 4.0
"""Hours by which a zone's clocks may differ from the sun."""


class Moment(NamedTuple):
    """When a photograph was taken."""

    # In UTC; None if it is not known.
    captured_at: datetime | None
    # Without a zone: the time in the deployment's zone, or the camera's digits if that is not known.
    local_time: datetime


class Moments(NamedTuple):
    """When photographs were taken, as columns with the index of the stamps."""

    # datetime64[us, UTC]; NaT where the moment is not known.
    captured_at: pd.Series[Any]
    # datetime64[us]; NaT where there is no stamp.
    local_time: pd.Series[Any]


def is_moment(offset: int | None, place: Place | None) -> bool:
    """Whether digits with this offset (minutes east of UTC; None: the file says none) at this place are a moment."""
    return offset is not None or (place is not None and (place.zone is not None or place.clock == "utc"))


def about_unknown_zones(places: Iterable[Place], project: str) -> str:
    """A warning about places whose zone has a name that this machine does not know; empty if there are none."""
    names = [f"{place.deployment} ({place.time_zone})" for place in places if place.time_zone and place.zone is None]
    if not names:
        return ""
    return (
        f"this machine does not know the time zone of {listed(names)}: nothing is guessed, their times count as those "
        f"of deployments without one; `antenna deployments set NAME --time-zone ZONE --project {project}` names another"
    )


def is_far_from_zone(place: Place) -> bool:
    """Whether the place cannot lie in its zone, as where a minus sign is missing or latitude and longitude are swapped.

    Clocks differ from the sun by at most three hours, in the west of China. A fixed offset says nothing of the place.
    """
    name, zone = place.time_zone or "", place.zone
    if place.longitude is None or zone is None or "/" not in name or name.startswith("Etc/"):
        return False
    offset = datetime(2026, 1, 1, tzinfo=zone).utcoffset() or timedelta()
    by_sun = place.longitude / 15
    return abs((by_sun - offset / timedelta(hours=1) + 12) % 24 - 12) > _MOST_FROM_SUN


def moment(stamp: datetime, offset: int | None, place: Place | None, *, second: bool = False) -> Moment:
    """The moment and the local time of a stamp without zone, and its offset in minutes east of UTC, if it has one.

    With `second`, digits that come twice when summer time ends are of the second hour. At the calendar's two ends,
    where there is no such moment, it is not known.
    """
    try:
        local = shifted(stamp, place)
        at = _captured_at(local, offset, place, second=second)
        if at is None or place is None or place.zone is None:
            return Moment(at, local)
        return Moment(at, at.astimezone(place.zone).replace(tzinfo=None, fold=0))
    except OverflowError:
        return Moment(None, stamp)


def captured_at(stamp: datetime, offset: int | None, place: Place | None) -> datetime | None:
    """The moment alone, in a third of the time."""
    try:
        return _captured_at(shifted(stamp, place), offset, place)
    except OverflowError:
        return None


def shifted(stamp: datetime, place: Place | None) -> datetime:
    """The stamp as it would be if the clock had been right. Raises `OverflowError` at the calendar's ends."""
    return stamp + timedelta(seconds=place.shift_seconds) if place and place.shift_seconds else stamp


def moments(
    stamps: pd.Series[Any],
    offsets: pd.Series[Any],
    place: Place | None,
    *,
    sequence: Sequence[str] | pd.Series[Any] | None = None,
) -> Moments:
    """`moment` of each row: of a stamp (a time without zone, or null) and its offset (minutes, or null), at one place.

    `sequence` tells the two hours at the end of summer time apart: texts that sort as the photographs were taken, such
    as URLs with a counter. If the digits of one such hour go back exactly once in that order, what follows is of the
    second hour; if they never go back or often, the order says nothing. The order of the rows does not matter.
    """
    import pandas as pd

    digits: npt.NDArray[np.datetime64] = pd.Series(stamps).astype("datetime64[us]").to_numpy()
    minutes: npt.NDArray[np.float64] = pd.to_numeric(pd.Series(offsets)).to_numpy("float64", na_value=np.nan)
    shift = np.timedelta64((place.shift_seconds if place else 0) * 1_000_000, "us")
    local = digits + shift
    known = ~np.isnat(digits)
    usual = known & (local >= _FIRST) & (local < _LAST)
    # How far each is ahead of UTC.
    east = np.zeros(len(digits), "timedelta64[us]")
    with_offset = usual & ~np.isnan(minutes)
    east[with_offset] = (minutes[with_offset] * 60_000_000).astype("timedelta64[us]")
    certain = usual if is_moment(None, place) else with_offset
    if place and place.zone and place.clock == "local":
        by_zone = usual & ~with_offset
        if by_zone.any():
            east[by_zone] = _offsets(local[by_zone], place, None if sequence is None else np.asarray(sequence)[by_zone])
    at_utc = np.where(certain, local - east, np.datetime64("NaT", "us"))
    there = local.copy()
    if place and place.zone:
        aware = pd.Series(at_utc).dt.tz_localize("UTC").dt.tz_convert(place.zone)
        there = np.where(certain, aware.dt.tz_localize(None).to_numpy("datetime64[us]"), local)
    for row in np.flatnonzero(known & ~usual):
        one = digits[row].item()
        if isinstance(one, datetime):
            at, local_time = moment(one, None if np.isnan(minutes[row]) else int(minutes[row]), place)
            at_utc[row] = np.datetime64(at.replace(tzinfo=None), "us") if at else np.datetime64("NaT", "us")
            there[row] = np.datetime64(local_time, "us")
    index = stamps.index
    return Moments(pd.Series(at_utc, index=index).dt.tz_localize("UTC"), pd.Series(there, index=index))


def _captured_at(local: datetime, offset: int | None, place: Place | None, *, second: bool = False) -> datetime | None:
    if offset is not None:
        return (local - timedelta(minutes=offset)).replace(tzinfo=UTC)
    if place is None or (place.zone is None and place.clock != "utc"):
        return None
    if place.clock == "utc":
        return local.replace(tzinfo=UTC)
    return local.replace(tzinfo=place.zone, fold=int(second)).astimezone(UTC)


def nights_of(local_time: pd.Series[Any]) -> pd.Series[Any]:
    """The night of each local time, as dates: from noon to noon, named for its first day; None where it is null."""
    return local_time.map(lambda one: nights.night_of_local(one.to_pydatetime()), na_action="ignore").astype(object)


def _offsets(
    local: npt.NDArray[np.datetime64], place: Place, sequence: npt.NDArray[Any] | None
) -> npt.NDArray[np.timedelta64]:
    """How far east of UTC each of the local times is, asked once for each minute that occurs."""
    floors = local.astype("datetime64[m]")
    found, places = np.unique(floors, return_inverse=True)
    first = np.array([_east(one, place, second=False) for one in found], "timedelta64[us]")
    second = np.array([_east(one, place, second=True) for one in found], "timedelta64[us]")
    east: npt.NDArray[np.timedelta64] = first[places]
    # In a gap it is the other way round.
    twice = (second < first)[places]
    if sequence is not None and twice.any():
        is_second = np.zeros(len(local), bool)
        is_second[twice] = _in_second_hour(local[twice], sequence[twice])
        east[is_second] = second[places][is_second]
    return east


def _east(minute: np.datetime64, place: Place, *, second: bool) -> np.timedelta64:
    at = minute.astype("datetime64[us]")
    utc = _captured_at(at.item(), None, place, second=second)
    assert utc is not None
    east: np.timedelta64 = at - np.datetime64(utc.replace(tzinfo=None), "us")
    return east


def _in_second_hour(local: npt.NDArray[np.datetime64], sequence: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of these times, all of them hours that come twice, follow the one place at which the digits go back."""
    result = np.zeros(len(local), bool)
    days = (local - _HALF_A_DAY).astype("datetime64[D]")
    for day in np.unique(days):
        rows = np.flatnonzero(days == day)
        order = rows[np.lexsort((local[rows], sequence[rows].astype(str)))]
        [back] = np.nonzero(np.diff(local[order]) < np.timedelta64(0, "us"))
        if len(back) == 1:
            result[order[back[0] + 1 :]] = True
    return result
