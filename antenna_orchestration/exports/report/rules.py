"""What every report keeps: it loads nothing from elsewhere, runs nothing, and a screen reader can read all of it."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Final

_LOADING: Final = ("script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "use", "image")
_VOID: Final = ("meta", "img", "br")


def faults(html: str) -> list[str]:
    """What is wrong with a page, a line each."""
    read = _Reader()
    read.feed(html)
    read.close()
    found = read.faults
    found += [f"the id {id_} is there {number} times" for id_, number in read.ids.items() if number > 1]
    found += [f"a link leads to #{to}, which is not there" for to in sorted(read.links - read.ids.keys())]
    found += [f"{tag} is not closed" for tag in read.open]
    if read.outline[:1] != [1] or read.outline.count(1) != 1:
        found.append("a page has one first heading, and begins with it")
    found += [
        f"a heading of level {later} follows one of level {earlier}"
        for earlier, later in zip(read.outline, read.outline[1:], strict=False)
        if later > earlier + 1
    ]
    if "default-src 'none'" not in read.policy:
        found.append("there is no policy that forbids loading")
    if not read.language:
        found.append("the page does not say its language")
    return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []
        self.ids: Counter[str] = Counter()
        self.links: set[str] = set()
        self.outline: list[int] = []
        self.open: list[str] = []
        self.policy = ""
        self.language = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        where = f"line {self.getpos()[0]}, <{tag}>"
        if tag in _LOADING:
            self.faults.append(f"{where} may load or run something")
        self.faults += [f"{where} has {name}" for name in given if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            value = given.get(name)
            if value is not None and not value.startswith(("#", "data:image/jpeg;base64,")):
                self.faults.append(f"{where} refers to {value[:60]}")
        if "id" in given:
            self.ids[given["id"]] += 1
        if given.get("href", "").startswith("#"):
            self.links.add(given["href"][1:])
        if tag == "img" and not given.get("alt"):
            self.faults.append(f"{where} has no alternative text")
        if tag == "svg" and (given.get("role") != "img" or not given.get("aria-labelledby")):
            self.faults.append(f"{where} has no alternative text")
        self.links |= set(given.get("aria-labelledby", "").split())
        if re.fullmatch("h[1-6]", tag):
            self.outline.append(int(tag[1]))
        if tag == "html":
            self.language = given.get("lang", "")
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given.get("content", "")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] == [tag]:
            self.open.pop()
        else:
            self.faults.append(f"line {self.getpos()[0]}: </{tag}> closes nothing")
