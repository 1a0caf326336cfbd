"""Significance, assignment efficiencies and variations: the figures draw the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from hepdl.evaluate.assignments import (
    JudgedAssignments,
    assignment_efficiencies,
    groups_by_number,
)
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import significance_scan
from hepdl.evaluate.variations import VariedSample, varied_spectra
from hepdl.report.assignments import draw_assignment_efficiencies
from hepdl.report.significance import draw_significance
from hepdl.report.style import model_colours
from hepdl.report.systematics import draw_variations

N = 400
RNG = np.random.default_rng(7)
LABEL = np.arange(N) % 2
SCORES = np.clip(0.3 * LABEL + RNG.uniform(0.0, 0.7, N), 0.0, 1.0)
SIGNED = np.where(np.arange(N) % 10 == 0, -0.2, 1.0)
N_JETS = RNG.integers(6, 10, N)
EDGES = np.linspace(0.0, 1.0, 6)
LONG = "a_model_whose_name_is_much_longer_than_any_panel_is_wide" * 2


def words(figure: Figure) -> str:
    """Return every text of a figure that somebody reads."""
    figure.draw_without_rendering()
    found = []
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel()]
        found += [axes.get_title(loc) for loc in ("left", "center", "right")]
        found += [text.get_text() for text in axes.texts]
        legends = [axes.get_legend(), *figure.legends]
        found += [text.get_text() for one in legends if one for text in one.get_texts()]
    return "\n".join(found)


def scan(weight=None, **options):
    bootstrap = Bootstrap(np.arange(N), n_replicas=40)
    return significance_scan(LABEL, SCORES, weight, bootstrap=bootstrap, **options)


@pytest.mark.parametrize("weight", [None, SIGNED], ids=["unit weights", "negative weights"])
def test_significance_shows_its_maximum_and_the_entries_left(weight):
    found = scan(weight, relative_background_uncertainty=0.1)
    figure = draw_significance({"mlp": found, "recnn": found}, note="140 fb⁻¹")
    text = words(figure)
    for expected in (
        "mlp,  max ",
        "recnn,  max ",
        "= 10 %",
        "140 fb⁻¹",
        "effective",
        "bkg. entries",
    ):
        assert expected in text
    upper, lower = figure.axes
    best = found.best()
    marks = [line for line in upper.lines if line.get_marker() == "o"]
    assert marks[0].get_ydata()[0] == found.value[best]
    assert marks[0].get_xdata()[0] == found.signal_efficiency[best]
    # A logarithmic axis has no place for none.
    for line, numbers in zip(
        lower.lines, (found.yields.n_background, found.yields.n_effective), strict=False
    ):
        expected = np.where(numbers > 0, numbers, np.nan)
        np.testing.assert_array_equal(line.get_ydata(), expected)
    assert lower.get_yscale() == "log"


def test_line_and_band_end_where_too_few_entries_are_left():
    found = scan()
    upper = draw_significance({"mlp": found}, fewest_background=50.0).axes[0]
    solid = next(line for line in upper.lines if line.get_label().startswith("mlp"))
    enough = found.yields.n_effective >= 50.0
    np.testing.assert_array_equal(np.isfinite(solid.get_ydata()), enough)
    band = upper.collections[0].get_paths()[0].vertices
    assert band[:, 0].min() == found.signal_efficiency[enough].min()


def test_model_without_enough_background_is_named_and_has_no_maximum():
    perfect = significance_scan(
        [1, 1, 0, 0], [4.0, 3.0, 2.0, 1.0], bootstrap=Bootstrap(np.arange(4), n_replicas=10)
    )
    figure = draw_significance({"oracle": perfect, "mlp": scan()})
    assert "oracle, too few background entries" in words(figure)
    assert len([line for line in figure.axes[0].lines if line.get_marker() == "o"]) == 1


def judged(seed, *, n_candidates=4):
    rng = np.random.default_rng(seed)
    known = rng.random((N, 2)) < 0.6
    right = (rng.random((N, n_candidates, 2)) < 0.4) & known[:, None]
    verdicts = JudgedAssignments.best_first(right, known, names=("top_had", "higgs"))
    return assignment_efficiencies(verdicts, groups=groups_by_number(N_JETS))


def test_assignment_efficiencies_are_drawn_for_each_particle_method_and_group():
    methods = {"chi_square": judged(0), "attention_$": judged(1)}
    figure = draw_assignment_efficiencies(methods, note="ttH")
    text = words(figure)
    for expected in ("top had", "higgs", "whole event", "Number of jets", "attention", "ttH"):
        assert expected in text
    assert "right one among candidates" in text
    assert len(figure.axes) == 3
    for axes, particle in zip(figure.axes, ("top_had", "higgs", "event"), strict=True):
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["6", "7", "≥ 8", "all"]
        for container, efficiencies in zip(axes.containers, methods.values(), strict=True):
            entries = [efficiencies[group][particle] for group in ("6", "7", "≥ 8", "all")]
            points = container.lines[0]
            np.testing.assert_allclose(
                points.get_ydata(), [e.efficiency.value for e in entries], rtol=1e-14
            )
            bars = np.array(container.lines[2][0].get_segments())
            np.testing.assert_allclose(
                bars[:, :, 1], [(e.efficiency.low, e.efficiency.high) for e in entries], rtol=1e-12
            )
        known = 100.0 * methods["chi_square"]["all"][particle].known.value
        assert f"known in {known:.0f} % of events" in words(figure)


def test_method_that_did_not_judge_all_candidates_has_no_ceiling():
    right, known = np.ones((N, 1), dtype=bool), np.ones((N, 1), dtype=bool)
    right[::2] = False
    plain = assignment_efficiencies(
        JudgedAssignments(("higgs",), right, known), groups=groups_by_number(N_JETS)
    )
    figure = draw_assignment_efficiencies({"network": plain})
    assert "right one among candidates" not in words(figure)
    # A second method with fewer groups and particles is drawn as far as it goes.
    figure = draw_assignment_efficiencies({"network": plain, "other": {"all": {}}})
    assert "other" in words(figure)


def test_group_without_known_events_is_a_gap_in_the_figure():
    right, known = np.zeros((3, 1), dtype=bool), np.zeros((3, 1), dtype=bool)
    known[0] = True
    found = assignment_efficiencies(
        JudgedAssignments(("higgs",), right, known), groups=groups_by_number([6, 9, 9])
    )
    axes = draw_assignment_efficiencies({"m": found}).axes[0]
    values = axes.containers[0].lines[0].get_ydata()
    assert np.isnan(values).tolist() == [False, True, True, False]


def varied(shift=0.02):
    """Signal and background, and two variations that move the scores and lose some events."""
    classes = {}
    for kind, code in (("signal", 1), ("background", 0)):
        index = np.flatnonzero(code == LABEL)
        versions = {
            name: VariedSample(np.clip(SCORES[kept] + step, 0.0, 1.0), None, kept)
            for name, step, kept in (
                ("nominal", 0.0, index),
                ("jes_up", shift, index),
                ("jes_down", -shift, index[5:]),
            )
        }
        classes[kind] = varied_spectra(
            versions.pop("nominal"), versions, edges=EDGES, n_replicas=30
        )
    return classes


def test_variations_show_spectra_ratios_and_the_change_of_the_sum():
    classes = varied()
    figure = draw_variations({"mlp": classes, "recnn": classes}, note="jet energy scale")
    text = words(figure)
    for expected in ("mlp", "recnn", "jes_up: signal (+0.0", "jet energy scale", "Score"):
        assert expected in text
    # Five of 200 entries are lost.
    assert "jes_down: signal (\N{MINUS SIGN}2.5 ±" in text
    assert len(figure.axes) == 6
    for axes, kind in zip(figure.axes[1:3], ("signal", "background"), strict=True):
        assert kind in axes.get_ylabel()
        for container, ratio in zip(axes.containers, classes[kind].ratios.values(), strict=True):
            known = np.isfinite(ratio.value)
            np.testing.assert_array_equal(container.lines[0].get_ydata(), ratio.value[known])
            bars = np.array(container.lines[2][0].get_segments())
            lengths = bars[:, 1, 1] - bars[:, 0, 1]
            np.testing.assert_allclose(lengths, 2.0 * ratio.error[known], atol=1e-12)


def test_variations_of_other_classes_and_of_none():
    sample = VariedSample(SCORES, SIGNED, np.arange(N))
    spectra = varied_spectra(sample, {}, edges=EDGES, n_replicas=2)
    figure = draw_variations({"m": {"tt_$": spectra, "tth": spectra}})
    assert r"tt_\$" in words(figure)
    assert len(figure.axes) == 3


def test_figures_of_no_model_are_empty_and_raise_nothing():
    for figure in (
        draw_significance({}),
        draw_assignment_efficiencies({}),
        draw_variations({}),
    ):
        figure.draw_without_rendering()


def test_long_names_leave_room_for_the_axes():
    for figure in (
        draw_significance({LONG: scan()}),
        draw_assignment_efficiencies({LONG: judged(2)}),
        draw_variations({LONG: varied()}),
    ):
        figure.draw_without_rendering()
        assert max(axes.get_position().width for axes in figure.axes) > 0.2


def test_models_have_the_colours_of_all_other_figures():
    colours = model_colours(["a", "b"])
    axes = draw_significance({"a": scan(), "b": scan(SIGNED)}).axes[0]
    lines = {
        line.get_label()[0]: line.get_color() for line in axes.lines if ",  max" in line.get_label()
    }
    assert lines == colours
