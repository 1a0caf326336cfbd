"""One HTML file that holds a whole page: text, tables and pictures, and needs nothing else.

No script, no font, no style sheet and no picture is fetched from anywhere, so the file opens the
same from a mail, a cluster's file system or a telephone.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from hepdl.errors import DataError, EnvironmentFailure
from hepdl.report.layout import Table, to_html

__all__ = ["Block", "Details", "Page", "Picture", "Section", "Text", "render", "write"]


@dataclass(frozen=True)
class Text:
    """A paragraph, or with several entries a list; plain text, no markup.

    Attributes:
        paragraphs: One entry a paragraph.
        as_list: Show the entries as the points of a list.
    """

    paragraphs: tuple[str, ...]
    as_list: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure that lies on disk as PNG; it is put into the page.

    Attributes:
        path: The PNG file.
        caption: One or two sentences: what is drawn, and what to look for.
        others: The same figure in other formats, e.g. the PDF; linked relative to the page.
        is_wide: Let the figure take the whole width of the page.
    """

    path: Path
    caption: str
    others: tuple[Path, ...] = ()
    is_wide: bool = False


@dataclass(frozen=True)
class Details:
    """Long text that opens on a click, e.g. the configuration; white space is kept."""

    summary: str
    text: str


Block = Text | Picture | Table | Details


@dataclass(frozen=True)
class Section:
    """A part of the page with its entry in the table of contents."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Heading, and the title of the window.
        summary: The result in a few plain sentences.
        sections: What follows, in order.
        footer: When and with what it was made.
    """

    title: str
    summary: tuple[str, ...]
    sections: tuple[Section, ...]
    footer: str = ""


_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#f6f7f9;color:#1c2127;line-height:1.5;
 font-family:system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif}
main{max-width:80rem;margin:0 auto;padding:1.2rem}
header,section{background:#fff;border:1px solid #e2e5ea;border-radius:8px;
 padding:1rem 1.4rem;margin:0 0 1.2rem}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .6rem}
h2{font-size:1.2rem;margin:.2rem 0 .8rem;padding-bottom:.3rem;border-bottom:2px solid #3f90da}
p,li{max-width:46rem;margin:.4rem 0}
.summary{border-left:4px solid #3f90da;padding:.1rem 0 .1rem 1rem}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:0;margin:.8rem 0 .2rem}
a{color:#1f6fb8;text-decoration:none}
a:hover,a:focus{text-decoration:underline}
.figures{display:flex;flex-wrap:wrap;gap:1.2rem 2rem;align-items:flex-start}
figure{margin:.6rem 0;flex:1 1 26rem;max-width:38rem;min-width:0}
figure.wide{flex-basis:100%;max-width:100%}
.scroll{overflow-x:auto}
img{display:block;width:100%;height:auto;background:#fff}
figcaption{font-size:.9rem;color:#424a54;margin-top:.4rem;max-width:46rem}
.table{margin:.7rem 0 1.2rem}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
caption{text-align:left;font-size:.9rem;color:#424a54;padding-bottom:.4rem}
th,td{padding:.32rem .5rem;border-bottom:1px solid #e2e5ea;white-space:nowrap;text-align:left;
 vertical-align:top}
th{border-bottom:2px solid #aab2bd;background:#f6f7f9}
td.number,th.number{text-align:right}
td.long{white-space:normal;min-width:22rem}
th:first-child,td:first-child{position:sticky;left:0}
td:first-child{background:#fff}
tbody tr:hover td{background:#f2f7fc}
details{margin:.6rem 0}
summary{cursor:pointer;color:#1f6fb8}
pre{overflow:auto;max-height:36rem;background:#f6f7f9;border:1px solid #e2e5ea;border-radius:6px;
 padding:.8rem;font-size:.8rem;line-height:1.4}
footer{font-size:.82rem;color:#5b6570;padding:0 .4rem 1rem}
@media (max-width:40rem){main{padding:.5rem}header,section{padding:.7rem .8rem;border-radius:6px}
 h1{font-size:1.3rem}th,td{padding:.3rem .45rem}.wide img{min-width:42rem}}
@media print{body{background:#fff}header,section{border:0;padding:0}details{display:none}
 figure{break-inside:avoid}}
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>$title</h1>
<div class="summary">
$summary
</div>
<nav aria-label="Contents">
<ul>
$contents
</ul>
</nav>
</header>
$sections
<footer>$footer</footer>
</main>
</body>
</html>
""")


def render(page: Page, *, folder: Path) -> str:
    """Return the page as HTML.

    Args:
        page: The content; all text is escaped here.
        folder: Where the page will lie; links to other files are relative to it.

    Raises:
        DataError: A picture cannot be read.
    """
    ids = [f"section-{number}" for number in range(1, len(page.sections) + 1)]
    contents = [
        f'<li><a href="#{name}">{escape(section.title)}</a></li>'
        for name, section in zip(ids, page.sections, strict=True)
    ]
    sections = [
        f'<section id="{name}">\n<h2>{escape(section.title)}</h2>\n{_blocks(section, folder)}\n'
        "</section>"
        for name, section in zip(ids, page.sections, strict=True)
    ]
    return _PAGE.substitute(
        title=escape(page.title),
        style=_STYLE,
        summary="\n".join(f"<p>{escape(sentence)}</p>" for sentence in page.summary),
        contents="\n".join(contents),
        sections="\n".join(sections),
        footer=escape(page.footer),
    )


def write(path: Path, page: Page) -> None:
    """Write the page, whole or not at all.

    Raises:
        DataError: A picture cannot be read.
        EnvironmentFailure: The file cannot be written.
    """
    text = render(page, folder=path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        message = f"cannot write the report {path}: {error.strerror or error}"
        raise EnvironmentFailure(message) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def _blocks(section: Section, folder: Path) -> str:
    """Return the blocks; pictures that follow each other share a row where there is room."""
    parts: list[str] = []
    is_open = False
    for block in section.blocks:
        if isinstance(block, Picture) != is_open:
            parts.append("</div>" if is_open else '<div class="figures">')
            is_open = not is_open
        parts.append(_block(block, folder))
    if is_open:
        parts.append("</div>")
    return "\n".join(parts)


def _block(block: Block, folder: Path) -> str:
    if isinstance(block, Table):
        return f'<div class="scroll table">\n{to_html(block)}</div>'
    if isinstance(block, Picture):
        return _picture(block, folder)
    if isinstance(block, Details):
        return (
            f"<details>\n<summary>{escape(block.summary)}</summary>\n"
            f"<pre>{escape(block.text)}</pre>\n</details>"
        )
    if block.as_list:
        points = "\n".join(f"<li>{escape(entry)}</li>" for entry in block.paragraphs)
        return f"<ul>\n{points}\n</ul>"
    return "\n".join(f"<p>{escape(entry)}</p>" for entry in block.paragraphs)


def _picture(picture: Picture, folder: Path) -> str:
    try:
        content = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    except OSError as error:
        message = f"cannot read the picture {picture.path}: {error.strerror or error}"
        raise DataError(message) from error
    links = " ".join(
        f'<a href="{escape(_relative(other, folder))}">{escape(other.suffix.lstrip(".").upper())}</a>'
        for other in picture.others
    )
    caption = escape(picture.caption)
    kind = ' class="wide"' if picture.is_wide else ""
    return (
        f'<figure{kind}>\n<div class="scroll"><img alt="{caption}" '
        f'src="data:image/png;base64,{content}"></div>\n'
        f"<figcaption>{caption} {links}</figcaption>\n</figure>"
    )


def _relative(path: Path, folder: Path) -> str:
    return quote(Path(os.path.relpath(path, folder)).as_posix())
