"""Pages: one file that loads nothing, says what it was given and nothing else, and is the same each time."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

import pytest

from offline.pages import COLOURS, Page, figure, plot, table, text, tiles

VOID = {"meta", "link", "br", "img"}


class Reader(HTMLParser):
    """Collects what a page says, its ids, and what it would load; fails on tags that do not match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._seen(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id" and value:
                self.ids.append(value)
            if name in ("src", "href", "xlink:href") and value:
                self.loads.append(value)


def a_page() -> Page:
    page = Page("Report & <b>more</b>", "a week")
    blocks = []
    for values in ([1, 3, 2], [2, 2, 5]):
        fig, axes = plot()
        axes.plot([1, 2, 3], values, marker="o", label="first <i>")
        axes.set_title("x < y")
        axes.legend()
        blocks.append(figure(fig, "A <caption>", 'says "nothing" & more'))
    page.section("Figures", *blocks)
    page.section("Words", text("one <script>alert(1)</script>\n\ntwo"), tiles([("people", "3", "<few>")]))
    page.section("Table", table(["name", "share"], [["<u>", "3.1 %"]], "<cap>"))
    return page


def test_a_page_is_whole_and_loads_nothing() -> None:
    read = Reader(a_page().html())

    assert read.tags.isdisjoint({"script", "img", "iframe", "object", "b", "i", "u", "few"})
    assert all(target.startswith("#") or target == "data:," for target in read.loads)
    assert "@import" not in a_page().html()
    assert not re.search(r"url\((?!#)", a_page().html())


def test_every_given_word_stands_on_the_page_as_it_was() -> None:
    said = "".join(Reader(a_page().html()).words)

    for given in ("Report & <b>more</b>", "<script>alert(1)</script>", "<few>", "<u>", "<cap>", "x < y", "A <caption>"):
        assert given in said


def test_figures_of_one_page_share_no_names() -> None:
    read = Reader(a_page().html())

    assert len(read.ids) == len(set(read.ids))
    assert {target[1:] for target in read.loads if target.startswith("#")} <= set(read.ids)
    assert set(re.findall(r"url\(#([^)]*)\)", a_page().html())) <= set(read.ids)


def test_the_same_content_is_the_same_file() -> None:
    assert a_page().html() == a_page().html()


def test_a_figure_fits_the_width_there_is() -> None:
    root = re.search(r"<svg[^>]*>", a_page().html())

    assert root is not None
    assert "viewBox" in root[0]
    assert not re.search(r"\b(width|height)=", root[0])


@pytest.mark.parametrize(
    "cell", ["0.31", "-0.02", "1,234", "3.1 %", "0.31 ± 0.02", "0.29 to 0.33", "< 0.001", "$0.02", "12 ms"]
)
def test_numbers_stand_to_the_right(cell: str) -> None:
    assert 'class="n"' in table(["value"], [[cell], ["\u2013"]]).html


@pytest.mark.parametrize("cell", ["igw-ucb", "v1", "2025-01-02", "3 of these are words", "-"])
def test_words_and_dates_stand_to_the_left(cell: str) -> None:
    assert 'class="n"' not in table(["value"], [[cell], ["none"]]).html


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        table(["a", "b"], [["1"]])


def test_lines_differ_in_the_houses_colours() -> None:
    fig, axes = plot()
    lines = [axes.plot([0, 1], [n, n])[0].get_color() for n in range(len(COLOURS))]

    assert lines == list(COLOURS)
    assert fig.get_size_inches().tolist() == [7, 3.2]


@pytest.mark.parametrize("name", [r"$\frac{$", "$a$b_{", "<script>alert(1)</script>", "\u6f22\u5b57"])
def test_names_from_anywhere_stand_in_a_figure_as_they_are(name: str) -> None:
    fig, axes = plot()
    axes.plot([0, 1], [0, 1], label=name)
    axes.set_xticks([0, 1], [name, "other"])
    axes.legend()
    html = figure(fig, name, name).html
    assert "<script" not in html
    written = [unescape(found) for found in re.findall(r"<text[^>]*>([^<]*)</text>", html)]
    assert written.count(name) == 2
