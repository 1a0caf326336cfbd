"""The page is well formed, needs nothing from outside, and shows names as they are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hepdl.errors import DataError, EnvironmentFailure
from hepdl.report.html import Details, Page, Picture, Section, Text, render, write
from hepdl.report.layout import Cell, Column, Table

EVIL = '<b>&"</b><script>alert(1)</script>'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Checker(HTMLParser):
    """Collect what is needed to judge a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action", "data"}:
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "figures" / "roc curve.png"
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return Picture(path, f"ROC of {EVIL}", others=(path.with_suffix(".pdf"),), is_wide=True)


@pytest.fixture
def page(picture: Picture) -> Page:
    table = Table(
        (Column("model"), Column("AUC", is_number=True), Column("file", is_long=True)),
        ((Cell(EVIL), Cell("0.88 ± 0.01"), Cell("metrics", link="metrics.json")),),
        caption=EVIL,
    )
    blocks = (Text((EVIL, "second")), Text(("a", "b"), as_list=True), table, picture, picture)
    return Page(
        title=f"Tagging {EVIL}",
        summary=(EVIL,),
        sections=(
            Section("Comparison", blocks),
            Section(EVIL, (Details("Configuration", f"key: {EVIL}\n  indented: true"),)),
            Section("Empty", ()),
        ),
        footer=EVIL,
    )


def parse(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    checker.close()
    assert checker.open == []
    return checker


def test_page_is_well_formed_and_shows_names_literally(page, tmp_path):
    checker = parse(render(page, folder=tmp_path))
    assert "script" not in checker.tags
    assert "b" not in checker.tags
    assert checker.text.count(EVIL) >= 8
    assert "  indented: true" in checker.text


def test_page_refers_to_nothing_outside_its_folder(page, tmp_path):
    text = render(page, folder=tmp_path)
    assert not re.search(r"(?i)https?:|//[a-z]|@import|url\(", text)
    for reference in parse(text).references:
        assert reference.startswith(("#", "data:image/png;base64,", "figures/", "metrics.json"))


def test_contents_lead_to_every_section(page, tmp_path):
    checker = parse(render(page, folder=tmp_path))
    anchors = [reference[1:] for reference in checker.references if reference.startswith("#")]
    assert anchors == ["section-1", "section-2", "section-3"]
    assert [name for name in checker.ids if name in anchors] == anchors


def test_links_to_other_formats_are_relative_and_quoted(page, tmp_path):
    assert "figures/roc%20curve.pdf" in parse(render(page, folder=tmp_path)).references


def test_dollars_in_the_content_are_no_placeholders(tmp_path):
    text = render(Page("cost $title $$ ${style}", ("$summary",), ()), folder=tmp_path)
    assert "cost $title $$ ${style}" in parse(text).text


def test_writing_leaves_only_the_page(page, tmp_path):
    path = tmp_path / "run" / "report.html"
    write(path, page)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_page_that_cannot_be_written_says_where(page, tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("a file")
    with pytest.raises(EnvironmentFailure, match=r"cannot write the report .*report\.html"):
        write(blocked / "report.html", page)


def test_a_missing_picture_is_named_and_no_page_is_left(tmp_path):
    gone = Page("t", (), (Section("s", (Picture(tmp_path / "gone.png", "c"),)),))
    with pytest.raises(DataError, match=r"cannot read the picture .*gone\.png"):
        write(tmp_path / "report.html", gone)
    assert list(tmp_path.iterdir()) == []
