"""Training curves: losses and validation area per epoch, with the epoch that was kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hepdl.report.style import (
    empty_figure,
    grid_shape,
    legend,
    model_colours,
    note_above,
    stacked,
    styled,
)

__all__ = ["draw_training"]

History = Sequence[Mapping[str, float]]


@styled
def draw_training(
    models: Mapping[str, Mapping[int, History]],
    *,
    best_epochs: Mapping[str, Mapping[int, int]] | None = None,
    step_names: Mapping[str, str] | None = None,
    note: str = "",
) -> Figure:
    """Draw what each training saw: one line a seed, the losses above the validation area.

    Args:
        models: History by seed, by model: one mapping an epoch with ``train_loss``,
            ``validation_loss`` and ``validation_auc``; what is missing is not drawn.
        best_epochs: The epoch whose parameters were kept, from 0, by seed and model.
        step_names: What one entry of the history is; ``Epoch`` unless stated, e.g. ``Round``.
        note: Small text above the first panel.
    """
    rows, columns = grid_shape(len(models))
    figure = empty_figure(0.4 + 4.2 * columns, 4.8 * rows)
    stacked(figure)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=(1.3, 1.0) * rows)
    colours = model_colours(models)
    for place, (name, seeds) in enumerate(models.items()):
        row, column = divmod(place, columns)
        upper = figure.add_subplot(grid[2 * row, column])
        lower = figure.add_subplot(grid[2 * row + 1, column], sharex=upper)
        best = (best_epochs or {}).get(name, {})
        _draw_losses(upper, seeds, best, colour=colours[name])
        _draw_area(lower, seeds, best, colour=colours[name])
        lower.set_xlabel((step_names or {}).get(name, "Epoch"))
        note_above(upper, name, note if place == 0 else "")
    return figure


def _draw_losses(
    axes: Axes, seeds: Mapping[int, History], best: Mapping[int, int], *, colour: str
) -> None:
    for place, (seed, history) in enumerate(seeds.items()):
        for key, style, label in (
            ("train_loss", "--", "train"),
            ("validation_loss", "-", "validation"),
        ):
            _line(axes, history, key, style=style, colour=colour, label=label if not place else "")
        _mark(axes, history, "validation_loss", best.get(seed), colour=colour)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("Loss")
    axes.margins(y=0.12)
    if axes.lines:
        legend(axes, "upper right")


def _draw_area(
    axes: Axes, seeds: Mapping[int, History], best: Mapping[int, int], *, colour: str
) -> None:
    for seed, history in seeds.items():
        _line(axes, history, "validation_auc", style="-", colour=colour, label="")
        _mark(axes, history, "validation_auc", best.get(seed), colour=colour)
    axes.plot([], [], "o", color="white", markeredgecolor=colour, label="parameters kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_ylabel("Validation AUC")
    axes.margins(y=0.15)
    legend(axes, "lower right")


def _line(axes: Axes, history: History, key: str, *, style: str, colour: str, label: str) -> None:
    points = [(epoch + 1, entry[key]) for epoch, entry in enumerate(history) if key in entry]
    if points:
        epochs, values = np.array(points, dtype=np.float64).T
        # A line of one point is invisible.
        marker = "." if len(points) == 1 else ""
        axes.plot(
            epochs, values, style, color=colour, linewidth=1.2, marker=marker, label=label or None
        )


def _mark(axes: Axes, history: History, key: str, epoch: int | None, *, colour: str) -> None:
    if epoch is not None and 0 <= epoch < len(history) and key in history[epoch]:
        axes.plot(
            epoch + 1, history[epoch][key], "o", color="white", markeredgecolor=colour, zorder=5
        )
