"""What in a text for people would let its readers in somewhere: signatures, tokens and passwords, mostly in URLs.

Reasons and messages quote what libraries and other people's programs say, and those like to repeat a whole URL. Who
writes such a text down, or logs it, calls this before. What a URL names stays readable: only the query, the fragment
and the login go.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "\N{HORIZONTAL ELLIPSIS}"
"""What stands for each of them."""

_END: Final = r"\s'\"<>`|(){}\[\]"
"""What ends a URL in a text."""

_HINT: Final = re.compile(
    r"[=@?#]|%3[df]|%23|%40|bearer|basic|token|passw|pwd|secret|signature|api[_-]?key|authorization|ant_|AKIA|ASIA",
    re.IGNORECASE,
)
"""In every such text, and not in most others."""

_LOGIN: Final = re.compile(rf"(?P<before>(?:://|%3A%2F%2F))[^{_END}/?#]*(?:@|%40)", re.IGNORECASE)

# A password with a slash, as nobody should write it: up to the last @, if a colon comes before.
_LOGIN_WITH_SLASH: Final = re.compile(rf"(?P<before>://)[^{_END}/?#:@]*:(?!\d{{1,5}}(?:/|\b))[^{_END}]*@")

_QUERY: Final = re.compile(rf"(?P<mark>\?|#|%3F|%23)(?P<pairs>[^{_END}]+)", re.IGNORECASE)

_NAMES: Final = (
    r"x-(?:amz|goog)-[a-z-]{1,40}"
    r"|[\w-]{0,40}(?:signature|token|password|passwd|secret|api[_-]?key|access[_-]?key(?:id)?)[\w-]{0,40}"
    r"|googleaccessid|key-pair-id|account[_-]?key|shared[_-]?access[_-]?key|authorization|sig|pwd"
)

_KIND: Final = r"(?:(?:bearer|basic|token)\s{1,3})?"

# Behind a colon there may be any sentence: only what is quoted or has a digit is a value.
_NAMED: Final = re.compile(
    rf"(?P<name>\b(?:{_NAMES})['\"]?\s{{0,3}}(?:=\s{{0,3}}['\"]?|:\s{{0,3}}(?:['\"]|(?={_KIND}[^\s,;]*\d))){_KIND})"
    r"[^\s'\"&,;<>)}\]]+",
    re.IGNORECASE,
)

# After these names a colon is followed by a value and by no sentence.
_HEADER: Final = re.compile(
    rf"(?P<name>\b(?:(?:proxy-)?authorization|x-(?:amz|goog)-[a-z-]{{1,40}}|x-api-key|password|passwd|pwd)['\"]?"
    rf"\s{{0,3}}:\s{{0,3}}(?:b?['\"])?+{_KIND}+)[^\s'\"&,;<>)}}\]{HIDDEN}]+",
    re.IGNORECASE,
)

_SCHEME: Final = re.compile(
    r"(?P<name>\b(?:bearer\s{1,3}|(?:basic|token)\s{1,3}(?=[\w.~+/-]*[\d._~+/])))[\w.~+/=-]{16,}", re.IGNORECASE
)

_KEYS: Final = re.compile(r"\bant_(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{40,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
"""Tokens of our own, and access keys of AWS, as long as both are: photographs of ants are called ant_…, too."""


def without_secrets(text: str) -> str:
    """The text without what lets anybody in; idempotent."""
    if not _HINT.search(text):
        return text
    text = _LOGIN.sub(r"\g<before>", text)
    text = _LOGIN_WITH_SLASH.sub(r"\g<before>", text)
    text = _QUERY.sub(_query, text)
    text = _NAMED.sub(rf"\g<name>{HIDDEN}", text)
    text = _HEADER.sub(rf"\g<name>{HIDDEN}", text)
    text = _SCHEME.sub(rf"\g<name>{HIDDEN}", text)
    return _KEYS.sub(HIDDEN, text)


def _query(found: re.Match[str]) -> str:
    pairs = found["pairs"]
    return f"{found['mark']}{HIDDEN}" if "=" in pairs or "%3d" in pairs.lower() else found.group()
