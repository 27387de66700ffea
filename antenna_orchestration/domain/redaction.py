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

_URL_HINT: Final = re.compile(r"[@?#]|%(?:25)*(?:3f|23|40)", re.IGNORECASE)

_NAME_HINT: Final = re.compile(
    r"bearer|basic|token|passw|pwd|secret|sig|api[_-]?key|access|credential|key-pair|account|authorization|cookie|x-amz"
    r"|x-goog|private key|ant_|a[ks]ia|gh[a-z]_|github_pat_|glpat-|hf_|sk-|xox|aiza|eyj",
    re.IGNORECASE,
)
"""Either is in every text with a secret, and in most others is neither."""

# Encoded once or more often.
_COLON, _SLASH, _AT = (rf"(?:{plain}|%(?:25)*{code})" for plain, code in ((":", "3A"), ("/", "2F"), ("@", "40")))

_AFTER_SCHEME: Final = rf"(?P<before>{_COLON}{_SLASH}{_SLASH})"

_LONGEST: Final = 500
"""Characters of a login, so that a long text takes no longer than its length."""

_IS_PORT: Final = r"\d{1,5}(?:/|[\"'`<>|(){}\[\]]*(?:[,;.:\s]|$))"

_LOGINS: Final = (
    # A name or a token alone.
    re.compile(rf"{_AFTER_SCHEME}[^\s'\"<>`|/?#,;]{{0,{_LONGEST}}}{_AT}", re.IGNORECASE),
    # A password may have any character. One with a slash goes to the last @, if a colon comes before.
    re.compile(rf"(?P<before>://)[^\s'\"<>`|/?#:@,;]*+:(?!{_IS_PORT})\S{{0,{_LONGEST}}}@"),
)

_WORD: Final = re.compile(r"\S+")

_MARK: Final = re.compile(r"[?#]|%(?:25)*(?:3F|23)", re.IGNORECASE)

_MOST_MARKS: Final = 20
"""In a word; one with more is cut at the first, so that a long text takes no longer than its length."""

_PAIR: Final = re.compile(r"=|%(?:25)*3D", re.IGNORECASE)

_HTTP: Final = re.compile(rf"\bhttps?{_COLON}{_SLASH}{_SLASH}", re.IGNORECASE)

_CLOSER: Final = {"'": "'", '"': '"', "`": "`", "<": ">", "|": "|", "(": ")", "{": "}", "[": "]"}

_DELIMITERS: Final = "'\"`<>|(){}[]"

_TAIL: Final = _DELIMITERS + ",;:.!\\"
"""What belongs to the sentence, where a word ends with it."""

_FILE: Final = (
    r"\.(?:jpe?g|png|tiff?|gif|bmp|webp|heic|dng|cr2|nef|arw|csv|tsv|json|parquet|txt|xml|html|zip|gz|pt|pth|onnx|py)"
)

_IS_FILE: Final = re.compile(rf"[^&]*{_FILE}", re.IGNORECASE)

_STRONG: Final = (
    r"x-(?:amz|goog)-[a-z-]{1,40}"
    r"|[\w-]{0,40}(?:signature|password|passwd|secret|api[_-]?key|access[_-]?key(?:id)?|credential)[\w-]{0,40}"
    r"|googleaccessid|key-pair-id|account[_-]?key|authorization|sig|pwd"
)
"""Names of what is a secret, whatever it looks like."""

_OF_TOKENS: Final = r"[\w-]{1,40}[_-]token|(?:auth|access|id|session|refresh)token"

_NO_SECRET: Final = rf"(?!\d+(?![\w.-])|[\w.-]{{1,200}}?{_FILE}\b)"
"""What a token is not: a number, or a file's name."""

_KIND: Final = r"(?:(?:bearer|basic|token)\s{1,3}+)?+"

_QUOTE: Final = r"\\{0,3}['\"]"

# A quote or a bracket within it belongs to it, if a letter follows.
_BARE: Final = r"(?:[^\s&,;'\"<>\\]|\\(?!\\*['\"])|['\"<>](?=\w))"

# After an opening quote it goes up to the same one.
_VALUE: Final = rf"(?:(?<=')[^'\\\n]*(?:\\.[^'\\\n]*)*+(?=')|(?<=\")[^\"\\\n]*(?:\\.[^\"\\\n]*)*+(?=\")|{_BARE}+)"

# Behind a colon there may be any sentence: only what is quoted or has a digit is a value.
_BEHIND: Final = (
    rf"(?:{_QUOTE})?+\s{{0,3}}+(?:=\s{{0,3}}+(?:b?{_QUOTE})?+|:\s{{0,3}}+(?:b?{_QUOTE}|(?={_KIND}[^\s,;]{{0,200}}?\d)))"
)

_NAMED: Final = (
    re.compile(rf"(?P<name>(?<![\w-])(?:{_STRONG}){_BEHIND}{_KIND})(?P<value>{_VALUE})", re.IGNORECASE),
    re.compile(rf"(?P<name>(?<![\w-])(?:{_OF_TOKENS}){_BEHIND}){_NO_SECRET}(?P<value>{_VALUE})", re.IGNORECASE),
    # Parsers speak of tokens, too.
    re.compile(
        rf"(?P<name>(?:\btoken\s{{0,3}}=\s{{0,3}}(?:{_QUOTE})?+|{_QUOTE}token{_QUOTE}\s{{0,3}}:\s{{0,3}}{_QUOTE}"
        rf"|\btoken:\s{{0,3}}(?:{_QUOTE})?+(?=[\w.~+/=-]{{16}})(?=[a-z_.~+/=-]*\d))){_NO_SECRET}(?P<value>(?=\S{{6}}){_VALUE})",
        re.IGNORECASE,
    ),
    # After these names a colon is followed by a value and by no sentence.
    re.compile(
        rf"(?P<name>(?<![\w-])(?:(?:proxy-)?authorization|x-(?:amz|goog)-[a-z-]{{1,40}}|x-(?:api-key|auth-token)|password"
        rf"|passwd|pwd)(?:{_QUOTE})?+\s{{0,3}}+:\s{{0,3}}+(?:b?{_QUOTE})?+{_KIND})(?P<value>{_VALUE})",
        re.IGNORECASE,
    ),
    # Cookies, elements of XML, and what stands behind the name of a scheme.
    re.compile(
        rf"(?P<name>(?<![\w-])(?:set-)?cookie(?:{_QUOTE})?+\s{{0,3}}+[:=]\s{{0,3}}+(?:b?{_QUOTE})?+)"
        r"(?P<value>[\w.!#$%&*+^~-]+=(?:[^\s;,'\"]|;\s?(?=[\w.!#$%&*+^~-]+=))*+)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<name>(?:<|&lt;)(?:[\w.-]{1,40}:)?(?:[\w.-]{0,40}(?:signature|token|password|secret|accesskey|credential)[\w.-]{0,40})"
        r"(?:\s[^<>&\n]{0,200})?(?:>|&gt;))(?P<value>[^\s<&]+)",
        re.IGNORECASE,
    ),
    re.compile(
        r"(?P<name>\b(?:bearer\s{1,3}|(?:basic|token)\s{1,3}(?=[\w.~+/-]*[\d._~+/])))(?P<value>[\w.~+/=-]{16,})",
        re.IGNORECASE,
    ),
)

_KEYS: Final = re.compile(
    r"\bant_(?=[\w-]*[A-Z])(?=[\w-]*[a-z])(?=[\w-]*\d)[\w-]{40,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bgh[oprsu]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{20,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bsk-(?=[\w-]{0,60}\d)[\w-]{20,}|\bAIza[\w-]{35}|\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?"
    r"|(?<=PRIVATE KEY-----)[^-]+"
)
"""Keys that show what they are, as long as they are: photographs of ants are called ant_…, too."""


def without_secrets(text: str) -> str:
    """The text without what lets anybody in; idempotent."""
    if _URL_HINT.search(text):
        for login in _LOGINS:
            text = login.sub(r"\g<before>", text)
        text = _WORD.sub(_word, text)
    if _NAME_HINT.search(text):
        for pattern in _NAMED:
            text = pattern.sub(_named, text)
        text = _KEYS.sub(HIDDEN, text)
    return text


def _word(found: re.Match[str]) -> str:
    """What stands between two spaces, without the queries in it."""
    word = found.group()
    first = _MARK.search(word)
    if first is None:
        return word
    if len(_MARK.findall(word)) > _MOST_MARKS:
        return word[: first.end()] + HIDDEN if _PAIR.search(word) or _HTTP.search(word) else word
    # As urllib3 says which file of a host it was.
    is_address = found.string[max(found.start() - 5, 0) : found.start()].lower() == "url: "
    begun, rest = "", word
    while mark := _MARK.search(rest):
        begun, rest = begun + rest[: mark.end()], rest[mark.end() :]
        end = _end(begun, rest)
        is_http = is_address or _HTTP.search(begun) is not None
        if _is_query(rest[:end], is_http=is_http, is_fragment=mark.group().endswith(("#", "23"))):
            begun, rest = begun + HIDDEN, rest[end:]
    return begun + rest


def _end(before: str, rest: str) -> int:
    """How much of the rest of a word belongs to the query that begins there."""
    opened = max(map(before.rfind, _DELIMITERS))
    closer = _CLOSER.get(before[opened]) if opened >= 0 else None
    # An even number of quotes has closed again what it opened.
    if closer and (closer != before[opened] or before.count(closer) % 2):
        is_escaped = before[:opened].endswith("\\")
        place = rest.find(closer)
        while place >= 0:
            if not rest[place + 1 : place + 2].isalnum() and rest[:place].endswith("\\") == is_escaped:
                return len(rest[:place].rstrip("\\"))
            place = rest.find(closer, place + 1)
    return len(rest.rstrip(_TAIL))


def _is_query(text: str, *, is_http: bool, is_fragment: bool) -> bool:
    if text in ("", HIDDEN):
        return False
    if not _PAIR.search(text):
        return is_http and not is_fragment
    # A file may have any name.
    return is_http or not _IS_FILE.fullmatch(text) or bool(_NAMED[0].search(text))


def _named(found: re.Match[str]) -> str:
    value = found["value"]
    kept = value.rstrip(_TAIL)
    if not kept or kept.startswith(HIDDEN):
        return found.group()
    return f"{found['name']}{HIDDEN}{value[len(kept) :]}"
