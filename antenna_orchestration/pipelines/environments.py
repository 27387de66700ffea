"""What an own pipeline needs beside this project, in a folder of its own that comes first on its import path.

uv says which packages an installation of the requirements beside the worker's own would add or replace; just these are
installed, into a folder that only processes of this pipeline see. So PyTorch is not installed again, two pipelines may
need what excludes each other, and the worker's own packages stay as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from antenna_orchestration import errors
from antenna_orchestration.pipelines import requirements as allowed

PATIENCE: Final = 3600.0
"""Seconds that one call of uv may take: packages of gigabytes over a slow line."""

_ADDED: Final = re.compile(r"^\s*\+ (\S+(?: @ \S+)?)", re.MULTILINE)
"""A package that an installation would add, as uv writes it: `+ name==version`, or `+ name @ address`."""


def prepared(requirements: Sequence[str], folder: Path) -> Path | None:
    """The folder with what these requirements add to this installation; made now if it is not there yet.

    None if nothing is to be added. Blocks, for minutes perhaps. `folder` holds one folder a set of requirements and
    installation; each appears whole or not at all. Raises `InvalidInput` for what is not a requirement of another
    machine, and `InternalError` if uv is not here or says no.
    """
    if not requirements:
        return None
    allowed.check(requirements)
    target = folder / _key(requirements)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        added = _ADDED.findall(_uv("pip", "install", "--dry-run", "--python", sys.executable, "--", *requirements))
        with tempfile.TemporaryDirectory(dir=folder, prefix=".making-") as draft:
            whole = Path(draft) / "packages"
            whole.mkdir()
            if added:
                _uv("pip", "install", "--no-deps", "--python", sys.executable, "--target", str(whole), "--", *added)
            # Another worker of this machine may have been first.
            with contextlib.suppress(OSError):
                whole.rename(target)
    return target if any(target.iterdir()) else None


def _key(requirements: Sequence[str]) -> str:
    """Other requirements, or another installation, are another folder."""
    installed = sorted(
        f"{one.stem}" for place in map(Path, sys.path) if place.is_dir() for one in place.glob("*.dist-info")
    )
    told = json.dumps([sorted(requirements), sys.version, installed])
    return hashlib.sha256(told.encode()).hexdigest()[:24]


def _uv(*arguments: str) -> str:
    """What uv says. Raises `InternalError`."""
    program = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if program is None:
        raise errors.InternalError("its requirements are installed by uv, which is not here: pip install uv")
    try:
        done = subprocess.run(
            [program, "--color", "never", "--no-progress", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise errors.InternalError(f"its requirements were not installed within {PATIENCE:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr.strip() or done.stdout.strip()).split())
        raise errors.InternalError(f"its requirements cannot be installed: {said[-600:]}")
    return done.stderr + done.stdout
