"""Reads checkpoints, and says of a file that is none, or that does not fit, what it is and what to do.

torch's own messages are long, coloured, and advise to load the file in a way that can run code from it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from antenna_orchestration import errors

_SAVE_STATE: Final = "write it with torch.save(model.state_dict(), …)"

_UNDER: Final = ("state_dict", "model", "net", "weights", "ema", "params")
"""Names under which training programs keep the weights; ours is `model_state_dict`."""

_PREFIXES: Final = {
    "module.": "as DataParallel adds it; save model.module.state_dict()",
    "model.": "as Lightning adds it; take it off before saving",
    "_orig_mod.": "as torch.compile adds it; save model._orig_mod.state_dict()",
}


def read(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint, by name: the file itself, or its entry `model_state_dict`.

    Raises `InternalError` for any other file, which is never run.
    """
    if (kind := what_it_is(path)) is not None:
        raise errors.InternalError(f"weights {path}: {kind}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        # torch raises many kinds for files that are not checkpoints.
        if "nsupported" in str(error) or "was not an allowed global" in str(error):
            reason = f"it holds Python objects, not only weights, and opening those could run code; {_SAVE_STATE}"
        else:
            reason = f"it is damaged, or no checkpoint of PyTorch; copy it again, or {_SAVE_STATE}"
        raise errors.InternalError(f"weights {path}: {reason}") from error
    state = checkpoint.get("model_state_dict") or checkpoint if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping):
        raise errors.InternalError(f"weights {path}: it holds no weights by name; {_SAVE_STATE}")
    return dict(state)


def what_it_is(path: Path) -> str | None:
    """What a file is that is certainly neither a checkpoint nor a program; None if it may be one."""
    if not path.is_file():
        return "there is no such file"
    with path.open("rb") as file:
        head = file.read(200)
    if not head:
        return "the file is empty"
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "the file is a web page; download it again, from the address of the file itself"
    if head.startswith(b"version https://git-lfs"):
        return "the file is a pointer of Git LFS; fetch the file with git lfs pull"
    return _broken_archive(path) if head.startswith(b"PK") else None


def unwrapped(state: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The weights without what training programs put around them: an outer entry, and a prefix of all names.

    As they are, if that does not give the wanted names.
    """
    inner = next((state[name] for name in _UNDER if isinstance(state.get(name), Mapping) and name not in wanted), state)
    for prefix in ("", *_PREFIXES):
        if all(prefix + name in inner for name in wanted):
            return {name.removeprefix(prefix): value for name, value in inner.items()}
    return dict(state)


def not_finite(state: Mapping[str, Any]) -> str | None:
    """The name of weights that hold NaN or an infinity; None if none do. A model of such finds nothing, silently."""
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return name
    return None


def misfit(state: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> str:
    """Why a network that wants weights of these names and shapes does not take these."""
    under = next((name for name in _UNDER if isinstance(state.get(name), Mapping) and name not in wanted), None)
    if under is not None:
        return f"its weights are under {under}; save that entry alone, or as model_state_dict"
    missing = [name for name in wanted if name not in state]
    for prefix, why in _PREFIXES.items():
        if missing and all(prefix + name in state for name in missing):
            return f"its names begin with {prefix}, {why}"
    if missing:
        return f"{len(missing)} of {len(wanted)} weights are missing, such as {missing[0]}; is it of another network?"
    for name, tensor in wanted.items():
        found = state[name]
        shape = _shape(found) if isinstance(found, torch.Tensor) else "not a tensor"
        if shape != _shape(tensor):
            return f"{name} is {shape}, and {_shape(tensor)} is wanted; is the number of classes right?"
    more = [str(name)[:80] for name in state if name not in wanted]
    return f"it has {len(more)} weights that the network has not{f', such as {more[0]}' if more else ''}"


def _broken_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError):
        return "the file is cut off or damaged; copy it again"
    return f"the file is a TorchScript program; {_SAVE_STATE}" if "constants.pkl" in names else None


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
