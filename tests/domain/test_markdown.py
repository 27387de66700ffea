"""A15: text in Markdown is shown as it is, whatever it holds."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from antenna_orchestration.domain import markdown

HOSTILE = [
    "a|b", "**bold** _it_ `code`", "<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](http://h/p.png)",
    "http://evil.example/", "www.evil.example", "me@evil.example", "a\nb\r\n\n# c", "# Title #", "- item", "1. item",
    "12) item", "+ item", "&lt;b&gt; &amp;", "\\|", "\\", "trap\\", "~~gone~~", "$x^2$", "[^1]", "<!-- ", "]]>", "```",
    "a`b", "`", "``a``", "=1+1", "Käfer 蛾 🦋", "\u202egpj.exe", "\x1b[31mred", "\udcff", "a  \n  b", "| --- |", "===",
    "<https://h>", "![", "trap_1_left_2", "*", "a*b*c", "https://h/a_b_c?d=e&f=g", "WWW.x.org", "xmpp:a@b.c",
]  # fmt: skip

anything = st.one_of(
    st.sampled_from(HOSTILE), st.text(), st.text(alphabet="\\`*_{}[]()<>#+-.!|~&:@$='\"/w1a \n\t"),
    st.lists(st.sampled_from(HOSTILE)).map("".join),
)  # fmt: skip


class Seen(HTMLParser):
    """What a reader sees, and the elements that it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.elements: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.text += dict(attrs).get("alt") or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(source: str) -> Seen:
    reader = Seen()
    reader.feed(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(source))
    return reader


def plain(text: str) -> str:
    return " ".join("".join(one if one.isprintable() or one.isspace() else "\ufffd" for one in text).split())


@given(anything)
def test_text_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    shown = markdown.escape(text)
    assert "\n" not in shown
    cell = seen(f"| a | b |\n| --- | --- |\n| {shown} | 7 |\n")
    assert cell.elements == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    assert "".join(cell.text.split()) == f"ab{''.join(plain(text).split())}7"
    for before, elements in (("# Job 1: ", ["h1"]), ("- ", ["ul", "li"]), ("Project ", ["p"])):
        line = seen(f"{before}{shown}\n")
        assert line.elements == elements
        assert line.text.strip() == f"{before.lstrip('#- ')}{plain(text)}".strip()
    picture = seen(f"![{shown}](sample-1.jpg)")
    assert (picture.elements, picture.text.strip()) == (["p", "img"], plain(text))


@given(anything)
def test_code_is_shown_as_it_is(text: str) -> None:
    line = seen(f"- {markdown.code(text)}\n")
    assert line.elements == ["ul", "li", "code"]
    assert line.text.strip() == plain(text)


@pytest.mark.parametrize("text", ["http://evil.example/", "www.evil.example", "me@evil.example", "Www.evil.example"])
def test_no_text_becomes_a_link_by_itself(text: str) -> None:
    """Not in the viewers that make links of bare addresses either."""
    shown = markdown.escape(text)
    assert not any(part in shown.lower() for part in ("p://", "www.e", "e@e"))


@pytest.mark.parametrize("text", ["pond 2026-06-01.jpg: 3 detections", "Noctua pronuba", "00:12, 5 %", "a (b), c"])
def test_ordinary_text_stays_readable_in_the_file(text: str) -> None:
    assert markdown.escape(text) == text
