"""Which stores this worker can load from."""

from __future__ import annotations

from antenna_orchestration.settings import Settings


def reaches(settings: Settings) -> tuple[str, ...]:
    """Source kinds that this worker can load; a `*` at the end stands for any ending."""
    return tuple(dict.fromkeys(("http", "s3:*", f"file:{settings.host_id}", *settings.worker_reaches)))
