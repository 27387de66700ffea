"""BatchGroups: what can share a batch. Jobs of one pipeline with the same configuration lie in one lane."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.pipelines.interface import PipelineSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class BatchGroup:
    """A pipeline with one configuration, as this worker's device process knows it by number."""

    number: int
    spec: PipelineSpec
    config: dict[str, Any]

    @property
    def slug(self) -> str:
        """The pipeline's."""
        return self.spec.slug


class BatchGroups:
    """Finds the lane of a job, and makes it when it is the first of its kind."""

    def __init__(self, pipelines: Mapping[str, PipelineSpec]) -> None:
        self._pipelines = pipelines
        self._lanes: dict[tuple[str, str], BatchGroup] = {}

    def of(self, job: messages.Announcement) -> BatchGroup:
        """The job's lane. Raises `UnknownPipeline`, or `InvalidInput` for a configuration that it refuses."""
        spec = self._pipelines.get(job.pipeline)
        if spec is None:
            raise errors.UnknownPipeline(f"pipeline {job.pipeline!r} is not served here")
        config = spec.merged_config(job.config)
        # By value rather than by the announced hash, which may differ for configurations that come to the same.
        key = (spec.slug, json.dumps(config, sort_keys=True, default=str))
        if key not in self._lanes:
            self._lanes[key] = BatchGroup(len(self._lanes), spec, config)
        return self._lanes[key]
