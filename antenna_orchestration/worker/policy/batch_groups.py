"""Which jobs can share batches: those of one pipeline with the same configuration form one batch group."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.algorithms import why_other_digest
from antenna_orchestration.pipelines.interface import PipelineSpec

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
    # Of the pipeline and the files that the configuration names; empty for jobs that are not bound to one, whose
    # configuration may name files that the pipeline writes.
    digest: str = ""

    @property
    def slug(self) -> str:
        """The pipeline's slug."""
        return self.spec.slug

    @property
    def process(self) -> str:
        """Which device process runs it: this project's pipelines share one (`SHARED`), any other has its own."""
        if self.spec.origin.is_built_in:
            return SHARED
        # Several versions of a pipeline may be fetched at a time.
        return f"{self.slug} {self.spec.origin.pulled[:12]}" if self.spec.origin.pulled else self.slug


class BatchGroups:
    """The batch groups that this worker has met so far, numbered in the order of their first job."""

    def __init__(
        self,
        pipelines: Mapping[str, PipelineSpec],
        digest_of: Callable[[PipelineSpec, Mapping[str, Any]], str],
        pulled: Mapping[str, PipelineSpec] = MappingProxyType({}),
    ) -> None:
        """`digest_of` tells what a pipeline with a configuration is, empty if that is not known.

        `pulled` are the pipelines that were fetched, by digest; there may be more of them later.
        """
        self._pipelines = pipelines
        self._pulled = pulled
        self._digest_of = digest_of
        self._groups: dict[tuple[str, ...], BatchGroup] = {}

    def serve(self, pipelines: Mapping[str, PipelineSpec]) -> None:
        """Serve these pipelines from now on. Groups of what a pipeline was before stay as they were."""
        self._pipelines = pipelines

    def group_of(self, announcement: messages.Announcement) -> BatchGroup:
        """The job's batch group, created for the first job of its kind.

        Raises `UnknownPipeline` when this worker does not serve the pipeline, `OtherVersion` when the job was submitted
        for another version or digest of it, and `InvalidInput` when the pipeline refuses the configuration.
        """
        spec = self._pulled_for(announcement) or self._pipelines.get(announcement.pipeline)
        if spec is None:
            raise errors.UnknownPipeline(f"pipeline {announcement.pipeline!r} is not served here")
        config = spec.config_of_job(
            announcement.config, version=announcement.pipeline_version, algorithms=announcement.algorithms
        )
        digest = self._digest_of(spec, config)
        asked = announcement.digest or None
        if reason := why_other_digest(spec.slug, announcement.pipeline_version, asked=asked, here=digest):
            raise errors.OtherVersion(reason)
        # By value rather than by the announced hash: different hashes may stand for the same merged configuration.
        key = (spec.slug, spec.version, digest, str(bool(asked)), json.dumps(config, sort_keys=True, default=str))
        if key not in self._groups:
            self._groups[key] = BatchGroup(len(self._groups), spec, config, digest if asked else "")
        return self._groups[key]

    def _pulled_for(self, announcement: messages.Announcement) -> PipelineSpec | None:
        # What was fetched for a project that allows it is not for those that do not.
        spec = self._pulled.get(announcement.digest or "") if announcement.pull is True else None
        # What runs the same under another name is another pipeline to whoever reads the results.
        return spec if spec is not None and spec.slug == announcement.pipeline else None
