"""Figures build without warnings from little, strange or no data, and say what they show."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from hepdl.errors import DataError, EnvironmentFailure
from hepdl.evaluate.calibration import Reliability, reliability_curve
from hepdl.evaluate.efficiency import efficiencies_at
from hepdl.evaluate.roc import roc_curve
from hepdl.evaluate.spectra import Spectrum, background_spectra, score_spectra, spectrum
from hepdl.report.calibration import draw_reliability
from hepdl.report.comparison import draw_comparison
from hepdl.report.cost import COSTS, draw_cost
from hepdl.report.efficiency import draw_efficiencies
from hepdl.report.roc import draw_roc
from hepdl.report.scores import draw_scores
from hepdl.report.sculpting import draw_sculpting
from hepdl.report.spectra import draw_features, draw_flattening
from hepdl.report.style import model_colours, pretty, save
from hepdl.report.training import draw_training

N = 60
RNG = np.random.default_rng(3)
LABEL = np.arange(N) % 2
SCORES = np.clip(0.3 * LABEL + RNG.uniform(0.0, 0.7, N), 0.0, 1.0)
MASS = RNG.uniform(0.0, 200.0, N)
SIGNED = np.where(np.arange(N) % 10 == 0, -0.2, 1.0)
EDGES = np.linspace(0.0, 200.0, 9)
AUC = {"value": 0.8801, "low": 0.8789, "high": 0.8813}


def words(figure: Figure) -> str:
    """Return every text of a figure that somebody reads."""
    figure.draw_without_rendering()
    found = []
    for axes in figure.axes:
        texts = [axes.get_xlabel(), axes.get_ylabel()]
        texts += [axes.get_title(loc) for loc in ("left", "center", "right")]
        texts += [text.get_text() for text in axes.texts]
        legend = axes.get_legend()
        if legend is not None:
            texts += [text.get_text() for text in legend.get_texts()]
        found += texts
    return "\n".join(found)


@pytest.mark.parametrize("weight", [None, SIGNED], ids=["unit weights", "negative weights"])
def test_roc_names_models_areas_and_axes(weight):
    curve = roc_curve(LABEL, SCORES, weight)
    figure = draw_roc(
        {"recnn": [curve, curve], "mlp": [curve]}, auc={"recnn": AUC}, reference="mlp", note="Test"
    )
    text = words(figure)
    for expected in (
        "recnn,  AUC 0.8801 ± 0.0012",
        "random guess",
        "Signal efficiency",
        "Background rejection",
        "over mlp",
        "Test",
    ):
        assert expected in text
    assert len(figure.axes) == 2


def test_roc_of_one_model_has_no_ratio_panel():
    figure = draw_roc({"mlp": [roc_curve(LABEL, SCORES)]}, reference="mlp")
    assert len(figure.axes) == 1


def test_roc_draws_the_rejection_where_it_is():
    # One signal and one background entry share the score: the curve is the diagonal.
    figure = draw_roc({"coin": [roc_curve([1, 0], [0.5, 0.5])]})
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), 1.0 / np.asarray(line.get_xdata()), rtol=1e-12)


def test_roc_of_a_perfect_model_has_no_line_and_no_warning():
    figure = draw_roc({"oracle": [roc_curve([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1])]})
    assert "oracle" in words(figure)
    assert not np.isfinite(figure.axes[0].lines[0].get_ydata()).any()


def test_band_of_the_roc_holds_every_seed():
    better = np.where(LABEL == 1, SCORES + 0.1, SCORES)
    curves = [roc_curve(LABEL, SCORES), roc_curve(LABEL, better)]
    axes = draw_roc({"recnn": curves}).axes[0]
    band = axes.collections[0].get_paths()[0].vertices
    at = np.linspace(0.02, 1.0, 491)[300]
    heights = band[np.isclose(band[:, 0], at), 1]
    for curve in curves:
        rejection = 1.0 / curve.background_efficiency_at(at)[0]
        assert heights.min() - 1e-9 <= rejection <= heights.max() + 1e-9


@pytest.mark.parametrize("log", [False, True])
def test_scores_show_both_parts_and_their_distance(log):
    spectra = score_spectra(
        (LABEL, SCORES, SIGNED), (LABEL[:20], SCORES[:20], None), edges=np.linspace(0, 1, 11)
    )
    text = words(draw_scores({"recnn": spectra}, log=log))
    for expected in ("signal, train", "background, test", "KS signal: ", "(p = ", "recnn", "Score"):
        assert expected in text


def test_training_marks_the_epoch_that_was_kept():
    history = [{"train_loss": 0.6 - 0.1 * k, "validation_auc": 0.7 + 0.1 * k} for k in range(3)]
    figure = draw_training(
        {"recnn": {0: history, 1: history[:1]}, "trees": {0: []}},
        best_epochs={"recnn": {0: 1, 1: 9}},
        step_names={"trees": "Round"},
    )
    text = words(figure)
    for expected in ("Loss", "Validation AUC", "Epoch", "Round", "parameters kept", "recnn"):
        assert expected in text
    marks = [line for line in figure.axes[1].lines if line.get_marker() == "o"]
    # Epochs count from 0 in the record and from 1 on the axis.
    places = [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks if len(m.get_xdata())]
    assert places == [(2, pytest.approx(0.8))]


def test_sculpting_shows_cuts_divergence_and_empty_selections():
    spectra = background_spectra(LABEL, SCORES, MASS, edges=EDGES)
    zeros = np.zeros(8)
    spectra["0.01"] = Spectrum(EDGES, zeros, zeros, 0.0, 0.0)
    figure = draw_sculpting(
        {"plain": spectra, "decorrelated": spectra},
        label=pretty("jet_mass", "GeV"),
        divergence={"plain": {"value": 0.05, "low": 0.04, "high": 0.06, "null": {"value": 0.002}}},
    )
    text = words(figure)
    for expected in (
        "JSD 0.050 ± 0.010",
        "noise alone: 0.002",
        "= 0.5",
        "= 0.01 (nothing passes)",
        "Jet mass [GeV]",
        "decorrelated",
    ):
        assert expected in text


def test_sculpting_of_an_unsculpted_background_is_a_ratio_of_one():
    spectra = {"all": spectrum(MASS, edges=EDGES), "0.5": spectrum(MASS, edges=EDGES)}
    figure = draw_sculpting({"flat": spectra}, label="mass")
    ratio = figure.axes[1].containers[0].lines[0]
    np.testing.assert_allclose(ratio.get_ydata(), 1.0, rtol=1e-12)


def test_sculpting_without_any_background_is_still_a_figure():
    zeros = np.zeros(8)
    nothing = Spectrum(EDGES, zeros, zeros, 0.0, 0.0)
    assert "nothing passes" in words(
        draw_sculpting({"m": {"all": nothing, "0.5": nothing}}, label="mass")
    )


def test_efficiencies_leave_out_empty_bins():
    edges = np.array([0.0, 100.0, 200.0, 300.0])
    binned = efficiencies_at(LABEL, SCORES, MASS, SIGNED, edges=edges, signal_efficiency=0.5)
    figure = draw_efficiencies(
        {"jet_mass": {"recnn": binned, "mlp": binned}},
        signal_efficiency=0.5,
        units={"jet_mass": "GeV"},
    )
    text = words(figure)
    for expected in ("Signal efficiency", "Background efficiency", "Jet mass [GeV]", "= 0.5"):
        assert expected in text
    assert [entry.get_text() for entry in figure.legends[0].get_texts()] == ["recnn", "mlp"]
    assert len(figure.axes[0].containers[0].lines[0].get_xdata()) == 2


def test_reliability_names_the_calibration_error():
    curve = reliability_curve(LABEL, SCORES, n_bins=4)
    unknown = np.full(1, np.nan)
    empty = Reliability(np.array([0.0, 1.0]), unknown, unknown, unknown, np.zeros(1))
    text = words(draw_reliability({"recnn": curve, "none": empty}, error={"recnn": AUC}))
    for expected in ("recnn,  ECE 0.8801 ± 0.0012", "calibrated", "Mean score", "Share of signal"):
        assert expected in text


def test_comparison_shows_intervals_seeds_and_infinite_rejections():
    models = {
        "recnn": {
            "auc": AUC,
            "background_rejection": {"0.5": {"value": None, "low": 310.0, "high": None}},
            "seeds": {"0": {"auc": 0.88, "background_rejection": {"0.5": None}}},
        },
        "mlp": {
            "auc": AUC,
            "background_rejection": {"0.5": {"value": 9.0, "low": 8.0, "high": None}},
        },
    }
    figure = draw_comparison(models)
    text = words(figure)
    for expected in ("0.8801 ± 0.0012", "> 310", "9.0", "AUC", "= 0.5"):
        assert expected in text
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["recnn", "mlp"]


def test_comparison_of_one_model_with_a_certain_number():
    certain = {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "AUC" in words(draw_comparison({"only": {"auc": certain}}))


def test_flattening_shows_both_stages_and_survives_zero_weights():
    def classes(weight):
        return {
            "signal": spectrum(MASS, weight, edges=EDGES),
            "background": spectrum(MASS, edges=EDGES),
        }

    before, after = classes(np.zeros(N)), classes(SIGNED)
    text = words(draw_flattening({"jet_pt": (before, after)}, units={"jet_pt": "GeV"}))
    for expected in (
        "before the weights",
        "after the weights",
        "signal (nothing there)",
        "$p_{T}$",
    ):
        assert expected in text


def test_features_take_any_class_name_and_unit():
    found = spectrum(MASS, edges=EDGES)
    text = words(draw_features({"a_$b": {"signal": found, "top $": found}}, units={"a_$b": "1"}))
    assert r"a \$b" in text
    assert r"top \$" in text


LONG = "a_model_whose_name_is_much_longer_than_any_panel_is_wide" * 2


def test_long_names_leave_room_for_the_axes():
    curve, binned = roc_curve(LABEL, SCORES), efficiencies_at(LABEL, SCORES, MASS, edges=EDGES)
    spectra = background_spectra(LABEL, SCORES, MASS, edges=EDGES)
    reliability = reliability_curve(LABEL, SCORES, n_bins=4)
    figures = (
        draw_roc({LONG: [curve], "b": [curve]}, reference=LONG),
        draw_efficiencies({"jet_pt": {LONG: binned}}, signal_efficiency=0.5),
        draw_reliability({LONG: reliability}),
        draw_sculpting({LONG: spectra}, label="mass"),
    )
    for figure in figures:
        figure.draw_without_rendering()
        for axes in figure.axes:
            # matplotlib keeps the middle of a title inside the figure: that costs a part of the
            # width, where a legend in the layout would cost all of it.
            assert axes.get_position().width > 0.4
    assert f"{LONG} (reference)" in words(figures[0])
    assert "over reference" in words(figures[0])


def test_colours_follow_the_place_and_not_the_name():
    colours = model_colours(["a", "b", "c"])
    assert len(set(colours.values())) == 3
    assert model_colours(["z"])["z"] == colours["a"]


def test_figures_leave_no_setting_behind(tmp_path):
    before = dict(mpl.rcParams)
    save(draw_roc({"m": [roc_curve(LABEL, SCORES)]}), tmp_path, "roc")
    assert dict(mpl.rcParams) == before


def test_saving_writes_png_and_pdf_with_the_same_bytes_each_time(tmp_path):
    def make(folder):
        return [
            path.read_bytes()
            for path in save(draw_roc({"m": [roc_curve(LABEL, SCORES)]}), folder, "roc")
        ]

    png, pdf = make(tmp_path / "first")
    assert png.startswith(b"\x89PNG")
    assert pdf.startswith(b"%PDF")
    assert make(tmp_path / "second") == [png, pdf]
    assert sorted(p.name for p in (tmp_path / "first").iterdir()) == ["roc.pdf", "roc.png"]


def test_saving_into_a_file_says_which(tmp_path):
    blocked = tmp_path / "figures"
    blocked.write_text("a file")
    with pytest.raises(EnvironmentFailure, match=r"cannot write the figure .*figures.roc\.png"):
        save(draw_roc({"m": [roc_curve(LABEL, SCORES)]}), blocked, "roc")


def test_density_of_nothing_is_refused_below_the_figures():
    with pytest.raises(DataError, match="add up to 0"):
        spectrum(MASS, np.zeros(N), edges=EDGES).density()


def test_cost_draws_every_model_at_its_costs_and_names_it():
    models = {
        "mlp": {"auc": AUC, "n_parameters": 100, "fit_seconds": 2.0, "events_per_second": 1e4},
        "recnn": {"auc": AUC | {"value": 0.88}, "n_parameters": 8481, "fit_seconds": 100.0},
    }
    figure = draw_cost(models, note="Test")
    text = words(figure)
    for expected in (*COSTS.values(), "AUC", "Test"):
        assert expected in text
    found = [
        [float(line.get_xdata()[0]) for line in axes.lines if len(line.get_xdata())]
        for axes in figure.axes
    ]
    assert found == [[100.0, 8481.0], [2.0, 100.0], [1e4]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mlp", "recnn"]


def test_cost_of_models_that_are_not_trained_is_an_empty_figure():
    assert len(draw_cost({}).axes) == len(COSTS)
