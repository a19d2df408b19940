"""Reading the page as a browser would: its elements, their attributes and the text in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.pieces).split())


class Page(HTMLParser):
    """All elements in their order; each has the text of those in it."""

    _VOID = frozenset({"meta", "link", "input", "br", "line", "path"})

    reload: str | None = None
    """Of the header `Refresh`, where a test has noted it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.elements.append(element)
        if tag not in self._VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self._open and tag not in self._VOID:
            if self._open.pop().tag == tag:
                return

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.pieces.append(data)

    def all(self, tag: str, css_class: str | None = None) -> list[Element]:
        return [
            each
            for each in self.elements
            if each.tag == tag
            and (css_class is None or css_class in (each.attributes.get("class") or "").split())
        ]

    def one(self, tag: str, css_class: str | None = None) -> Element:
        [element] = self.all(tag, css_class)
        return element

    def figures(self) -> dict[str, list[str]]:
        """The numbers on top of the page, with the lines below each."""
        return {
            parts[0]: parts[1:]
            for block in self.all("dl", "figures")
            if (parts := [line.strip() for line in block.text.splitlines() if line.strip()])
        }

    def tables(self, css_class: str) -> list[list[str]]:
        return [row.text.split() for row in self.all("table", css_class)]
