"""Figures of the flow through networks: every layer is drawn, zeros too, and colours stay."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from hepdl.diagnose import Flow, InputColumn, LayerFlow, RateScan
from hepdl.report.diagnostics import draw_flow, draw_learning_rates, flow_table, verdict_table
from hepdl.report.layout import render_table
from hepdl.report.sentences import DASH
from hepdl.report.style import model_colours

LAYER = LayerFlow(
    name="stack.blocks.0.linear",
    activation="tanh",
    n_units=64,
    mean=0.01,
    std=0.5,
    saturated=0.1,
    dead=0.0,
    gradient_norm=0.2,
    weight_norm=8.0,
    update_ratio=1e-3,
    effective_rank=30.0,
    parameters=("stack.blocks.0.linear.weight",),
)
LOGITS = replace(LAYER, name="output", activation="", n_units=1, saturated=None, dead=None)


def flow(*layers: LayerFlow) -> Flow:
    return Flow(128, 0.7, (InputColumn("jet_pt", 0.0, 1.0, 1.6),), (*layers, LOGITS))


def panels(figure: Figure) -> dict[str, object]:
    figure.draw_without_rendering()
    return {axes.get_ylabel(): axes for axes in figure.axes}


def test_every_layer_of_every_network_is_drawn_in_its_usual_colour() -> None:
    models = {"mlp": flow(LAYER, replace(LAYER, std=0.05)), "recnn": flow(LAYER)}
    figure = draw_flow(models, order=("recnn", "boosted_trees", "mlp"), note="before training")
    axes = panels(figure)["Standard deviation"]
    colours = model_colours(("recnn", "boosted_trees", "mlp"))
    lines = {line.get_color(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {colours["mlp"]: [0.5, 0.05, 0.5], colours["recnn"]: [0.5, 0.5]}
    assert axes.get_title("right") == "before training"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mlp", "recnn"]


def test_panels_without_news_are_left_out() -> None:
    quiet = replace(LAYER, saturated=None, dead=0.0, update_ratio=None)
    found = panels(draw_flow({"mlp": replace(flow(quiet), layers=(quiet,))}))
    assert set(found) == {"Standard deviation", "Gradient norm", "Effective rank"}
    found = panels(draw_flow({"mlp": flow(replace(quiet, dead=0.5))}))
    assert "Dead fraction" in found


def test_zero_is_a_triangle_on_the_edge_of_a_logarithmic_axis() -> None:
    axes = panels(draw_flow({"zero": flow(replace(LAYER, std=0.0))}))["Standard deviation"]
    triangles = [line for line in axes.lines if line.get_marker() == "v"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in triangles] == [(1, 0.02)]
    line = next(line for line in axes.lines if line.get_marker() == "o")
    assert math.isnan(line.get_ydata()[0])


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, 1e-300, 1e30])
def test_strange_values_are_drawn_without_a_warning(value: float) -> None:
    strange = replace(LAYER, std=value, gradient_norm=value, effective_rank=0.0, dead=1.0)
    assert panels(draw_flow({"a $ b": flow(strange), "c": flow(LAYER)}))


def test_the_panel_of_learning_rates_says_which_one() -> None:
    scan = RateScan((1e-3, 1e-2, 1e-1), (0.6, 0.4, math.inf), 0.7, 30, 1e-2, 1e-3, 0.1)
    nothing = RateScan((1e-3, 1e-2), (0.7, math.inf), 0.7, 30, None, None, None)
    figure = draw_learning_rates({"mlp": scan, "dead": nothing})
    figure.draw_without_rendering()
    texts = [[t.get_text() for t in axes.get_legend().get_texts()] for axes in figure.axes]
    assert texts == [["before", "after 30 steps", "rate 0.001"], ["before", "after 30 steps"]]
    assert "learning rate 0.001 (largest gain in 30 steps at 0.01, worse" in scan.in_words()
    assert scan.as_dict()["losses"][-1] is None


def test_the_table_has_a_row_a_layer_and_marks_what_was_not_measured() -> None:
    text = render_table(flow_table(flow(replace(LAYER, std=math.inf)), caption="mlp"), "text")
    first, last = text.splitlines()[3], text.splitlines()[4]
    assert "stack.blocks.0.linear" in first
    assert "not finite" in first
    assert "10.0 %" in first
    assert last.split()[:2] == ["2", "output"]
    assert DASH in last
    table = verdict_table({"mlp": {"untrained": ("healthy",), "trained": ("one", "two")}})
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["mlp", "untrained", "healthy"],
        ["mlp", "trained", "one; two"],
    ]
