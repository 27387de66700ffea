"""What happens after a failed load, and which jobs and hosts rest on this worker. Pure: time and dice are handed in.

It depends on the cause. The image itself (404, not an image): the task fails at once. A passing fault (time-out, 5xx):
the task is handed back with a delay, and after many such failures in a row from one host that host rests. This worker
(no rights, no route): the job rests here until one of its images can be loaded, one that failed or the one that is
leased after each rest. One forbidden image among many good ones does not rest its job: it fails after a few attempts.
Nor do jobs wait for ever for their last images: once others were done, here or elsewhere, forbidden ones are leased
again after each rest, and fail.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.domain import attempts, redaction
from antenna_orchestration.domain.backoff import Backoff
from antenna_orchestration.domain.ids import JobRun
from antenna_orchestration.worker.timing import Timing

logger = logging.getLogger(__name__)

HOST_PATIENCE: Final = 20
"""Failures in a row after which a host rests."""

HOST_REST: Final = 30.0
"""Seconds that it rests."""

JOB_PATIENCE: Final = 3
"""Forbidden images in a row after which a job rests whose images this worker could load before."""

JOB_REST: Final = Backoff(first=15.0, longest=300.0)
"""Seconds until an image of a resting job is tried again, without a lease; longer each time it is still forbidden."""

LONGEST_AT_THE_END: Final = 60.0
"""Longest rest in seconds of a job of which other images were done: each one ends in a trial, of twice as many tasks as
the one before, so that thousands of forbidden images end within the hour and one within a minute."""

LONGEST_REASON: Final = 200
"""Characters of a reason that heartbeats carry."""

MOST_TOLD: Final = 50
"""Jobs in one heartbeat that rest, and as many of which images cannot be reached."""

MOST_HOSTS: Final = 3
"""Hosts that are named for one job."""

ONE_OF_MANY: Final = 3
"""Delivery from which a forbidden image fails if other images of its job were done."""

MOST_DOUBLINGS: Final = 12
_REMEMBERED: Final = 3


@dataclass(frozen=True, slots=True)
class HandBack:
    """Offer the task to all workers again, after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Fail:
    """Publish the failure; `retryable` if a retry of the job may do better."""

    reason: str
    retryable: bool


@dataclass(slots=True)
class _Host:
    # Failures in a row, and when the first of them was.
    streak: int = 0
    streak_since: float = 0.0
    since: datetime | None = None
    rests_until: float = 0.0


@dataclass(slots=True)
class _Job:
    loaded_at: float = float("-inf")
    # In a row.
    forbidden: int = 0
    # Images that were forbidden, to be tried again.
    uris: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    # 0 when it does not rest.
    rests_until: float = 0.0
    # Failed tries in a row since it began to rest.
    tries: int = 0
    # Tasks to be leased one by one as probes.
    probes: int = 0
    # What the last forbidden image met, and since when the row lasts.
    reason: str = ""
    # Whether that was a disk that is away, so that no image fails for it.
    is_away: bool = False
    since: datetime | None = None
    hosts: set[str] = field(default_factory=set)
    # What the last image met that could not be reached, by host; the ones that are tried again.
    unreachable: dict[str, str] = field(default_factory=dict)
    warned: bool = False


class SourceHealth:
    """A circuit breaker per host and per job, for the sources of images as this worker sees them.

    A host opens after `HOST_PATIENCE` failures in a row and is half-open after `HOST_REST`: one more failure opens it
    again, one success closes it. A job opens when its images are forbidden here; it is probed with images that failed,
    without a lease (`due`, `tried`), and now and then with a single leased task (`is_on_trial`).

    Times are seconds by the worker's clock.
    """

    def __init__(self, *, max_attempts: int, timing: Timing) -> None:
        self._max_attempts = max_attempts
        self._timing = timing
        self._hosts: dict[str, _Host] = {}
        self._jobs: dict[JobRun, _Job] = {}
        self._with_done: Set[JobRun] = frozenset()
        self._announced_since: Mapping[JobRun, datetime] = {}

    def loaded(self, job_run: JobRun, host: str, now: float) -> None:
        """Record that an image of the job was loaded from the host: both stop resting."""
        state = self._job(job_run)
        state.loaded_at = now
        state.hosts.add(host)
        state.unreachable.pop(host, None)
        if state.forbidden or state.rests_until:
            self._forgive(state)
        self._hosts.pop(host, None)

    def failed(
        self, job_run: JobRun, host: str, uri: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        """Record that an image of the job could not be loaded; returns what to do with its task."""
        if isinstance(error, errors.ImageForbidden):
            return self._forbidden(job_run, uri, error, delivery=delivery, now=now)
        if isinstance(error, errors.ImageUnreachable):
            return self._unreachable(job_run, host, error, delivery=delivery, now=now)
        return Fail(str(error), retryable=isinstance(error, errors.ImageChanged))

    def host_rests(self, host: str, now: float) -> float:
        """Seconds for which the host still rests; 0 when it does not."""
        state = self._hosts.get(host)
        return max(0.0, state.rests_until - now) if state else 0.0

    def job_rests(self, job_run: JobRun, now: float) -> bool:
        """Whether no task of the job may be leased now."""
        state = self._jobs.get(job_run)
        if state is None or state.probes:
            return False
        return state.rests_until > 0 or any(self._blocks(host, state, now) for host in state.hosts)

    def is_on_trial(self, job_run: JobRun) -> bool:
        """Whether tasks of the job are leased one by one as probes."""
        state = self._jobs.get(job_run)
        return state is not None and state.probes > 0

    def due(self, now: float) -> list[tuple[JobRun, list[str]]]:
        """Jobs whose rest is over, with images that were forbidden. Try to load these, and report it with `tried`."""
        return [
            (job_run, list(state.uris))
            for job_run, state in self._jobs.items()
            if 0 < state.rests_until <= now and not state.probes
        ]

    def tried(self, job_run: JobRun, *, loadable: bool, now: float) -> None:
        """Record that images of a resting job were tried again, without a lease."""
        state = self._jobs.get(job_run)
        if state is None:
            return
        if loadable:
            self._forgive(state)
            return
        state.tries += 1
        if self._has_done(job_run, state) and not state.is_away:
            # Those that failed may be all that is left: only leasing them ends the job.
            state.probes = 2 ** min(state.tries - 1, MOST_DOUBLINGS)
        else:
            # Another image of the job may be a good one, and those that failed stay as they are.
            state.probes = 1
        state.rests_until = now + self._rest(job_run, state)

    def forget_all_but(self, job_runs: Set[JobRun]) -> None:
        """Keep only the state of these jobs."""
        for job_run in self._jobs.keys() - job_runs:
            del self._jobs[job_run]

    def know(self, *, done: Set[JobRun], forbidden_since: Mapping[JobRun, datetime]) -> None:
        """Take over what only the orchestrator knows of jobs whose images nobody could load when last tried.

        Of the jobs `done` other images are done, whoever did them; `forbidden_since` is when that began.
        """
        self._with_done = done
        self._announced_since = forbidden_since

    @property
    def has_waiting(self) -> bool:
        """Whether a job has images that this worker could not load, and that are to be tried again."""
        return any(state.rests_until > 0 or state.unreachable for state in self._jobs.values())

    @property
    def forbidden(self) -> dict[str, str]:
        """Jobs that rest here because their images are forbidden, by number, with the reason and since when."""
        resting = [
            (run, state.reason, state.since)
            for run, state in self._jobs.items()
            if state.rests_until > 0 and state.since
        ]
        return {
            str(run.job): _since(reason, self._waits_since(run, since)) for run, reason, since in resting[:MOST_TOLD]
        }

    @property
    def unreachable(self) -> dict[str, str]:
        """Jobs of which images cannot be reached now, by number, with host, reason and since when."""
        waiting = [(run, state) for run, state in self._jobs.items() if state.unreachable]
        return {
            str(run.job): "; ".join(
                _since(reason, self._hosts[host].since if host in self._hosts else None)
                for host, reason in [*state.unreachable.items()][:MOST_HOSTS]
            )
            for run, state in waiting[:MOST_TOLD]
        }

    def _unreachable(
        self, job_run: JobRun, host: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        job = self._job(job_run)
        job.hosts.add(host)
        job.unreachable[host] = redaction.without_secrets(str(error))[:LONGEST_REASON]
        state = self._hosts.setdefault(host, _Host(streak_since=now, since=self._timing.now()))
        state.streak += 1
        if state.streak >= HOST_PATIENCE:
            if state.rests_until <= now:
                logger.warning(
                    "%s: %d failures in a row, resting it for %.0f s: %s", host, state.streak, HOST_REST, error
                )
            state.rests_until = now + HOST_REST
        if attempts.is_final(delivery, self._max_attempts):
            return Fail(f"{_since(str(error), state.since)} (attempt {delivery})", retryable=True)
        return HandBack(self._timing.spread_out(max(attempts.retry_delay(delivery), self.host_rests(host, now))))

    def _forbidden(
        self, job_run: JobRun, uri: str, error: errors.ImageError, *, delivery: int, now: float
    ) -> HandBack | Fail:
        state = self._job(job_run)
        state.since = state.since or self._timing.now()
        state.reason = redaction.without_secrets(str(error))[:LONGEST_REASON]
        state.is_away = isinstance(error, errors.NotMounted)
        if self._has_done(job_run, state) and delivery >= ONE_OF_MANY and not state.is_away:
            # A rest that this image began goes on, and a trial too: the next image may be a good one.
            since = self._waits_since(job_run, state.since)
            return Fail(f"{_since(str(error), since)} (delivery {delivery})", retryable=True)
        state.forbidden += 1
        if uri not in state.uris:
            state.uris.append(uri)
        if state.probes > 1:
            state.probes -= 1
        elif state.probes or state.loaded_at == float("-inf") or state.forbidden >= JOB_PATIENCE:
            state.probes = 0
            state.rests_until = max(state.rests_until, now + self._rest(job_run, state))
            if not state.warned:
                state.warned = True
                logger.warning("job %d, generation %d rests on this worker: %s", job_run.job, job_run.generation, error)
        return HandBack(self._timing.spread_out(max(attempts.retry_delay(delivery), JOB_REST.first)))

    def _job(self, job_run: JobRun) -> _Job:
        state = self._jobs.get(job_run)
        if state is None:
            state = self._jobs[job_run] = _Job()
        return state

    def _forgive(self, state: _Job) -> None:
        state.forbidden = state.tries = 0
        state.uris.clear()
        state.rests_until = 0.0
        state.probes = 0
        state.since = None

    def _has_done(self, job_run: JobRun, state: _Job) -> bool:
        return state.loaded_at > float("-inf") or job_run in self._with_done

    def _waits_since(self, job_run: JobRun, here: datetime | None) -> datetime | None:
        """Since when the job's images are forbidden: here, or to all workers if that began earlier."""
        known = (here, self._announced_since.get(job_run))
        return min((since for since in known if since), default=None)

    def _rest(self, job_run: JobRun, state: _Job) -> float:
        longest = LONGEST_AT_THE_END if self._has_done(job_run, state) else JOB_REST.longest
        return min(JOB_REST.pause(state.tries + 1), longest)

    def _blocks(self, host: str, state: _Job, now: float) -> bool:
        """Whether the host rests and the job has loaded nothing since its failures began."""
        resting = self._hosts.get(host)
        return resting is not None and resting.rests_until > now and state.loaded_at < resting.streak_since


def _since(reason: str, since: datetime | None) -> str:
    return f"{reason}, since {since:%Y-%m-%d %H:%M} UTC" if since else reason
