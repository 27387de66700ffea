"""Errors that workers report about images: which pass, which are about a whole batch, and which are final. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from antenna_orchestration.domain import attempts
from antenna_orchestration.domain.backoff import spread_out

LONGEST_REASON: Final = 200
"""Characters of a reason that are remembered while its image is open."""

MOST_HOLDERS: Final = 8
"""Workers remembered per image that reported an error about it."""

LONGEST_AT_THE_END: Final = 60.0
"""Longest wait in seconds once everything else of the job is done."""

OTHERS: Final = "other reasons"
"""What stands for the reasons that are not named."""

MOST_SHOWN: Final = 3
LONGEST_SHOWN: Final = 80
"""Reasons that people are shown together, and characters of each."""

AVOID_FOR: Final = 20.0
"""Seconds after a report in which its image is kept for another worker, if there is one."""

LEAVE_OUT_FOR: Final = 1.0
"""Seconds until a task that was left out for that is offered again: few, since others see it only while it is."""

_PASSING: Final = re.compile(
    r"time[sd]?[ -]?out|no answer within|out of memory|\boom\b|memoryerror|cannot allocate memory|connection"
    r"|max retries exceeded|name resolution|network is unreachable|no route to host|broken pipe"
    r"|temporar|unavailable|too many requests"
    r"|(?:http|status|error|code)\W{0,3}(?:code\W{0,3})?(?:429|5\d\d)\b|\b50[0234] \w",
    re.IGNORECASE,
)
_OF_BATCH: Final = re.compile(r"\bbatch\b", re.IGNORECASE)


class Finding(StrEnum):
    """What the gateway found when it looked at an image that a worker reported as failing."""

    READABLE = "readable"
    # The image's own fault.
    UNUSABLE = "unusable"
    # Its store does not answer now.
    UNREACHABLE = "unreachable"
    # The gateway has no right to look, or could not.
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What a look at an image found, and why, in words for people; the image can be read without any."""

    finding: Finding
    why: str = ""


class Report(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What workers reported about one image that is still open."""

    own: int = 0
    """Reports about this image, for reasons that do not pass."""
    shared: int = 0
    """Reports about a whole batch, for such reasons."""
    passing: int = 0
    """Reports for reasons that pass."""
    left_out: int = 0
    """Deliveries that ended before anybody tried the image: it was kept for another worker, nobody could take it alone,
    or whoever had it handed it back. The first delivery is not among them."""
    alone: bool = False
    """Whether it has to be tried alone, since nobody knows which image of its batch was at fault."""
    at: float = 0.0
    """When the last one came, in seconds by Redis' clock."""
    holders: tuple[int, ...] = ()
    """Who reported; the last of them."""
    reason: str = ""
    """What the last one said."""

    @property
    def answered(self) -> int:
        """Deliveries that did no harm: whoever had the image has survived it, or has not tried it."""
        return self.own + self.shared + self.passing + self.left_out

    def after(self, reason: str, *, holder: int, shared: bool, now: float) -> Report:
        """The report with one more error. `shared`: the worker said it of other images of the same post as well."""
        passing = passes(reason)
        return Report(
            own=self.own + (not passing and not shared),
            shared=self.shared + (not passing and shared),
            passing=self.passing + passing,
            left_out=self.left_out,
            alone=self.alone,
            at=now,
            holders=(*(one for one in self.holders if one != holder), holder)[-MOST_HOLDERS:],
            reason=reason[:LONGEST_REASON],
        )

    def as_passing(self, before: Report | None) -> Report:
        """The report with the last error, which came `before` it had, counted as one that passes."""
        before = before or Report()
        return msgspec.structs.replace(self, own=before.own, shared=before.shared, passing=before.passing + 1)


def plan(delivery: int, report: Report | None) -> attempts.Plan:
    """How to take a task at its n-th delivery, those not counted that did no harm."""
    if report is None:
        return attempts.plan(delivery)
    found = attempts.plan(delivery - report.answered)
    return attempts.Plan.ALONE if report.alone and found is attempts.Plan.BATCH else found


def passes(reason: str) -> bool:
    """Whether a worker's words name a fault that may pass: time-outs, 5xx, memory, connections."""
    return bool(_PASSING.search(reason))


def shared_reasons(reasons: Sequence[str]) -> set[str]:
    """The reasons in a post that are about a batch: they say so, and more than one image has them."""
    return {reason for reason in set(reasons) if reasons.count(reason) > 1 and _OF_BATCH.search(reason)}


def is_final(before: Report | None, reason: str, *, shared: bool, delivery: int, max_attempts: int) -> bool:
    """Whether this error ends the image, whatever a look at it would find.

    A fault that passes has as many attempts as the settings say. Anything else had its one more try, once something
    like it was reported `before`; an error of a whole batch does not count against one of its images.
    """
    before = before or Report()
    if attempts.is_final(delivery - before.left_out, max_attempts):
        return True
    return not shared and not passes(reason) and before.own + before.shared > 0


def delay(report: Report, look: Look) -> float:
    """Seconds until an image that may be tried again is offered; see `LONGEST_AT_THE_END`, too."""
    if not passes(report.reason) and look.finding is not Finding.UNREACHABLE:
        # Not spread: there is nothing to spare, and what returns together is leased together.
        return attempts.RETRY_DELAYS[0]
    return spread_out(attempts.retry_delay(max(report.passing, 1)), attempts.RETRY_SPREAD)


def both_reasons(reason: str, look: Look) -> str:
    """The reason of an image that neither the worker nor the gateway can read."""
    return f"{reason}; the orchestrator cannot read it either: {look.why}"


def in_words(reasons: Counter[str]) -> str:
    """The commonest reasons, each with how many images it was given for: `failed to load image (3), oom (1)`."""
    named = Counter({reason: number for reason, number in reasons.items() if reason != OTHERS})
    common = named.most_common(MOST_SHOWN)
    shown = [f"{reason[:LONGEST_SHOWN]} ({number})" for reason, number in common]
    if more := reasons.total() - sum(number for _, number in common):
        shown.append(f"{OTHERS} ({more})")
    return ", ".join(shown)


def is_kept_for_others(report: Report, holder: int, *, now: float) -> bool:
    """Whether this worker should leave the image to another one, if there is one."""
    return holder in report.holders and now - report.at < AVOID_FOR
