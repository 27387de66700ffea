"""Moments in time."""

from __future__ import annotations

from datetime import UTC, datetime


def with_zone(moment: datetime) -> datetime:
    """The moment in its own time zone, whatever its date; one without a time zone is taken as UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def in_utc(moment: datetime) -> datetime:
    """The moment in UTC; one without a time zone is taken as UTC. Raises `OverflowError` at the calendar's ends."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
