"""A lab's `pipelines.lock`: which digest and which labels each version of its pipelines and algorithms had.

It belongs beside the code, in version control. Code, weights or labels that change under an old version are found
where they are written, and not when a job is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines import identity
from antenna_orchestration.pipelines.interface import PipelineSpec

HOW: Final = "`pytest --antenna-lock` writes it"


def faults(path: Path, spec: PipelineSpec) -> Iterator[str]:
    """What changed under an old version, and what is not in the file yet. Raises `InvalidInput` for another file."""
    lock = _read(path)
    for section, name, now in _entries(spec):
        before = lock.get(section, {}).get(name)
        if before is None:
            yield f"{section[:-1]} {name} is not in {path.name}: {HOW}"
        elif before != now:
            yield _changed(path, spec, section, name)


def write_lock(path: Path | str, specs: Iterable[PipelineSpec]) -> list[str]:
    """Add what is not in the file yet; returns that. What is there stays: a version is what it was.

    Raises `InvalidInput` if a version is something else now, and then writes nothing.
    """
    path, added = Path(path), []
    lock = _read(path)
    for spec in specs:
        for section, name, now in _entries(spec):
            known = lock.setdefault(section, {})
            if name not in known:
                known[name] = now
                added.append(f"{section[:-1]} {name}")
            elif known[name] != now:
                raise errors.InvalidInput(_changed(path, spec, section, name))
    if added:
        path.write_text(json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return added


def _changed(path: Path, spec: PipelineSpec, section: str, name: str) -> str:
    what = "labels" if section == "algorithms" else "code, weights or labels"
    line = spec.origin.version_line if section == "pipelines" else None
    where = f" ({spec.origin.name}, line {line})" if line is not None else ""
    return f"{section[:-1]} {name} has other {what} than {path.name} says: raise its version{where}, then {HOW}"


def _entries(spec: PipelineSpec) -> Iterator[tuple[str, str, Any]]:
    """Sections, names and values of a pipeline."""
    digest = identity.digest_of(spec)
    if digest:
        yield "pipelines", f"{spec.slug} {spec.version}", digest
    for algorithm in spec.algorithms:
        if algorithm.labels:
            labels = hashlib.sha256(json.dumps(list(algorithm.labels)).encode()).hexdigest()
            yield "algorithms", f"{algorithm.key} {algorithm.version}", labels


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.InvalidInput(f"{path} cannot be read: {error}") from None
    if not isinstance(lock, dict) or not all(isinstance(section, dict) for section in lock.values()):
        raise errors.InvalidInput(f"{path} is not a lock of pipelines")
    return lock
