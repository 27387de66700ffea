"""Sunset and sunrise of a night at a place."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from antenna_orchestration.ecology.model import Place


def of_night(place: Place | None, night: date | None) -> tuple[datetime | None, datetime | None]:
    """The local times of the sunset in a night, from noon to noon, and of the sunrise after it.

    None where place, zone or night are not known, and where the sun does not set or rise in that night.
    """
    if place is None or place.zone is None or place.latitude is None or place.longitude is None or night is None:
        return None, None
    # Takes longer to import than to compute a night, and many deployments have no place.
    import astral
    import astral.sun

    observer = astral.Observer(place.latitude, place.longitude)
    try:
        noon = datetime(night.year, night.month, night.day, 12, tzinfo=place.zone).astimezone(UTC)
        end = noon + timedelta(days=1)
        days = [noon.date() + timedelta(days=offset) for offset in (-1, 0, 1, 2)]
    except OverflowError:
        return None, None
    found = []
    for event in (astral.sun.sunset, astral.sun.sunrise):
        moments = []
        for day in days:
            try:
                moments.append(event(observer, date=day, tzinfo=UTC))
            except ValueError:
                # Polar day or polar night.
                continue
        within = [moment for moment in moments if noon <= moment < end]
        found.append(within[0].astimezone(place.zone).replace(tzinfo=None, microsecond=0) if within else None)
    return found[0], found[1]
