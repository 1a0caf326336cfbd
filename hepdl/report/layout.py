"""A table, and how it reads as plain text, Markdown, LaTeX, CSV and HTML."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from hepdl.errors import ConfigError, unknown_name

__all__ = ["STYLES", "Cell", "Column", "Table", "render_table", "to_html"]


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: As people read it.
        latex: The same for LaTeX, already escaped; None escapes ``text``.
        numbers: Unrounded numbers for CSV, one per sub-column; None gives ``text``.
        link: A relative path that HTML links to.
    """

    text: str
    latex: str | None = None
    numbers: tuple[float | int | None, ...] | None = None
    link: str | None = None


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Attributes:
        title: As people read it.
        latex: The same for LaTeX; None escapes ``title``.
        names: Names of the sub-columns in CSV; empty takes ``title``.
        is_number: Whether it is set flush right.
        is_long: Whether its text may be broken into lines.
    """

    title: str
    latex: str | None = None
    names: tuple[str, ...] = ()
    is_number: bool = False
    is_long: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with a caption."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "ε": r"$\varepsilon$",
    "Δ": r"$\Delta$",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
    "∞": r"$\infty$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)


def to_text(table: Table) -> str:
    """Return the table for a terminal: aligned columns, two spaces apart, a rule under the head."""
    lines = [[column.title for column in table.columns]]
    lines += [[cell.text for cell in row] for row in table.rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(table.columns))]

    def join(line: list[str]) -> str:
        cells = [
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("─" * width for width in widths)
    body = [join(lines[0]), rule, *(join(line) for line in lines[1:])]
    return "\n".join([table.caption, *body] if table.caption else body)


def to_markdown(table: Table) -> str:
    """Return the table as GitHub-flavoured Markdown."""

    def join(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def clean(text: str) -> str:
        # Names keep their underscores only when these are escaped.
        for letter in "\\|_*<`":
            text = text.replace(letter, "\\" + letter)
        return text.replace("\n", " ")

    rule = ["---:" if column.is_number else "---" for column in table.columns]
    lines = [join([clean(column.title) for column in table.columns]), join(rule)]
    lines += [join([clean(cell.text) for cell in row]) for row in table.rows]
    return "\n".join([f"{clean(table.caption)}\n", *lines] if table.caption else lines)


def to_latex(table: Table) -> str:
    """Return the table as a LaTeX ``tabular`` with the rules of booktabs."""
    alignment = "".join("r" if column.is_number else "l" for column in table.columns)
    heads = [_escape_latex(c.title) if c.latex is None else c.latex for c in table.columns]
    lines = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", " & ".join(heads) + r" \\"]
    lines.append(r"\midrule")
    for row in table.rows:
        cells = [_escape_latex(cell.text) if cell.latex is None else cell.latex for cell in row]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.caption:
        lines.insert(0, f"% {table.caption}")
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """Return the table as CSV with unrounded numbers; an interval takes three columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([name for c in table.columns for name in (c.names or (c.title,))])
    for row in table.rows:
        entries: list[str | float | int | None] = []
        for column, cell in zip(table.columns, row, strict=True):
            if column.names:
                entries += cell.numbers or (None,) * len(column.names)
            else:
                entries.append(cell.text)
        writer.writerow(entries)
    return buffer.getvalue().rstrip("\n")


def to_html(table: Table) -> str:
    """Return the table as an HTML ``table`` element."""

    def kind(column: Column) -> str:
        name = "number" if column.is_number else "long" if column.is_long else ""
        return f' class="{name}"' if name else ""

    def content(cell: Cell) -> str:
        text = escape(cell.text)
        return f'<a href="{escape(quote(cell.link))}">{text}</a>' if cell.link else text

    lines = ["<table>"]
    if table.caption:
        lines.append(f"<caption>{escape(table.caption)}</caption>")
    heads = "".join(f'<th{kind(c)} scope="col">{escape(c.title)}</th>' for c in table.columns)
    lines += [f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for row in table.rows:
        cells = zip(table.columns, row, strict=True)
        lines.append(
            "<tr>" + "".join(f"<td{kind(c)}>{content(cell)}</td>" for c, cell in cells) + "</tr>"
        )
    lines += ["</tbody>", "</table>"]
    return "\n".join(lines) + "\n"


STYLES: Mapping[str, Callable[[Table], str]] = {
    "text": to_text,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "html": to_html,
}


def render_table(table: Table, style: str) -> str:
    """Return the table in one of ``STYLES``.

    Raises:
        ConfigError: The style is not one of them.
    """
    if style not in STYLES:
        raise ConfigError(unknown_name("table style", style, STYLES, where="style of the table"))
    return STYLES[style](table)
