"""Prints what a loader that keeps to public hosts makes of redirects; run in a network of its own."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import tempfile
from pathlib import Path

from antenna_orchestration import errors, settings
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from tests.loading.image_server import serving

PUBLIC = "9.9.9.9"
TARGETS = (
    PUBLIC, "127.0.0.1", "localhost", "[::1]", "127.1", "2130706433", "①②⑦.⓪.⓪.①", "[::ffff:127.0.0.1]",
)  # fmt: skip
"""Hosts that the public server sends its callers to."""

_SET_FLAGS, _SET_ADDRESS, _UP = 0x8914, 0x8916, 1


def give_addresses() -> None:
    """Bring the loopback interface up, and give it an address that looks public beside its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for name, address in ((b"lo", "127.0.0.1"), (b"lo:1", PUBLIC)):
            request = struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, _SET_ADDRESS, request)
            fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", name, _UP))


async def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        config = settings.load(home=Path(home), allow_private_hosts=False, load_timeout=30.0)
        async with serving(host="0.0.0.0") as server, Loader(settings=config, memory=MemoryBudget(2**26)) as loader:
            port = server.url.rpartition(":")[2]
            for target in TARGETS:
                url = f"http://{PUBLIC}:{port}/redirect?to=http://{target}:{port}/good/1"
                try:
                    await loader.load(url)
                    answer = "loaded"
                except errors.ImageError as error:
                    answer = type(error).__name__
                print(target, answer, sep="\t")


if __name__ == "__main__":
    give_addresses()
    asyncio.run(main())
