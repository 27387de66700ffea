"""Files as a power loss leaves them on a file system that had not written all of them."""

from __future__ import annotations

from pathlib import Path

KINDS = ("empty", "half", "rubbish")
"""And `zeros`, which no text file of ours becomes: it is as long as before."""


def tear(path: Path, kind: str) -> None:
    """Tear a file that may not exist; owner and mode stay."""
    whole = path.read_bytes() if path.exists() else b""
    torn = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "rubbish": b"\x00\xff\xfe{'\"" * 50,
        "zeros": bytes(len(whole)),
    }
    path.write_bytes(torn[kind])
