"""What a job is bound to: the digest of its pipeline, which one version of a pipeline has once and for all.

Pipelines that only workers behind the gateway or processing services run have no digest: their jobs are bound to
version and algorithms, as those tell them. One whose file is gone from here, or broken, keeps its version's digest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from antenna_orchestration import errors
from antenna_orchestration.catalog.pipelines import Bound
from antenna_orchestration.domain import texts
from antenna_orchestration.domain.algorithms import shortened
from antenna_orchestration.pipelines import identity, sources
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.processing.services import Services


class Binding(NamedTuple):
    """The digest for a job, None if it cannot be known, and warnings for people."""

    digest: str | None
    warnings: Sequence[str] = ()
    # That of the version alone, without the files that the job's configuration names; None: it is bound to nothing.
    of_version: str | None = None


async def bind(services: Services, spec: PipelineSpec, config: Mapping[str, Any]) -> Binding:
    """Register what a version of a pipeline of this installation is, and bind a job with this configuration to it.

    Of a pipeline that is not here, nothing is registered: the job is bound to what its version was here, if it was.

    Reads the files of the pipeline, each once. Raises `OtherVersion` if jobs of this version ran other code, weights or
    labels; the message names the line to change. Raises `Unavailable`.
    """
    if not spec.factory:
        return await _bind_to_former(services, spec, config)
    digest = await asyncio.to_thread(identity.digest_of, spec)
    if digest == identity.UNKNOWN:
        return Binding(None, [_about_missing(spec)])
    bound = await services.catalog.pipelines.bind(spec.slug, spec.version, digest)
    if bound.digest != digest:
        raise errors.OtherVersion(_about_change(spec, bound))
    versions = await services.catalog.pipelines.versions_of(spec.slug, digest)
    others = [version for version in versions if version != spec.version]
    warnings = [_about_same(spec, others)] if others else await _about_kept(services, spec, digest)
    return await _with_files_of(spec, digest, config, warnings)


async def _bind_to_former(services: Services, spec: PipelineSpec, config: Mapping[str, Any]) -> Binding:
    former = await services.catalog.pipelines.digest_of(spec.slug, spec.version)
    if former is None:
        return Binding(None)
    about = (
        f"{spec.slug} is not here any more, or cannot be read; the job is bound to version {spec.version} as it was "
        f"here (digest {shortened(former)}), so that only workers with just that serve it"
    )
    return await _with_files_of(spec, former, config, [about])


async def _with_files_of(
    spec: PipelineSpec, digest: str, config: Mapping[str, Any], warnings: Sequence[str]
) -> Binding:
    whole = await asyncio.to_thread(identity.with_files_of, digest, config)
    if whole == identity.UNKNOWN:
        return Binding(None, [*warnings, await asyncio.to_thread(_about_unreadable, spec, config)], digest)
    return Binding(whole, warnings, digest)


def _about_change(spec: PipelineSpec, bound: Bound) -> str:
    changed = identity.changed_since(spec, bound.registered_at)
    which = f" ({texts.listed([Path(file).name for file in changed], 3)} changed)" if changed else ""
    at = f", line {spec.origin.version_line}" if spec.origin.version_line else ""
    return (
        f"pipeline {spec.slug} version {spec.version} was run before with other code, weights or labels{which}; raise "
        f'its version, {spec.origin}{at}, from "{spec.version}"'
    )


def _about_same(spec: PipelineSpec, others: Sequence[str]) -> str:
    return (
        f"version {spec.version} of {spec.slug} is the same as version {texts.listed(others, 3)}: neither its code nor "
        "its weights or labels changed, so images that those processed are not processed again"
    )


async def _about_kept(services: Services, spec: PipelineSpec, digest: str) -> list[str]:
    """A warning if other code answers under the names and versions of algorithms that were used before.

    None if the version of any algorithm is new: whoever raised it has thought of the others. Our own code is not in
    digests, and raises its versions by itself.
    """
    if spec.origin.is_built_in or not spec.algorithms:
        return []
    used = await services.catalog.pipelines.algorithms_of_other_code(spec.slug, spec.version, digest)
    if any(one.ref not in used for one in spec.algorithms):
        return []
    named = []
    for one in spec.algorithms:
        line = await asyncio.to_thread(sources.line_of_algorithm, spec, one)
        where = f" ({Path(spec.origin.name).name}, line {line})" if line else ""
        named.append(f'{one.key} "{one.version}"{where}')
    before = used[spec.algorithms[0].ref]
    which = "algorithm has" if len(named) == 1 else "algorithms have"
    return [
        f"version {spec.version} of {spec.slug} has other code, weights or labels than version {before}, and its "
        f"{which} the version of then: {texts.listed(named, 3)}; rows of both say the same algorithm and version, so "
        "raise it if its answers changed"
    ]


def _about_unreadable(spec: PipelineSpec, config: Mapping[str, Any]) -> str:
    files = texts.listed(identity.unreadable_files(config), 3)
    return (
        f"what {spec.slug} {spec.version} is with these settings cannot be known here, because {files} cannot be read "
        "here: workers with any content of it serve this job"
    )


def _about_missing(spec: PipelineSpec) -> str:
    missing = identity.missing_files(spec)
    which = f"{texts.listed(missing, 3)} is" if len(missing) == 1 else f"{texts.listed(missing, 3)} are"
    return (
        f"what {spec.slug} {spec.version} is cannot be known here, because {which or 'files of it are'} not on this "
        "machine: workers with any weights serve this job; `#sha256=…` after a file's name tells its content"
    )
