"""Signed URLs: what in them is the signature, which says who may read for how long, and not what is read."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_HINT: Final = re.compile(r"[?&][^=&]*sig", re.IGNORECASE)
"""In every signed URL, and in few others."""


class _Scheme(NamedTuple):
    """One way of signing: the parameters that show it, all in lower case, and those that belong to it."""

    # A URL without all of them may use one of these names for something else, and is left as it is.
    shown_by: frozenset[str]
    # And one of these; empty if none is needed.
    one_of: frozenset[str]
    # The parameters that belong to the signature.
    parts: re.Pattern[str]


_SCHEMES: Final = (
    # AWS and compatible stores, Signature Version 4.
    _Scheme(
        frozenset({"x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"}),
        frozenset(),
        re.compile(r"x-amz-.*"),
    ),
    # Google Cloud Storage, V4.
    _Scheme(
        frozenset({"x-goog-algorithm", "x-goog-credential", "x-goog-date", "x-goog-signature"}),
        frozenset(),
        re.compile(r"x-goog-.*"),
    ),
    # Azure: shared access signatures of a service, an account, or a user's delegation.
    _Scheme(
        frozenset({"sig", "sv"}),
        frozenset({"se", "si"}),
        re.compile(r"sig|sv|ss|srt|sr|sp|st|se|sip|spr|si|sdd|ses|skoid|sktid|skt|ske|sks|skv|saoid|suoid|scid"),
    ),
    # AWS, Signature Version 2; Google Cloud Storage, V2; CloudFront.
    _Scheme(
        frozenset({"signature"}),
        frozenset({"awsaccesskeyid", "googleaccessid", "key-pair-id"}),
        re.compile(r"signature|expires|policy|awsaccesskeyid|googleaccessid|key-pair-id|x-amz-security-token"),
    ),
)


def without(url: str) -> str:
    """An http(s) URL without its signature; the URL itself where none is recognized for sure.

    The other parameters stay as they are written and in their order: they may say what is read, as `versionId` does.
    """
    if not _HINT.search(url):
        return url
    before, _, rest = url.partition("?")
    query, mark, fragment = rest.partition("#")
    pairs = query.split("&")
    names = {_name(pair) for pair in pairs}
    for scheme in _SCHEMES:
        if scheme.shown_by <= names and (not scheme.one_of or scheme.one_of & names):
            kept = "&".join(pair for pair in pairs if not scheme.parts.fullmatch(_name(pair)))
            return before + (f"?{kept}" if kept else "") + mark + fragment
    return url


def is_signed(url: str) -> bool:
    """Whether an http(s) URL is signed for sure; such a link is good for one method only."""
    return without(url) != url


def _name(pair: str) -> str:
    return pair.partition("=")[0].lower()
