"""The pipelines that this worker serves, as their files are now, and what each of them is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines import identity, registry
from antenna_orchestration.pipelines.interface import PipelineSpec

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at whether files of pipelines changed, were added, or packages were installed."""


class PipelinesHere:
    """The pipelines of this machine, or those of them that the worker was asked to serve."""

    def __init__(self, paths: Sequence[Path], asked: Sequence[str]) -> None:
        """Read what there is. Blocks; raises `UnknownPipeline` for one of `asked` that is not there (none: all)."""
        self._paths = tuple(paths)
        self._asked = tuple(asked)
        for slug in self._asked:
            registry.get(slug, self._paths)
        self._hurried = asyncio.Event()
        # By slug; without the broken ones.
        self.specs, self.digests = self._read()

    def digest_of(self, spec: PipelineSpec, config: Mapping[str, Any]) -> str:
        """What a pipeline with this configuration was at the last look; empty if files of it are missing.

        Not what it is at this moment: only a look has its device process replaced.
        """
        return identity.with_files_of(self.digests.get(spec.slug, identity.UNKNOWN), config)

    def look_soon(self) -> None:
        """Look now rather than in a while."""
        self._hurried.set()

    async def follow(self, on_change: Callable[[Set[str]], Awaitable[None]]) -> None:
        """Call `on_change` with the slugs of what changed, came or went, whenever something did; runs for ever."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._hurried.wait()
                # One look at most in each such time: a registry read just now answers as it did.
                await asyncio.sleep(registry.LOOK_EVERY)
            except TimeoutError:
                pass
            self._hurried.clear()
            if changed := await self._look():
                await on_change(changed)

    async def _look(self) -> set[str]:
        """Read anew; returns the slugs of what is not as it was."""
        try:
            specs, digests = await asyncio.to_thread(self._read)
        except (errors.AntennaError, OSError) as error:
            logger.warning("the pipelines cannot be read again: %s", error)
            return set()
        was = {slug: (spec.version, self.digests.get(slug)) for slug, spec in self.specs.items()}
        now = {slug: (spec.version, digests.get(slug)) for slug, spec in specs.items()}
        self.specs, self.digests = specs, digests
        changed = {slug for slug in was.keys() | now.keys() if was.get(slug) != now.get(slug)}
        for slug in sorted(changed):
            how = "is gone" if slug not in now else "was added" if slug not in was else "changed"
            logger.info("pipeline %s %s", slug, how)
        return changed

    def _read(self) -> tuple[Mapping[str, PipelineSpec], Mapping[str, str]]:
        found = registry.all_pipelines(self._paths)
        specs = {slug: spec for slug, spec in found.items() if not self._asked or slug in self._asked}
        digests = {slug: identity.digest_of(spec) for slug, spec in specs.items()}
        return specs, {slug: digest for slug, digest in digests.items() if digest}
