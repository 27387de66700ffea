"""Which jobs can share batches: those of one pipeline with the same configuration form one batch group."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.pipelines.interface import PipelineSpec

logger = logging.getLogger(__name__)

SHARED: Final = ""
"""The device process of all pipelines that this project ships."""


@dataclass(frozen=True, eq=False, slots=True)
class BatchGroup:
    """A pipeline with one configuration; its images may go to the device together."""

    # Unique within this worker; the device process knows the group by it.
    number: int
    spec: PipelineSpec
    # Merged with the pipeline's defaults.
    config: dict[str, Any]

    @property
    def slug(self) -> str:
        """The pipeline's slug."""
        return self.spec.slug

    @property
    def process(self) -> str:
        """Which device process runs it: this project's pipelines share one (`SHARED`), any other has its own."""
        return SHARED if self.spec.origin.is_built_in else self.spec.slug


class BatchGroups:
    """The batch groups that this worker has met so far, numbered in the order of their first job."""

    def __init__(self, pipelines: Mapping[str, PipelineSpec]) -> None:
        self._pipelines = pipelines
        self._groups: dict[tuple[str, str], BatchGroup] = {}

    def group_of(self, announcement: messages.Announcement) -> BatchGroup:
        """The job's batch group, created for the first job of its kind.

        Raises `UnknownPipeline` when this worker does not serve the pipeline, `OtherVersion` when the job was submitted
        for another version of it, and `InvalidInput` when the pipeline refuses the configuration.
        """
        spec = self._pipelines.get(announcement.pipeline)
        if spec is None:
            raise errors.UnknownPipeline(f"pipeline {announcement.pipeline!r} is not served here")
        config = spec.config_of_job(
            announcement.config, version=announcement.pipeline_version, algorithms=announcement.algorithms
        )
        # By value rather than by the announced hash: different hashes may stand for the same merged configuration.
        key = (spec.slug, json.dumps(config, sort_keys=True, default=str))
        if key not in self._groups:
            self._groups[key] = BatchGroup(len(self._groups), spec, config)
        return self._groups[key]
