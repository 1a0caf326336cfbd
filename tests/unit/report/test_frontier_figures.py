from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hepdl.evaluate.efficiency import binned_efficiency
from hepdl.report.background_efficiency import draw_background_efficiency
from hepdl.report.frontier import Axis, Point, draw_frontier
from hepdl.report.style import save

X, Y = Axis("Background rejection"), Axis("1 / JSD")


def scans(n_families: int, n_points: int) -> dict[str, list[Point]]:
    return {
        f"family_{k}": [
            Point(
                (20.0 / (i + 1), 19.0 / (i + 1), None), (4.0 * 3**i, None, 5.0 * 3**i), f"{10**i:g}"
            )
            for i in range(n_points)
        ]
        for k in range(n_families)
    }


def test_every_point_and_every_family_is_drawn(tmp_path: Path) -> None:
    figure = draw_frontier(scans(12, 4), x=X, y=Y, limit=(300.0, "statistical ceiling"))
    (axes,) = figure.axes
    assert axes.get_xscale() == axes.get_yscale() == "log"
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == 12
    labels = {text.get_text() for text in axes.texts}
    assert {"1", "10", "100", "1000", "statistical ceiling"} <= labels
    # All is inside the axes, the ceiling too.
    assert axes.get_ylim()[1] > 300.0
    save(figure, tmp_path, "frontier")
    assert (tmp_path / "frontier.png").stat().st_size > 0


def test_a_single_model_and_a_linear_axis_are_no_obstacle() -> None:
    figure = draw_frontier(
        {"plain": [Point((0.1, None, None), (0.8, 0.79, 0.81))]},
        x=X,
        y=Axis("Area under the ROC curve", is_logarithmic=False),
        bounds=[(0.01, "null")],
    )
    (axes,) = figure.axes
    assert axes.get_yscale() == "linear"
    assert axes.get_xlim()[0] <= 0.1 <= axes.get_xlim()[1]


@pytest.mark.parametrize("n_models", [1, 5])
def test_one_panel_a_model_with_one_line_a_working_point(n_models: int) -> None:
    random = np.random.default_rng(0)
    mass = random.uniform(0, 150, 3000)
    edges = np.linspace(0, 150, 9)
    found = {
        f"model_{k}": {
            f"{e:g}": binned_efficiency(mass, random.random(3000) < e / 5, edges=edges)
            for e in (0.3, 0.5, 0.8)
        }
        for k in range(n_models)
    }
    # A bin in which nothing passes leaves a gap.
    found["model_0"]["0.3"] = binned_efficiency(mass, mass > 75, edges=edges)
    figure = draw_background_efficiency(found, label="Jet mass [GeV]")
    assert len(figure.axes) == n_models
    assert len(figure.axes[0].containers) == 3
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < high
