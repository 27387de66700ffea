"""NATS JetStream: streams, consumers, leases, results, announcements. The only place that imports nats."""

import sys

# nats-py 2.16 (`nats/aio/transport.py`) imports aiohttp wherever it is installed, for websockets alone: more than all
# the rest of it takes, at each command. `connection.connect` brings it where an address is a websocket's.
if not {"nats", "aiohttp"} & sys.modules.keys():
    sys.modules["aiohttp"] = None  # type: ignore[assignment]
    try:
        import nats  # noqa: F401
    finally:
        del sys.modules["aiohttp"]
