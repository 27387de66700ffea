"""Which proxy an image's URL is fetched through: as `http_proxy`, `https_proxy` and `no_proxy` say, like weights."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL

from antenna_orchestration import errors


def proxy_for(url: URL) -> URL | None:
    """The proxy; None for a direct connection. Raises `ImageForbidden` for a variable that names no HTTP proxy."""
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(url.host or ""):
        return None
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
    except ValueError:
        proxy = URL()
    if proxy.scheme not in ("http", "https") or not proxy.host:
        # Never the value, which may hold a password.
        raise errors.ImageForbidden(f"{url.scheme}_proxy of this worker names no http:// proxy")
    return proxy
