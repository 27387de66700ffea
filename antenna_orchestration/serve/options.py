"""What `antenna serve` is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions:
    """Which pipelines to serve, to whom, and where."""

    # By slug; one at least.
    pipelines: tuple[str, ...]
    host: str = "127.0.0.1"
    # 0: any free one.
    port: int = 2000
    # `auto`, `cpu`, `cuda` or `cuda:N`; None takes the setting.
    device: str | None = None
    # Images in hand at most; what would be more is refused with 503.
    queue: int = 1_000
    # What clients have to know; empty: nothing.
    token: str = field(default="", repr=False)
