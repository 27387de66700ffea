"""Makes a pipeline that was pushed ready to run on this machine: its files, its requirements, its description.

Blocks, for as long as downloads take. What arrives is checked against the digest before any of it runs.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from antenna_orchestration import errors
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import descriptions, environments, identity, packing
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.pipelines.packing import Manifest, Pack
from antenna_orchestration.pipelines.sources import Source
from antenna_orchestration.processing import pushed


def ready(lake: Lake, digest: str, home: Path) -> PipelineSpec:
    """The pipeline of this digest, as `registry.get` gives one; its origin is below `home`.

    Raises `NotFound` if it was not pushed, `Unavailable` if the store does not answer, `InvalidInput` if what is stored
    is not what the digest says, and `InternalError` if its requirements or its description fail here.
    """
    manifest, root = pushed.pull(lake, digest, folder(home))
    packages = environments.prepared(manifest.requirements, home / "environments")
    spec = _described(manifest, _source(manifest, root, packages), root)
    # Code that the digest names may read what lies beside it, so nothing else may lie there.
    others = {root / one.path for one in manifest.files} - packing.files_of(spec)
    if others:
        raise errors.InvalidInput(
            f"{min(others)} is not of pipeline {manifest.slug}: its pack was changed after the push"
        )
    return spec


def folder(home: Path) -> Path:
    """Where fetched pipelines lie, in folders named by their digests; `home` is the setting `ANTENNA_HOME`."""
    # Resolved, as the paths are that a description makes of its own.
    return home.resolve() / "pulled"


def check_travels(pack: Pack) -> None:
    """Raise `InvalidInput` or `InternalError` unless the pipeline is the same in another place, as on another machine.

    It is not if its code names files by absolute paths. Runs its description, which the caller's machine trusts.
    """
    with tempfile.TemporaryDirectory(prefix="antenna-push-") as elsewhere:
        root = Path(elsewhere).resolve()
        for name, path in pack.sources.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (*packing.CODE, ".yaml", ".yml"):
                shutil.copyfile(path, root / name)
            else:
                (root / name).symlink_to(path)
        _described(pack.manifest, _source(pack.manifest, root, None), root)


def _described(manifest: Manifest, source: Source, root: Path) -> PipelineSpec:
    [(_, answer)] = descriptions.of([source])
    whose = f"pipeline {manifest.slug} {manifest.version}"
    if answer.broken is not None:
        raise errors.InternalError(f"{whose} cannot be read apart from where it was made: {answer.broken}")
    spec = next((one for one in answer.specs if one.slug == manifest.slug), None)
    far = [] if spec is None else [path for path in identity.local_files_of(spec) if not path.is_relative_to(root)]
    if spec is None or far or identity.digest_of(spec) != manifest.digest:
        which = f" ({far[0]})" if far else ""
        raise errors.InvalidInput(
            f"{whose} is not the same on another machine: name its files{which} relative to the file that defines it, "
            "such as Path(__file__).with_name(...)"
        )
    return spec


def _source(manifest: Manifest, root: Path, packages: Path | None) -> Source:
    first = () if packages is None else (str(packages),)
    if manifest.kind == "file":
        name = str((root / manifest.entry).resolve())
        return Source(kind="file", name=name, import_path=first, pulled=manifest.digest)
    return Source(kind="package", name=manifest.entry, import_path=(*first, str(root)), pulled=manifest.digest)
