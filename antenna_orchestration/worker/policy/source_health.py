"""Whose fault a failed load is, and which jobs and hosts rest on this worker. Pure: clock and dice are handed in.

The image's own fault ends it at once. A passing fault hands it back with a delay, and many in a row from one host rest
that host. What is forbidden here, or has no route from here, is this worker's fault: the job rests, until an image that
failed can be loaded again. One forbidden image among many good ones is not: it ends as failed after a few attempts.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts

logger = logging.getLogger(__name__)

HOST_PATIENCE: Final = 20
"""Failures in a row after which a host rests."""

HOST_REST: Final = 30.0
"""Seconds that it rests."""

JOB_PATIENCE: Final = 3
"""Forbidden images in a row after which a job rests that this worker could load from before."""

FIRST_JOB_REST: Final = 15.0
LONGEST_JOB_REST: Final = 300.0
"""Seconds until an image of a resting job is tried again, without a lease; doubled while it stays forbidden."""

TRIAL_EVERY: Final = 4
"""After so many vain tries a single task is leased, in case that others of the job are not forbidden."""

ONE_OF_MANY: Final = 3
"""Delivery from which a forbidden image fails when others of its job are loaded: its turn has come round before."""

_REMEMBERED: Final = 3
_JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class HandBack:
    """Offer the task to everybody again, after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Publish the failure."""

    reason: str
    retryable: bool


@dataclass(slots=True)
class _Host:
    streak: int = 0
    streak_since: float = 0.0
    rests_until: float = 0.0


@dataclass(slots=True)
class _Job:
    loaded_at: float = float("-inf")
    forbidden: int = 0
    # Images that were forbidden, to be tried again.
    uris: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    rests_until: float = 0.0
    rest: float = FIRST_JOB_REST
    tries: int = 0
    on_trial: bool = False
    hosts: set[str] = field(default_factory=set)
    warned: bool = False


class SourceHealth:
    """How the jobs and the hosts of their images fare on this worker."""

    def __init__(self, *, max_attempts: int, dice: random.Random) -> None:
        self._max_attempts = max_attempts
        self._dice = dice
        self._hosts: dict[str, _Host] = {}
        self._jobs: dict[Hashable, _Job] = {}

    def loaded(self, job: Hashable, host: str, now: float) -> None:
        """An image of the job came from the host: whatever rested may go on."""
        state = self._job(job)
        state.loaded_at = now
        state.hosts.add(host)
        if state.forbidden or state.rests_until:
            self._forgive(state)
        self._hosts.pop(host, None)

    def failed(
        self, job: Hashable, host: str, uri: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        """An image of the job could not be loaded: what becomes of its task."""
        if isinstance(error, errors.ImageForbidden):
            return self._forbidden(job, uri, error, delivery=delivery, now=now)
        if isinstance(error, errors.ImageUnreachable):
            return self._unreachable(job, host, error, delivery=delivery, now=now)
        return Fail(str(error), retryable=False)

    def host_rests(self, host: str, now: float) -> float:
        """Seconds that the host still rests; 0 when it does not."""
        state = self._hosts.get(host)
        return max(0.0, state.rests_until - now) if state else 0.0

    def job_rests(self, job: Hashable, now: float) -> bool:
        """Whether no task of the job is to be leased now."""
        state = self._jobs.get(job)
        if state is None or state.on_trial:
            return False
        return state.rests_until > 0 or any(self._blocks(host, state, now) for host in state.hosts)

    def is_on_trial(self, job: Hashable) -> bool:
        """Whether a single task of the job is leased to see how it fares."""
        state = self._jobs.get(job)
        return state is not None and state.on_trial

    def due(self, now: float) -> list[tuple[Hashable, list[str]]]:
        """Jobs whose rest is over, with images that were forbidden; report with `tried` whether one can be loaded."""
        return [
            (job, list(state.uris))
            for job, state in self._jobs.items()
            if 0 < state.rests_until <= now and not state.on_trial
        ]

    def tried(self, job: Hashable, *, loadable: bool, now: float) -> None:
        """Images of a resting job were tried again, without a lease."""
        state = self._jobs.get(job)
        if state is None:
            return
        if loadable:
            self._forgive(state)
            return
        state.tries += 1
        state.on_trial = state.tries % TRIAL_EVERY == 0
        state.rest = min(state.rest * 2, LONGEST_JOB_REST)
        state.rests_until = now + state.rest

    def forget(self, jobs: set[Hashable]) -> None:
        """Keep only what is known of these jobs."""
        for job in self._jobs.keys() - jobs:
            del self._jobs[job]

    def _unreachable(
        self, job: Hashable, host: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        self._job(job).hosts.add(host)
        state = self._hosts.setdefault(host, _Host(streak_since=now))
        state.streak += 1
        if state.streak >= HOST_PATIENCE:
            if state.rests_until <= now:
                logger.warning(
                    "%s: %d failures in a row, resting it for %.0f s: %s", host, state.streak, HOST_REST, error
                )
            state.rests_until = now + HOST_REST
        if attempts.is_final(delivery, self._max_attempts):
            return Fail(f"{error} (attempt {delivery})", retryable=True)
        return HandBack(self._jittered(max(attempts.retry_delay(delivery), self.host_rests(host, now))))

    def _forbidden(
        self, job: Hashable, uri: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        state = self._job(job)
        loaded_before = state.loaded_at > float("-inf")
        if loaded_before and not state.forbidden and delivery >= ONE_OF_MANY:
            return Fail(str(error), retryable=True)
        state.forbidden += 1
        if uri not in state.uris:
            state.uris.append(uri)
        if state.on_trial or not loaded_before or state.forbidden >= JOB_PATIENCE:
            state.on_trial = False
            state.rests_until = max(state.rests_until, now + state.rest)
            if not state.warned:
                state.warned = True
                logger.warning("job %s rests on this worker: %s", _shown(job), error)
        return HandBack(self._jittered(max(attempts.retry_delay(delivery), FIRST_JOB_REST)))

    def _job(self, job: Hashable) -> _Job:
        state = self._jobs.get(job)
        if state is None:
            state = self._jobs[job] = _Job()
        return state

    def _forgive(self, state: _Job) -> None:
        state.forbidden = state.tries = 0
        state.uris.clear()
        state.rests_until = 0.0
        state.rest = FIRST_JOB_REST
        state.on_trial = False

    def _blocks(self, host: str, state: _Job, now: float) -> bool:
        """Whether a resting host is all that the job has been loading from lately."""
        resting = self._hosts.get(host)
        return resting is not None and resting.rests_until > now and state.loaded_at < resting.streak_since

    def _jittered(self, seconds: float) -> float:
        return seconds * self._dice.uniform(1 - _JITTER, 1 + _JITTER)


def _shown(job: Hashable) -> str:
    return ", generation ".join(map(str, job)) if isinstance(job, tuple) else str(job)
