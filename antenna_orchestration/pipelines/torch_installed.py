"""Whether PyTorch, which only workers need, is installed. It is never imported here."""

from __future__ import annotations

import importlib.util

from antenna_orchestration import errors


def without() -> str | None:
    """What to do where PyTorch is not installed, in a line; None where it is."""
    if importlib.util.find_spec("torch") is not None:
        return None
    return (
        "PyTorch is not installed here, and the built-in pipelines need it: pip install '.[worker]' in the checkout, "
        "or run workers on another machine"
    )


def check() -> None:
    """Raises `InternalError` where PyTorch is not installed."""
    if reason := without():
        raise errors.InternalError(f"{reason} (pipelines that do without it can be served by name)")
