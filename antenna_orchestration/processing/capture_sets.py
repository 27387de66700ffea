"""Capture sets as people handle them: create, make anew, show."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from antenna_orchestration import kernel
from antenna_orchestration.catalog.capture_sets import CaptureSet, LedgerOf
from antenna_orchestration.domain import capture_sets as rules
from antenna_orchestration.domain import ids
from antenna_orchestration.domain.capture_sets import NightOfSet, ProcessedBy, Rule
from antenna_orchestration.processing import submit
from antenna_orchestration.processing.bound import bind
from antenna_orchestration.processing.services import Records, Services

_SEEDS: Final = 2**31
"""A seed that nobody named is short enough to be typed again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """What is in a set now."""

    nights: Sequence[NightOfSet]
    processed_by: Sequence[ProcessedBy]

    @property
    def photographs(self) -> int:
        """How many of the set's photographs are there."""
        return sum(one.photographs for one in self.nights)


async def create(
    services: Services, project: str, name: str, rule: Rule, *, again: bool = False, created_by: str = ""
) -> CaptureSet:
    """Choose photographs that are known, and keep their list under a name; with `again` in place of an earlier list.

    A rule that draws and names no seed gets one, which is kept with it. Raises, with nothing written, `InvalidInput`
    and its kinds, also if no photograph is chosen; `NotFound` for a project or deployment that does not exist;
    `Conflict` for a name that is taken.
    """
    ids.slug(project, "project")
    ids.slug(name, "name")
    if rule.draws and rule.seed is None:
        rule = replace(rule, seed=random.randrange(_SEEDS))  # noqa: S311  # no secret hangs on it
    if rule.with_detections_of is not None:
        await submit.spec_of(services, rule.with_detections_of, project)
    return await services.catalog.capture_sets.make(
        project,
        name,
        rule,
        replace=again,
        ledger=await _ledger(services, project, rule.not_processed_by),
        created_by=created_by or kernel.user_of_this_process(),
    )


async def refresh(services: Services, project: str, name: str, *, created_by: str = "") -> CaptureSet:
    """Make the list of a set anew by its rule, of what is known now. Raises as `create` does.

    Deployments that were renamed meanwhile are in the rule by their names of now.
    """
    found = await services.catalog.capture_sets.get(project, name)
    called = await services.catalog.deployments.present_names(project, found.rule.deployments)
    rule = replace(found.rule, deployments=tuple(called))
    return await create(services, project, name, rule, again=True, created_by=created_by)


async def contents(services: Records, one: CaptureSet) -> Contents:
    """What is in a set now."""
    return Contents(
        nights=await services.catalog.capture_sets.nights(one),
        processed_by=await services.catalog.capture_sets.processed_by(one),
    )


def as_dict(one: CaptureSet) -> dict[str, Any]:
    """A set for programs."""
    return {
        "name": one.name,
        "project": one.project,
        "rule": one.rule.as_data(),
        "photographs": one.photographs,
        "not_chosen": rules.as_data(one.not_chosen),
        "created_by": one.created_by,
        "created_at": one.created_at,
        "made_at": one.made_at,
    }


async def _ledger(services: Services, project: str, pipeline: str | None) -> LedgerOf | None:
    """What the ledger is asked of a pipeline with its own settings, as a submission to it would."""
    if pipeline is None:
        return None
    spec = await submit.spec_of(services, pipeline, project)
    binding = await bind(services, spec, spec.merged_config({}))
    if spec.factory:
        await services.catalog.pipelines.register(submit.pipeline_row(spec))
    return LedgerOf(spec.slug, binding.digest)
