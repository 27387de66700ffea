"""Pipelines in the lake's store, by digest: `antenna pipelines push` puts them there, `worker --pull` takes them.

    pipelines/files/SHA256            a file of any pipeline, once
    pipelines/packs/DIGEST.json       the manifest of a pipeline, written last

Nothing there is ever changed. Who may write into the lake may add pipelines; which one a worker runs is said by the
digest in a job's announcement, and every byte is checked against that.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec

from antenna_orchestration import errors
from antenna_orchestration.lake.folder import BLOCK, Missing
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.pipelines import identity, packing
from antenna_orchestration.pipelines.packing import Manifest, Pack, PackedFile

logger = logging.getLogger(__name__)

PACKS: Final = "pipelines/packs"
FILES: Final = "pipelines/files"


def push(lake: Lake, pack: Pack, *, progress: Callable[[PackedFile], None] = lambda _: None) -> bool:
    """Store a pack; idempotent. Returns whether it was not there yet. `progress` is told of each file that is sent.

    Raises `Unavailable`, and `Conflict` for a file that changes while it is sent; nothing can be pulled then.
    """
    manifest = pack.manifest
    if lake.has_file(f"{PACKS}/{manifest.digest}.json"):
        return False
    there = set(lake.names(FILES))
    for one in manifest.files:
        if one.sha256 not in there:
            progress(one)
            _send(lake, pack.sources[one.path], one)
            there.add(one.sha256)
    content = msgspec.json.format(msgspec.json.encode(manifest))
    lake.write_file(f"{PACKS}/{manifest.digest}.json", lambda sink: sink.write(content))
    return True


def _send(lake: Lake, source: Path, one: PackedFile) -> None:
    def fill(sink: IO[bytes]) -> None:
        with source.open("rb") as content:
            shutil.copyfileobj(content, sink, BLOCK)
        if identity.sha256_of(source) != one.sha256:
            raise errors.Conflict(f"{source} changed while it was pushed; push again")

    lake.write_file(f"{FILES}/{one.sha256}", fill)


def pushed(lake: Lake) -> list[Manifest]:
    """All pipelines that are stored, sorted by slug and time. Raises `Unavailable`; a damaged manifest is left out."""
    found = []
    for name in lake.names(PACKS):
        try:
            found.append(_manifest(lake, name.removesuffix(".json")))
        except errors.InvalidInput:
            continue
    return sorted(found, key=lambda manifest: (manifest.slug, manifest.pushed_at))


def _manifest(lake: Lake, digest: str) -> Manifest:
    with lake.reading_version(f"{PACKS}/{digest}.json") as version:
        # One byte more, so that what is too long is seen.
        return packing.read_manifest(version.file.read(packing.MOST_BYTES + 1), digest)


def pull(lake: Lake, digest: str, folder: Path) -> tuple[Manifest, Path]:
    """Fetch the pipeline of a digest to this machine, unless it is here. Returns its manifest and where its files lie.

    `folder` holds one folder a digest; each appears whole or not at all. Nothing of it is run or read but the manifest.
    Raises `NotFound` for a digest that was not pushed, `Unavailable`, and `InvalidInput` for a pack that is not what
    its digest says.
    """
    packing.check_digest(digest)
    target = folder / digest
    if target.exists():
        try:
            return _checked(target, digest)
        except (errors.InvalidInput, OSError) as error:
            logger.warning("pipeline %s is fetched again: %s", digest[:12], error)
            shutil.rmtree(target)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pulling-") as draft:
        whole = Path(draft) / digest
        _fetch(lake, digest, whole)
        # Another worker of this machine may have been first.
        with contextlib.suppress(OSError):
            whole.rename(target)
    return _checked(target, digest)


def _checked(target: Path, digest: str) -> tuple[Manifest, Path]:
    manifest = packing.read_manifest((target / "manifest.json").read_bytes(), digest)
    packing.check_files(manifest, target / "files")
    return manifest, target / "files"


def _fetch(lake: Lake, digest: str, draft: Path) -> None:
    try:
        manifest = _manifest(lake, digest)
    except Missing:
        raise errors.NotFound(
            f"no pipeline of digest {digest[:12]} was pushed to {lake.uri}; `antenna pipelines push` does it"
        ) from None
    for one in manifest.files:
        path = draft / "files" / one.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # What is longer has another SHA-256: nobody can fill a worker's disk with it.
        lake.fetch(f"{FILES}/{one.sha256}", path, most=one.size)
    packing.check_files(manifest, draft / "files")
    (draft / "manifest.json").write_bytes(msgspec.json.encode(manifest))
