"""SQL statements, one per file, each named for its act. `%(name)s` are the parameters."""

from functools import cache
from pathlib import Path


@cache
def load(name: str) -> str:
    """The statement's text; it comes from this package's own files only, never from input."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
