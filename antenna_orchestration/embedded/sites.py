"""Give a site its NATS user, or lock it out, while the bundled server runs: nobody else's connection notices."""

from __future__ import annotations

from urllib.parse import urlsplit

from antenna_orchestration import errors
from antenna_orchestration import settings as settings_module
from antenna_orchestration.embedded import credentials, nats_sites
from antenna_orchestration.embedded.home import Home
from antenna_orchestration.embedded.nats_server import NatsServer

ABSENT = "the stack does not run, so this holds from its next start"


def create(settings: settings_module.Settings, *, label: str) -> tuple[nats_sites.Site, str, str]:
    """Make a user for a site; the site, the URL for its workers, and a warning or an empty text.

    Raises `InvalidInput` when NATS is a server of one's own, or for a label that cannot be shown.
    """
    server = _server(settings)
    site = nats_sites.add(server.home, label)
    return site, f"nats://{site.user}:{site.password}@127.0.0.1:{server.port}", _load(server)


def revoke(settings: settings_module.Settings, fingerprint: str) -> str:
    """Lock a site out, whose connections end at once; idempotent. A warning, or an empty text.

    Raises `NotFound` for a fingerprint that is not a site's.
    """
    if not nats_sites.revoke(Home(settings.home), fingerprint):
        raise errors.NotFound(f"there is no site {fingerprint}")
    return _load(_server(settings))


def _server(settings: settings_module.Settings) -> NatsServer:
    home = Home(settings.home)
    parts = urlsplit(settings.nats_url.split(",")[0])
    known = credentials.load(home) if home.credentials_file.exists() else None
    if known is None or parts.password != known.orchestrator or parts.port is None:
        raise errors.InvalidInput(
            "this deployment does not use the bundled NATS of its home: give the site a user in the configuration of "
            "your own server (docs/howto/own-servers.md)"
        )
    return NatsServer(home=home, port=parts.port, credentials=known)


def _load(server: NatsServer) -> str:
    server.write_users()
    try:
        server.reload()
    except errors.Unavailable:
        return ABSENT
    return ""
