"""Tables of yields, significances and variations, from what ``metrics.json`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hepdl.report.layout import Cell, Column, Table
from hepdl.report.numbers import whole, with_error, with_interval
from hepdl.report.sentences import DASH

__all__ = ["significance_table", "variations_table", "yields_table"]

Entry = Mapping[str, Any]
_EMPTY = Cell(DASH, latex="--")


def yields_table(metrics: Entry) -> Table:
    """Return the number of events of each process at the luminosity, with its statistical error."""
    columns = (
        Column("process"),
        Column("yield", is_number=True),
        Column("entries", is_number=True),
        Column("effective entries", is_number=True),
    )
    rows = tuple(
        (
            Cell(name),
            Cell(with_error(entry["value"], entry["statistical_error"])),
            Cell(whole(entry["n_entries"])),
            Cell(whole(round(entry["n_effective"]))),
        )
        for name, entry in metrics.get("yields", {}).items()
    )
    return Table(columns, rows, "Events of each process; test events stand for all of them.")


def significance_table(metrics: Entry) -> Table:
    """Return the Asimov significance of each model behind the cut, and bin by bin."""
    columns = (
        Column("model"),
        Column("Z behind the cut", is_number=True),
        Column("signal", is_number=True),
        Column("background", is_number=True),
        Column("its entries", is_number=True),
        Column("Z of all bins", is_number=True),
        Column("note"),
    )
    rows = []
    for name, model in metrics["models"].items():
        entry = model.get("significance", {})
        if "signal" not in entry:
            rows.append((Cell(name), *(_EMPTY,) * 5, Cell(entry.get("note", ""))))
            continue
        limited = "a tighter cut has too few entries" if entry["is_limited_by_statistics"] else ""
        rows.append(
            (
                Cell(name),
                _interval(entry),
                Cell(f"{entry['signal']:.3g}"),
                Cell(f"{entry['background']:.3g}"),
                Cell(whole(entry["n_background_entries"])),
                _interval(entry["binned"]),
                Cell(limited),
            )
        )
    caption = "Asimov significance of the test events; validation events chose cut and bins."
    return Table(columns, tuple(rows), caption)


def variations_table(metrics: Entry) -> Table:
    """Return what each variation does to each model: area, and yields behind the working points."""
    points = list(
        dict.fromkeys(
            point
            for model in metrics["models"].values()
            for entry in model.get("systematics", {}).values()
            for point in entry["working_points"]
        )
    )
    columns = (
        Column("model"),
        Column("variation"),
        Column("change of AUC", is_number=True),
        Column("signal", is_number=True),
        Column("background", is_number=True),
        *(Column(f"{kind} at {point}", is_number=True) for point in points for kind in ("S", "B")),
    )
    rows = []
    for name, model in metrics["models"].items():
        for variation, entry in model.get("systematics", {}).items():
            change = entry["auc_difference"]
            at_points = [
                _interval(entry["working_points"][point][kind])
                for point in points
                for kind in ("signal_yield", "background_yield")
            ]
            rows.append(
                (
                    Cell(name),
                    Cell(variation),
                    Cell(with_error(change["value"], change["error"], signed=True)),
                    _interval(entry["signal_yield"]),
                    _interval(entry["background_yield"]),
                    *at_points,
                )
            )
    caption = (
        "Variation minus nominal area, and varied over nominal yields: of all test events, and of "
    )
    caption += (
        "signal (S) and background (B) behind the cut that keeps a share of the nominal signal."
    )
    return Table(columns, tuple(rows), caption)


def _interval(entry: Entry) -> Cell:
    return _EMPTY if entry["value"] is None else Cell(with_interval(entry))
