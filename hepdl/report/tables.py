"""The tables of a run, from what ``metrics.json`` holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hepdl.report.layout import Cell, Column, Table, render_table
from hepdl.report.numbers import whole, with_interval
from hepdl.report.sentences import DASH, describe_comparison

__all__ = [
    "accounting_table",
    "comparison_columns",
    "comparison_table",
    "difference_table",
    "splits_table",
]

Entry = Mapping[str, Any]
_INTERVAL = ("value", "low", "high")
_DIFFERENCE = ("value", "error", "bootstrap_error", "seed_error")
_EMPTY = Cell(DASH, latex="--")


def comparison_table(metrics: Entry, *, style: str = "text", selection: str = "all") -> str:
    """Return the comparison of the models as text.

    Args:
        metrics: The content of ``metrics.json``.
        style: ``text``, ``markdown``, ``latex``, ``csv`` or ``html``.
        selection: ``all`` test entries, or ``window``: those inside the window.

    Raises:
        ConfigError: There is no such style.
    """
    return render_table(comparison_columns(metrics, selection=selection), style)


def comparison_columns(metrics: Entry, *, selection: str = "all") -> Table:
    """Return the comparison of the models as a table; the arguments are `comparison_table`'s."""
    models: Mapping[str, Entry] = metrics["models"]
    in_window = selection == "window"
    found = {
        name: entry.get("window", {}) if in_window else entry for name, entry in models.items()
    }
    trained = sum((metrics.get("data", {}).get("splits", {}).get("train") or {}).values())
    columns: list[tuple[Column, list[Cell]]] = [(Column("model"), [Cell(name) for name in models])]

    def add(column: Column, cell: Callable[[str], Cell]) -> None:
        cells = [cell(name) for name in models]
        if any(one is not _EMPTY for one in cells):
            columns.append((column, cells))

    add(
        Column("parameters", names=("n_parameters",), is_number=True),
        lambda name: _count(models[name].get("n_parameters")),
    )
    add(
        Column("train entries", names=("n_train",), is_number=True),
        lambda _: _count(trained or None),
    )
    add(_interval_column("AUC", "auc"), lambda name: _interval(found[name].get("auc")))
    for point in _working_points(found):
        add(
            _interval_column(
                f"1/ε_B at {point}",
                f"background_rejection_{point}",
                latex=rf"$1/\varepsilon_B$ at {point}",
            ),
            lambda name, point=point: _interval(  # type: ignore[misc]
                found[name].get("background_rejection", {}).get(point)
            ),
        )
    if not in_window:
        for part in _parts_of_background(models):
            add(
                _interval_column(f"AUC against {part}", f"auc_against_{part}"),
                lambda name, part=part: _interval(  # type: ignore[misc]
                    models[name].get("against", {}).get(part, {}).get("auc")
                ),
            )
        _add_whole_sample(add, models)
    rows = tuple(zip(*(cells for _, cells in columns), strict=True))
    return Table(tuple(column for column, _ in columns), rows, _caption(found, in_window))


def _add_whole_sample(
    add: Callable[[Column, Callable[[str], Cell]], None], models: Mapping[str, Entry]
) -> None:
    """Add the columns that describe a model on all test entries, and its cost."""
    add(
        _interval_column("ECE", "expected_calibration_error"),
        lambda name: _interval(models[name].get("expected_calibration_error")),
    )
    names = [n for entry in models.values() for n in entry.get("dependence_on", {})]
    nuisance = f" ({names[0]})" if names else ""
    add(
        _interval_column(f"JSD{nuisance}", "jsd"),
        lambda name: _interval(models[name].get("dependence", {}).get("jsd")),
    )
    add(
        Column("fit [s]", names=("fit_seconds",), is_number=True),
        lambda name: _plain_number(models[name].get("fit_seconds")),
    )
    add(
        Column("entries/s", names=("events_per_second",), is_number=True),
        lambda name: _count(models[name].get("events_per_second")),
    )
    add(
        Column("seeds", names=("n_seeds",), is_number=True),
        lambda name: _count(len(models[name].get("seeds", {})) or None),
    )
    for title, key in (("spread of seeds", "seed_spread"), ("spread of folds", "fold_spread")):
        add(
            Column(title, names=(f"{key}_auc",), is_number=True),
            lambda name, key=key: _spread(models[name].get(key)),  # type: ignore[misc]
        )


def difference_table(metrics: Entry) -> Table:
    """Return the paired differences of the models, each with a plain sentence."""
    columns = (
        Column("selection"),
        Column("models"),
        Column("metric"),
        Column("difference", names=_DIFFERENCE, is_number=True),
        Column("significance", names=("significance",), is_number=True),
        Column("in words", is_long=True),
    )
    rows = []
    for entry in metrics.get("comparisons", ()):
        words = describe_comparison(entry)
        rows.append(
            (
                Cell(str(entry.get("selection", "all"))),
                Cell(f"{entry['a']} \N{EN DASH} {entry['b']}"),
                Cell(words.metric),
                Cell(words.difference, numbers=tuple(entry.get(key) for key in _DIFFERENCE)),
                Cell(words.significance, numbers=(entry.get("significance"),)),
                Cell(words.sentence),
            )
        )
    return Table(columns, tuple(rows))


def accounting_table(metrics: Entry) -> Table:
    """Return how many entries were read, rejected by each cut and selected, by process."""
    data = metrics.get("data", {})
    total = data.get("accounting", {})
    parts: dict[str, Entry] = dict(data.get("accounting_by_process", {}))
    cuts = list(total.get("rejected", {}))
    cuts += [c for p in parts.values() for c in p.get("rejected", {}) if c not in cuts]
    cuts = list(dict.fromkeys(cuts))
    if len(parts) != 1:
        parts["all"] = total
    columns = (
        Column("process"),
        Column("read", is_number=True),
        *(Column(f"rejected by {cut}", is_number=True) for cut in cuts),
        Column("selected", is_number=True),
    )
    rows = tuple(
        (
            Cell(name),
            _count(entry.get("read", 0)),
            *(_count(entry.get("rejected", {}).get(cut, 0)) for cut in cuts),
            _count(entry.get("selected", 0)),
        )
        for name, entry in parts.items()
    )
    return Table(columns, rows)


def splits_table(metrics: Entry) -> Table:
    """Return the number of entries of each class in each part."""
    splits: Mapping[str, Mapping[str, int]] = metrics.get("data", {}).get("splits", {})
    classes = list(dict.fromkeys(name for part in splits.values() for name in part))
    columns = (Column("part"), *(Column(name, is_number=True) for name in classes))
    rows = tuple(
        (Cell(part), *(_count(counts.get(name, 0)) for name in classes))
        for part, counts in splits.items()
    )
    return Table(columns, rows)


def _caption(found: Mapping[str, Entry], in_window: bool) -> str:
    sample = "All test entries"
    if in_window:
        windows = {str(entry["selection"]) for entry in found.values() if "selection" in entry}
        sample = f"Test entries with {', '.join(sorted(windows))}"
    return f"{sample}; errors are 68 % intervals."


def _parts_of_background(models: Mapping[str, Entry]) -> list[str]:
    return list(
        dict.fromkeys(part for entry in models.values() for part in entry.get("against", {}))
    )


def _working_points(models: Mapping[str, Entry]) -> list[str]:
    points = {point for entry in models.values() for point in entry.get("background_rejection", {})}
    return sorted(points, key=float)


def _interval_column(title: str, name: str, *, latex: str | None = None) -> Column:
    return Column(title, latex, (name, f"{name}_low", f"{name}_high"), is_number=True)


def _interval(entry: Entry | None) -> Cell:
    if not entry:
        return _EMPTY
    numbers = tuple(entry.get(key) for key in _INTERVAL)
    return Cell(with_interval(entry), with_interval(entry, style="latex"), numbers)


def _spread(entry: Entry | None) -> Cell:
    deviation = None if not entry else entry["auc"]["standard_deviation"]
    return _EMPTY if deviation is None else Cell(f"{deviation:.2g}", numbers=(deviation,))


def _count(value: float | None) -> Cell:
    return _EMPTY if value is None else Cell(whole(value), numbers=(value,))


def _plain_number(value: float | None) -> Cell:
    return _EMPTY if value is None else Cell(f"{value:.3g}", numbers=(value,))
