"""Scores whose distribution at given nuisances is known: closed forms, scipy, scikit-learn, nulls."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, logit
from scipy.stats import ecdf, norm, rankdata
from sklearn.linear_model import LinearRegression

from hepdl.errors import DataError
from hepdl.evaluate.inputs.binning import weighted_quantiles
from hepdl.evaluate.kolmogorov_smirnov import kolmogorov_smirnov
from hepdl.evaluate.roc import auc, roc_curve
from hepdl.posthoc.conditional.linear import Line
from hepdl.posthoc.conditional.neighbours import NeighbourTables, _mixture
from hepdl.posthoc.conditional.quantiles import Quantiles
from hepdl.posthoc.conditional.ranks import Ranks, mid_ranks, rising
from hepdl.posthoc.conditional_cdf import ConditionalCDF

Floats = npt.NDArray[np.float64]

N_FIT = 20_000
OPTIONS: dict[str, dict[str, Any]] = {
    "knn": {},
    "quantile": {"n_events": 2000, "n_knots": 4},
    "flow": {"n_steps": 300},
}
BENT = list(OPTIONS)
KINDS = [*BENT, "linear"]


def bent(n: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Return scores, a nuisance that moves and stretches their logits, and the true ranks."""
    random = np.random.default_rng(seed)
    nuisance, rank = random.normal(size=n), random.random(n)
    scores = expit(nuisance + np.exp(0.3 * nuisance) * norm.ppf(rank))
    return scores, nuisance, rank


@pytest.fixture(scope="module")
def fitted() -> dict[str, ConditionalCDF]:
    scores, nuisance, _ = bent(N_FIT, 1)
    return {kind: ConditionalCDF.fit(scores, nuisance, kind=kind, **OPTIONS[kind]) for kind in BENT}


@pytest.mark.parametrize("kind", BENT)
def test_the_result_is_the_true_rank(fitted: dict[str, ConditionalCDF], kind: str) -> None:
    scores, nuisance, rank = bent(50_000, 2)
    found = fitted[kind].transform(scores, nuisance)
    # A rank known from n events is off by sqrt(r (1 - r) / n), 0.41 / sqrt(n) on average; n are the
    # 1104 neighbours, or about a third of the 2000 events of the regression.
    assert np.sqrt(np.mean((found - rank) ** 2)) < 2 * 0.41 / np.sqrt(700)


@pytest.mark.parametrize("kind", BENT)
def test_slices_of_the_nuisance_cannot_be_told_apart(
    fitted: dict[str, ConditionalCDF], kind: str
) -> None:
    scores, nuisance, _ = bent(4000, 3)
    found = fitted[kind].transform(scores, nuisance)
    edges = np.quantile(nuisance, [0, 0.25, 0.5, 0.75, 1])
    slices = np.digitize(nuisance, edges[1:-1])
    for number in range(4):
        inside = slices == number
        before = kolmogorov_smirnov(scores[inside], scores[~inside])
        after = kolmogorov_smirnov(found[inside], found[~inside])
        assert after.probability > 1e-4
        # The two middle slices are less different from the others.
        assert before.value > 3 * before.null.high


@pytest.mark.parametrize("kind", BENT)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_a_cut_keeps_the_same_share_everywhere(
    fitted: dict[str, ConditionalCDF], kind: str, share: float
) -> None:
    """The upper tail is where taggers cut."""
    scores, nuisance, _ = bent(200_000, 4)
    passes = fitted[kind].transform(scores, nuisance) > 1 - share
    slices = np.digitize(nuisance, np.quantile(nuisance, np.linspace(0, 1, 9)[1:-1]))
    kept = np.array([passes[slices == k].mean() for k in range(8)])
    # An eighth of the 20 000 (quantile: 2000) fitted events says how large the share is there.
    n = (N_FIT if kind != "quantile" else 2000) / 8
    np.testing.assert_allclose(kept, share, atol=5 * np.sqrt(share * (1 - share) / n))
    plain = scores > np.quantile(scores, 1 - share)
    kept = np.array([plain[slices == k].mean() for k in range(8)])
    assert kept.max() > 10 * kept.min()


def test_the_line_of_a_score_that_only_moves_is_the_true_rank() -> None:
    random = np.random.default_rng(5)
    nuisance = random.normal(size=(N_FIT, 2)) * [3.0, 0.2] + [100.0, -1.0]
    rank = random.random(N_FIT)
    scores = 0.1 * nuisance[:, 0] - 2.0 * nuisance[:, 1] + norm.ppf(rank)
    found = ConditionalCDF.fit(scores, nuisance, kind="linear").transform(scores, nuisance)
    # Kolmogorov: the distance of n = 20 000 events is beyond 2 / sqrt(n) once in 1500 samples.
    assert np.abs(found - rank).max() < 2 / np.sqrt(N_FIT)


@pytest.mark.parametrize("has_weights", [False, True])
def test_the_line_is_the_weighted_regression_of_scikit_learn_and_ranks_of_what_is_left(
    has_weights: bool,
) -> None:
    random = np.random.default_rng(6)
    n = 300
    nuisance = random.normal(size=(n, 2)) @ [[1.0, 0.5], [0.0, 2.0]]
    scores = random.normal(size=n) + nuisance @ [0.3, -0.2]
    weight = random.integers(1, 4, n).astype(float) if has_weights else np.ones(n)
    oracle = LinearRegression().fit(nuisance, scores, weight)
    rest = scores - nuisance @ oracle.coef_
    times = weight.astype(int)
    ranks = (rankdata(np.repeat(rest, times)) - 0.5) / times.sum()
    expected = ranks[np.cumsum(times) - 1]
    # Kept points: between two of them the rank moves by a fiftieth at most and is linear.
    found = ConditionalCDF.fit(scores, nuisance, weight, kind="linear").transform(scores, nuisance)
    np.testing.assert_allclose(found, expected, atol=0.01)
    (cell,) = ConditionalCDF.fit(scores, nuisance, weight, kind="linear").cells
    assert isinstance(cell.map, Line)
    np.testing.assert_allclose(cell.map.slope / cell.map.standard.spread, oracle.coef_, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_category_has_a_table_of_its_own(kind: str) -> None:
    """Oracle: the mean of scipy's distribution functions of the scores and of minus the scores."""
    random = np.random.default_rng(7)
    nuisance = random.choice([0.0, 1.0, 5.0], 900)
    scores = expit(random.normal(size=900) * (1 + nuisance) + nuisance)
    found = ConditionalCDF.fit(scores, nuisance, kind=kind).transform(scores, nuisance)
    for value in (0.0, 1.0, 5.0):
        own = scores[nuisance == value]
        up, down = ecdf(own).cdf, ecdf(-own).cdf
        expected = (up.evaluate(own) + 1 - down.evaluate(-own)) / 2
        np.testing.assert_allclose(found[nuisance == value], expected, atol=0.01)
    spread = [found[nuisance == value].std() for value in (0.0, 1.0, 5.0)]
    np.testing.assert_allclose(spread, np.sqrt(1 / 12), atol=0.005)


def test_two_categories_and_a_number_are_told_apart() -> None:
    random = np.random.default_rng(8)
    n = 40_000
    first, second = random.integers(0, 2, n), random.integers(0, 2, n)
    nuisance = np.column_stack([first, random.normal(size=n), second])
    rank = random.random(n)
    # Both together turn the sign around: neither alone knows it.
    scores = expit(norm.ppf(rank) + np.where(first == second, 1, -1) * nuisance[:, 1])
    fitted = ConditionalCDF.fit(scores, nuisance)
    assert fitted.categories == (0, 2)
    assert [cell.values for cell in fitted.cells] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    found = fitted.transform(scores, nuisance)
    assert np.sqrt(np.mean((found - rank) ** 2)) < 2 * 0.41 / np.sqrt(600)


def test_an_unknown_category_takes_the_nearest_one_in_units_of_the_spread() -> None:
    random = np.random.default_rng(9)
    second = random.choice([0, 1], 800)
    nuisance = np.column_stack([second, 1000 * second])
    scores = random.random(800) + nuisance.sum(axis=1)
    fitted = ConditionalCDF.fit(scores, nuisance)
    assert len(fitted.cells) == 2
    grid = np.linspace(0.0, 1002.0, 50)
    for unknown, nearest in (([3, 1000], [1, 1000]), ([-2, 400], [0, 0]), ([1, 100], [1, 1000])):
        one, two = (fitted.transform(grid, np.tile(z, (50, 1))) for z in (unknown, nearest))
        np.testing.assert_array_equal(one, two)


def test_whole_numbers_with_many_values_are_no_categories() -> None:
    random = np.random.default_rng(10)
    nuisance = random.integers(0, 8, 4000)
    scores = random.normal(size=4000) + nuisance
    assert len(ConditionalCDF.fit(scores, nuisance).cells) == 8
    smooth = ConditionalCDF.fit(scores, nuisance, max_categories=7)
    assert (smooth.categories, len(smooth.cells)) == ((), 1)
    found = smooth.transform(scores, nuisance)
    assert abs(found[nuisance == 4].mean() - 0.5) < 0.05
    # Between two values there is something in between.
    between = smooth.transform([4.0] * 3, [3.0, 3.5, 4.0])
    assert between[0] > between[1] > between[2]


@pytest.mark.parametrize("kind", KINDS)
def test_weights_count(kind: str) -> None:
    """Weights exp(s) move a normal distribution by its variance."""
    random = np.random.default_rng(11)
    nuisance, noise = random.normal(size=(2, N_FIT))
    scores = nuisance + 0.5 * noise
    options = OPTIONS.get(kind, {})
    weight = np.exp(1.5 * noise)
    fitted = ConditionalCDF.fit(scores, nuisance, weight, kind=kind, **options)
    found = fitted.transform(nuisance, nuisance)
    middle = np.abs(nuisance) < 1
    # 0.5 below the mean of 0.75: Φ(-1.5) = 0.067 instead of 1/2. n_eff is exp(-1.5^2) = 0.1 of n.
    assert abs(found[middle].mean() - norm.cdf(-1.5)) < 0.02
    assert found[middle].std() < 0.03


@pytest.mark.parametrize("kind", ["knn", "flow", "linear"])
def test_negative_weights_give_the_map_of_the_mixture_that_they_stand_for(kind: str) -> None:
    random = np.random.default_rng(12)
    n = 2 * N_FIT
    nuisance, noise = random.normal(size=(2, n))
    scores = nuisance + noise
    negative_share = 0.4 * expit(3 * noise)
    signs = np.where(random.random(n) < negative_share, -1.0, 1.0)
    options = OPTIONS.get(kind, {})
    signed, mean, size = (
        ConditionalCDF.fit(scores, nuisance, weight, kind=kind, **options).transform(
            scores, nuisance
        )
        for weight in (signs, 1 - 2 * negative_share, np.ones(n))
    )
    assert np.abs(signed - mean).mean() < 0.3 * np.abs(size - mean).mean()


def test_quantile_regression_takes_the_size_of_negative_weights_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scores, nuisance, _ = bent(500, 13)
    signs = np.where(np.arange(500) % 10 == 0, -1.0, 1.0)
    ConditionalCDF.fit(scores, nuisance, signs, kind="quantile")
    assert r"|w| of the 10.0 % negative weights" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_no_roc_curve_at_a_fixed_nuisance_changes(kind: str) -> None:
    scores, nuisance, _ = bent(3000, 14)
    fitted = ConditionalCDF.fit(scores, nuisance, kind=kind, **OPTIONS.get(kind, {}))
    random = np.random.default_rng(15)
    label = np.repeat([0, 1], 2000)
    for place in (-5.0, -0.6, 0.0, 1.3):
        # Signal lies beyond all background that was fitted, too.
        old = expit(random.normal(place + 3.0 * label, 1.0))
        new = fitted.transform(old, np.full(4000, place))
        assert auc(label, new) == auc(label, old)
        one, two = roc_curve(label, old), roc_curve(label, new)
        np.testing.assert_array_equal(one.background_efficiency, two.background_efficiency)


def test_half_the_strength_is_half_way_in_logits_and_keeps_every_order() -> None:
    scores, nuisance, _ = bent(3000, 26)
    none, half, full = (
        ConditionalCDF.fit(scores, nuisance, strength=strength) for strength in (0, 0.5, 1.0)
    )
    ranks = Ranks.of(scores, np.ones(3000)).at(scores)
    np.testing.assert_allclose(none.transform(scores, nuisance), ranks, rtol=1e-9)
    expected = expit((logit(ranks) + logit(full.transform(scores, nuisance))) / 2)
    np.testing.assert_allclose(half.transform(scores, nuisance), expected, rtol=1e-9)
    again = ConditionalCDF.from_dict(json.loads(json.dumps(half.as_dict())))
    np.testing.assert_allclose(again.transform(scores, nuisance), expected, rtol=1e-9)
    grid = np.linspace(0.0, 1.0, 2001)
    assert (np.diff(half.transform(grid, np.full(2001, 0.7))) > 0).all()
    left = [abs(np.corrcoef(f.transform(scores, nuisance), nuisance)[0, 1]) for f in (none, half)]
    assert left[0] > 1.3 * left[1] > 0.2


@pytest.mark.parametrize("kind", BENT)
def test_beyond_the_fitted_range_the_nearest_map_holds(
    fitted: dict[str, ConditionalCDF], kind: str
) -> None:
    grid = np.linspace(0.01, 0.99, 99)
    for edge, beyond in ((-6.0, -100.0), (6.0, 1e9)):
        one, two = (fitted[kind].transform(grid, np.full(99, z)) for z in (edge, beyond))
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", BENT)
def test_equal_scores_share_the_middle_of_their_step(kind: str) -> None:
    """Then the mean over the background is 1/2 at every nuisance, however few values there are."""
    random = np.random.default_rng(16)
    nuisance = random.uniform(-1, 1, N_FIT)
    # From mostly 0 to mostly 1: a network that is sure of itself.
    scores = np.round(expit(2 * nuisance + random.logistic(size=N_FIT)) * 4) / 4
    fitted = ConditionalCDF.fit(scores, nuisance, kind=kind, **OPTIONS[kind])
    found = fitted.transform(scores, nuisance)
    slices = np.digitize(nuisance, np.linspace(-1, 1, 9)[1:-1])
    means = np.array([found[slices == k].mean() for k in range(8)])
    # Regression and flow know the steps spread evenly, and read them in the middle.
    np.testing.assert_allclose(means, 0.5, atol=0.02 if kind == "knn" else 0.06)
    before = np.array([rankdata(scores)[slices == k].mean() for k in range(8)]) / N_FIT
    assert np.ptp(before) > 0.4


def test_a_score_that_is_the_same_for_all_stays_the_same() -> None:
    nuisance = np.linspace(0, 1, 500)
    for kind in KINDS:
        fitted = ConditionalCDF.fit(np.full(500, 0.3), nuisance, kind=kind, **OPTIONS.get(kind, {}))
        np.testing.assert_allclose(
            fitted.transform(np.full(500, 0.3), nuisance), 0.5, atol=0.1, err_msg=kind
        )


@pytest.mark.parametrize("kind", BENT)
def test_two_nuisances_are_taken_out_together(kind: str) -> None:
    random = np.random.default_rng(17)
    nuisance = random.normal(size=(N_FIT, 2)) * [1.0, 100.0]
    rank = random.random(N_FIT)
    scores = expit(norm.ppf(rank) + nuisance[:, 0] + 0.007 * nuisance[:, 1])
    fitted = ConditionalCDF.fit(scores, nuisance, kind=kind, **OPTIONS[kind])
    found = fitted.transform(scores, nuisance)
    left = [np.corrcoef(found, column)[0, 1] for column in nuisance.T]
    before = [np.corrcoef(scores, column)[0, 1] for column in nuisance.T]
    assert np.abs(left).max() < 0.05
    assert np.abs(before).min() > 0.4
    # 300 neighbours, or 2000 events of the regression for two splines.
    assert np.sqrt(np.mean((found - rank) ** 2)) < 2 * 0.41 / np.sqrt(400)


def test_windows_that_are_cut_off_at_an_edge_do_not_pull_the_table() -> None:
    """Without the local linear fit the first table would be that of the middle of its window."""
    random = np.random.default_rng(18)
    nuisance = random.random(N_FIT)
    scores = nuisance + 0.05 * random.normal(size=N_FIT)
    fitted = ConditionalCDF.fit(scores, nuisance, n_neighbours=2000, n_centres=20)
    found = fitted.transform(scores, nuisance)
    for edge in (nuisance < 0.02, nuisance > 0.98):
        # 400 events: 5 sigma of a mean rank is 5 / sqrt(12 * 400) = 0.07; a plain mean would give 0.2.
        assert abs(found[edge].mean() - 0.5) < 0.07


def test_centres_are_as_many_as_asked_for_and_each_counts_its_neighbours() -> None:
    scores, nuisance, _ = bent(1000, 19)
    (cell,) = ConditionalCDF.fit(scores, nuisance, n_neighbours=1000, n_centres=7).cells
    assert isinstance(cell.map, NeighbourTables)
    assert cell.map.tables.shape == (7, len(cell.map.ranks.ranks))
    shares = norm.cdf(np.linspace(*norm.ppf([0.005, 0.995]), 7))
    expected = weighted_quantiles(nuisance, np.ones(1000), shares)
    np.testing.assert_allclose(
        cell.map.centres[:, 0] * nuisance.std() + nuisance.mean(), expected, rtol=1e-9
    )
    # All events, in the middle of them: nearly the distribution of all.
    middle = np.argmin(np.abs(cell.map.centres[:, 0]))
    offset = cell.map.centres[middle, 0]
    if abs(offset) < 0.1:
        np.testing.assert_allclose(cell.map.tables[middle], cell.map.ranks.ranks, atol=0.05)


def test_between_two_centres_shares_are_those_of_a_line() -> None:
    index, share = _mixture(
        np.array([[0.0], [1.0], [3.0]]), np.array([[-1.0], [0.25], [2.0], [9.0]])
    )
    np.testing.assert_array_equal(index, [[0, 1], [0, 1], [1, 2], [1, 2]])
    np.testing.assert_allclose(share, [[1, 0], [0.75, 0.25], [0.5, 0.5], [0, 1]])


def test_shares_of_centres_in_a_plane_are_continuous_and_1_at_a_centre() -> None:
    random = np.random.default_rng(20)
    centres = random.normal(size=(30, 2))
    path = np.linspace(centres[0], centres[1], 4001)
    index, share = _mixture(centres, path)
    np.testing.assert_allclose(share.sum(axis=1), 1.0, rtol=1e-12)
    dense = np.zeros((4001, 30))
    np.put_along_axis(dense, index, share, axis=1)
    assert dense[0, 0] == pytest.approx(1.0)
    assert dense[-1, 1] == pytest.approx(1.0)
    # Steps of the path are about 1 / 2000 of the distances between centres.
    assert np.abs(np.diff(dense, axis=0)).max() < 0.02


def test_quantiles_of_the_regression_are_those_of_the_distribution() -> None:
    scores, nuisance, _ = bent(2000, 21)
    options: dict[str, Any] = {"kind": "quantile", "n_knots": 4}
    (cell,) = ConditionalCDF.fit(scores, nuisance, **options).cells
    assert isinstance(cell.map, Quantiles)
    grid = np.linspace(0.001, 0.999, 999)
    for place in (-1.0, 0.0, 1.0):
        found = cell.map.cdf(grid, np.full((999, 1), place))
        for level in (0.1, 0.5, 0.9):
            quantile = np.interp(level, found, grid)
            true = norm.cdf((np.log(quantile / (1 - quantile)) - place) / np.exp(0.3 * place))
            # About a third of the events decide a quantile at a place.
            assert abs(true - level) < 5 * np.sqrt(level * (1 - level) / (2000 / 3))


def test_a_rank_has_the_middle_of_a_step_and_every_larger_score_a_larger_one() -> None:
    scores = np.array([0.0, 0.0, 0.0, 1.0])
    found = Ranks.of(scores, np.ones(4))
    np.testing.assert_allclose(found.at(scores), [3 / 8, 3 / 8, 3 / 8, 7 / 8])
    # Half way in between, and beyond: one range above 1 half of 1/8 is left.
    np.testing.assert_allclose(found.at(np.array([0.5, 2.0, -1.0])), [5 / 8, 15 / 16, 3 / 16])
    assert (np.diff(found.at(np.linspace(-100, 100, 20_001))) > 0).all()


def test_kept_points_of_a_curve_know_both_tails() -> None:
    scores = np.random.default_rng(22).normal(size=100_000)
    found = Ranks.of(scores, np.ones(100_000))
    whole = (rankdata(scores) - 0.5) / 100_000
    assert len(found.ranks) < 250
    ranks = found.at(scores)
    # Points are a fifth apart in the share beyond them, and the last ones have gaps of a few events.
    for true, kept in ((whole, ranks), (1 - whole, 1 - ranks)):
        tail = (true < 0.2) & (true > 1e-4)
        np.testing.assert_allclose(kept[tail], true[tail], rtol=0.1)


def test_steps_of_a_curve_are_kept() -> None:
    random = np.random.default_rng(23)
    scores = random.random(50_000)
    scores[: 50_000 // 3] = 0.43
    found = Ranks.of(scores, np.ones(50_000))
    expected = (rankdata(scores) - 0.5) / 50_000
    np.testing.assert_allclose(found.at(scores), expected, atol=2e-3)


def test_sums_that_fall_are_made_to_rise() -> None:
    scores, weight = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2.0, -1.0, 1.0])
    raw = mid_ranks(scores, weight, scores)
    np.testing.assert_allclose(raw, np.array([0.5, 2.0, 2.5, 2.5]) / 3)
    np.testing.assert_allclose(rising(np.array([0.0, 0.6, 0.2, 0.9])), [0.0, 0.4, 0.4, 0.9])
    ranks = Ranks.of(scores, weight).at(scores)
    assert (np.diff(ranks) > 0).all()


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (50, {"n_centres": 60}, "60 centres of 50 neighbours cannot be made of 50 background"),
        (
            50,
            {"n_neighbours": 51},
            "of 51 neighbours cannot be made of 50 background events; give sm",
        ),
        (
            50,
            {"kind": "quantile"},
            "6 spline functions of 1 nuisances .* 50 background events, 100",
        ),
        (50, {"kind": "near"}, r"unknown kind 'near' .*\navailable: flow, knn, linear, quantile"),
        (
            50,
            {"n_centers": 5},
            r"unknown option of kind knn 'n_centers' .*did you mean 'n_centres'",
        ),
        (50, {"n_centres": 1}, "n_centres is 1; give a whole number >= 2"),
        (50, {"kind": "flow", "hidden": 3}, "hidden is 3; give a list of widths"),
        (50, {"kind": "flow", "hidden": [3, 0]}, r"hidden\[1\] is 0; give a whole number >= 1"),
        (50, {"kind": "flow", "learning_rate": "fast"}, "learning_rate is 'fast'; give a number"),
        (50, {"kind": "quantile", "n_events": 3.5}, "n_events is 3.5; give a whole number >= 100"),
        (50, {"strength": 1.5}, "options.strength is 1.5; give a number between 0 and 1"),
        (50, {"max_categories": True}, "max_categories is True; give a whole number >= 0"),
    ],
)
def test_options_and_samples_that_do_not_fit_are_named(
    n: int, options: dict[str, Any], message: str
) -> None:
    scores, nuisance, _ = bent(n, 24)
    with pytest.raises(DataError, match=message):
        ConditionalCDF.fit(scores, nuisance, **options)


def test_a_line_needs_nuisances_that_are_not_the_same() -> None:
    scores, nuisance, _ = bent(100, 25)
    with pytest.raises(DataError, match="2 standardised nuisances has the eigenvalue"):
        ConditionalCDF.fit(scores, np.column_stack([nuisance, 2 * nuisance]), kind="linear")
