"""Maps from several scores to one: scikit-learn, SciPy, closed forms, invariances, signed weights."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from hepdl.errors import DataError
from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.bootstrap.ranking import rank
from hepdl.evaluate.comparison import compare_models
from hepdl.posthoc import rank_average, stack
from hepdl.posthoc.rank_average import RankAverage
from hepdl.posthoc.stack import NEAREST_TO_0_AND_1, PRIOR_WIDTH, Stack, regress

KINDS = [Stack, RankAverage]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Kind = type[Stack] | type[RankAverage]

# Two Gaussians of width 1, SHIFT apart in each of two independent features.
SHIFT = 1.2


def features(n: int, seed: int) -> tuple[Floats, Labels]:
    """Return two independent features of as many signal as background events, in random order."""
    random = np.random.default_rng(seed)
    label = random.permutation(np.arange(n) % 2).astype(np.int64)
    return random.normal(SHIFT * label[:, None], 1.0, (n, 2)), label


def members(n: int, seed: int) -> tuple[Floats, Labels]:
    """Return the posterior probability that each feature alone gives."""
    x, label = features(n, seed)
    return expit(SHIFT * x - SHIFT**2 / 2), label


def loss_by_loop(
    parameters: Floats, x: Floats, label: Labels, weight: Floats, *, centre: float, strength: float
) -> float:
    total = 0.0
    for row, is_signal, w in zip(x, label, weight, strict=True):
        p = 1 / (1 + np.exp(-(parameters[0] + sum(row * parameters[1:]))))
        total -= w * np.log(p if is_signal else 1 - p)
    return total + strength / 2 * sum((c - centre) ** 2 for c in parameters[1:])


@pytest.mark.parametrize("strength", [1e-9, 0.3, 30.0])
def test_the_regression_is_that_of_scikit_learn_when_drawn_to_zero(strength: float) -> None:
    scores, label = members(2000, 1)
    weight = np.random.default_rng(2).uniform(0.1, 2.0, 2000)
    x = logit(scores)
    oracle = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=2000).fit(x, label, weight)
    intercept, coefficients = regress(x, label == 1, weight, centre=0.0, strength=strength)
    # lbfgs stops at a gradient of about 1e-6 of the curvature.
    np.testing.assert_allclose(coefficients, oracle.coef_[0], atol=1e-5)
    assert intercept == pytest.approx(float(oracle.intercept_[0]), abs=1e-5)


def test_the_regression_around_a_centre_is_the_minimum_of_a_plain_loop() -> None:
    scores, label = members(60, 3)
    weight = np.random.default_rng(4).normal(1.0, 0.8, 60)
    x = logit(scores)
    options = {"centre": 0.5, "strength": 2.0}
    intercept, coefficients = regress(x, label == 1, weight, **options)

    def loss(parameters: Floats) -> float:
        return loss_by_loop(parameters, x, label, weight, **options)

    found = np.array([intercept, *coefficients])
    oracle = minimize(
        loss,
        [0.0, 0.5, 0.5],
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-12, "maxiter": 5000},
    )
    np.testing.assert_allclose(found, oracle.x, atol=1e-5)


def test_two_members_with_independent_features_get_the_coefficients_of_the_optimum() -> None:
    n = 40_000
    scores, label = members(n, 5)
    found = Stack.fit(scores, label, np.ones(n))
    # The posterior of both is the sum of the logits. Fisher information of a coefficient:
    # sum of logit^2 p (1 - p), about 0.2 an event; 5 sigma.
    p = expit(logit(scores).sum(axis=1))
    design = np.column_stack([np.ones(n), logit(scores)])
    sigma = np.sqrt(np.diag(np.linalg.inv((design.T * (p * (1 - p))) @ design)))
    pulls = (np.array([found.intercept, *found.coefficients]) - [0.0, 1.0, 1.0]) / sigma
    assert np.abs(pulls).max() < 5


def test_a_member_that_knows_nothing_gets_nothing() -> None:
    n = 20_000
    scores, label = members(n, 6)
    noise = np.random.default_rng(7).uniform(0.05, 0.95, n)
    found = Stack.fit(np.column_stack([scores[:, 0], noise]), label, np.ones(n))
    # Information of the coefficient of the noise: n var(logit) p(1-p), about 0.2 n.
    assert abs(found.coefficients[1]) < 5 / np.sqrt(0.2 * n)
    assert found.coefficients[0] == pytest.approx(1.0, abs=0.1)


def test_members_that_are_the_same_share_alike() -> None:
    scores, label = members(300, 8)
    found = Stack.fit(scores[:, [0, 0]], label, np.ones(300))
    assert found.coefficients[0] == pytest.approx(found.coefficients[1], abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_members_that_are_the_same_change_no_order(kind: Kind) -> None:
    scores, label = members(300, 9)
    fitted = kind.fit(scores[:, [0, 0, 0]], label, np.ones(300))
    order = np.argsort(scores[:, 0])
    assert (np.diff(fitted.transform(scores[order][:, [0, 0, 0]])) > 0).all()


def test_with_many_events_it_is_logistic_regression() -> None:
    n = 40_000
    scores, label = members(n, 36)
    weight = np.random.default_rng(37).uniform(0.1, 2.0, n)
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000)
    oracle.fit(logit(scores), label, weight)
    found = Stack.fit(scores, label, weight)
    # The prior pulls by (1 - 1/2) / PRIOR_WIDTH^2 = 2 against an information of 0.2 n.
    np.testing.assert_allclose(found.coefficients, oracle.coef_[0], atol=5 * 2 / (0.2 * n))


def test_the_prior_is_that_of_so_many_effective_events() -> None:
    """The shares solve the score equation of likelihood and prior; n_eff = n for weights of 1."""
    n = 300
    scores, label = members(n, 10)
    found = Stack.fit(scores, label, np.ones(n))
    x = logit(scores)
    alone = [LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, [k]], label) for k in (0, 1)]
    # Up to the prior of the scales: 1 / SCALE_WIDTH^2 against an information of 0.2 n.
    scales = np.array([float(fit.coef_[0, 0]) for fit in alone])
    slope = scales * (x.T @ (expit(found.intercept + x @ found.coefficients) - label))
    expected = -(found.coefficients / scales - 0.5) / PRIOR_WIDTH**2
    np.testing.assert_allclose(slope, expected, rtol=0.01)


@pytest.mark.parametrize("n", [100, 2000])
def test_the_stack_does_not_change_when_the_logits_of_a_member_are_stretched_and_moved(
    n: int,
) -> None:
    """Trees that stopped after one round have logits of a few in a hundred, and as much to say."""
    scores, label = members(n, 38)
    other = scores.copy()
    other[:, 1] = expit(0.03 * logit(scores[:, 1]) + 0.2)
    one = Stack.fit(scores, label, np.ones(n)).transform(scores)
    two = Stack.fit(other, label, np.ones(n)).transform(other)
    np.testing.assert_allclose(two, one, atol=1e-6)


def test_a_member_that_says_the_same_of_all_is_left_out() -> None:
    scores, label = members(300, 39)
    scores[:, 1] = 0.3
    found = Stack.fit(scores, label, np.ones(300))
    assert found.coefficients[1] == 0
    assert found.coefficients[0] > 0.5


def test_300_events_are_enough_for_two_members_that_nearly_agree() -> None:
    """Without the prior the coefficients of members with a correlation of 0.99 are anything."""
    truth = expit(np.random.default_rng(11).normal(0.0, 1.5, 300))
    spread = []
    for seed in range(20):
        random = np.random.default_rng([12, seed])
        label = (random.random(300) < truth).astype(np.int64)
        scores = expit(logit(truth)[:, None] + random.normal(0.0, 0.1, (300, 2)))
        spread.append(Stack.fit(scores, label, np.ones(300)).coefficients)
    # The prior alone allows PRIOR_WIDTH; a width of 100 leaves 0.9.
    width = np.std(spread, axis=0, ddof=1)
    assert width.max() < PRIOR_WIDTH / 2
    pulls = (np.mean(spread, axis=0) - 0.5) / (width / np.sqrt(20))
    assert np.abs(pulls).max() < 5


def test_an_event_that_a_member_is_certain_of_counts_as_one_in_a_million() -> None:
    fitted = Stack(0.0, np.array([1.0, 1.0]))
    edge = logit(NEAREST_TO_0_AND_1)
    np.testing.assert_allclose(
        fitted.transform([[0.0, 0.9], [1.0, 0.5]]), expit([edge + logit(0.9), -edge]), rtol=1e-12
    )


def test_separated_classes_have_finite_coefficients() -> None:
    found = Stack.fit([[0.1, 0.2], [0.2, 0.1], [0.8, 0.9], [0.9, 0.8]], [0, 0, 1, 1], np.ones(4))
    assert np.isfinite(found.coefficients).all()
    assert (found.coefficients > 0.5).all()


def test_a_search_that_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MAX_ITERATIONS", 1)
    scores, label = members(300, 13)
    with pytest.raises(DataError, match="300 events did not converge in 1 steps"):
        Stack.fit(scores, label, np.ones(300))


def test_ranks_are_those_of_scipy_for_as_many_signal_as_background_events() -> None:
    scores, label = members(400, 14)
    scores = np.round(scores, 2)  # with ties
    expected = np.mean([(rankdata(column) - 0.5) / 400 for column in scores.T], axis=0)
    found = RankAverage.fit(scores, label, np.ones(400)).transform(scores)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_ranks_weigh_both_classes_alike_in_a_plain_loop() -> None:
    scores, label = members(150, 15)
    scores = np.round(scores, 1)
    weight = np.random.default_rng(16).uniform(0.1, 3.0, 150) * np.where(label == 1, 7.0, 0.2)
    found = RankAverage.fit(scores, label, weight).transform(scores)
    for row, value in zip(scores, found, strict=True):
        ranks = []
        for member, score in enumerate(row):
            shares = []
            for code in (0, 1):
                column, w = scores[label == code, member], weight[label == code]
                below = sum(w[column < score]) + sum(w[column == score]) / 2
                shares.append(below / sum(w))
            ranks.append(sum(shares) / 2)
        assert value == pytest.approx(sum(ranks) / 2, abs=1e-12)


def test_ranks_do_not_change_under_rising_maps_of_a_member() -> None:
    scores, label = members(500, 17)
    plain = RankAverage.fit(scores, label, np.ones(500))
    mapped = scores.copy()
    mapped[:, 1] = expit(3 * logit(scores[:, 1]) - 2)
    other = RankAverage.fit(mapped, label, np.ones(500))
    np.testing.assert_array_equal(other.transform(mapped), plain.transform(scores))
    # Between two validation events a rank is a matter of interpolation: one step of 1/500, halved
    # by the mean over two members.
    new, _ = members(500, 18)
    new_mapped = new.copy()
    new_mapped[:, 1] = expit(3 * logit(new[:, 1]) - 2)
    apart = np.abs(other.transform(new_mapped) - plain.transform(new))
    assert apart.max() <= 0.5 / 500


def test_ranks_of_one_member_twice_keep_every_order_of_new_events() -> None:
    """Beyond the validation events, too: nothing is flat where the weights are positive."""
    scores, label = members(50, 19)
    grid = np.linspace(0.0, 1.0, 2001)
    found = RankAverage.fit(scores[:, [0, 0]], label, np.ones(50)).transform(np.c_[grid, grid])
    assert (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == (0.0, 1.0)


@pytest.mark.parametrize("has_ties", [False, True])
def test_a_curve_of_many_events_is_kept_to_one_step(
    has_ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = 20_000
    scores, label = members(n, 20)
    if has_ties:  # a third of all events shares one score
        scores[: n // 3] = 0.43
    kept = RankAverage.fit(scores, label, np.ones(n))
    monkeypatch.setattr(rank_average, "N_STEPS", n)
    whole = RankAverage.fit(scores, label, np.ones(n))
    assert max(map(len, kept.scores)) <= 2 * 1000 + 4 < min(map(len, whole.scores))
    assert np.abs(kept.transform(scores) - whole.transform(scores)).max() < 1 / 1000


@pytest.mark.parametrize("kind", KINDS)
def test_two_members_that_know_different_things_are_beaten_by_their_combination(kind: Kind) -> None:
    n = 20_000
    fitted = kind.fit(*members(600, 21), np.ones(600))
    scores, label = members(n, 22)
    bootstrap = Bootstrap(np.arange(n)[:, None], n_replicas=100)

    def ranking(values: Floats) -> list[object]:
        return [rank(label, values, np.ones(n), bootstrap=bootstrap, signal_efficiencies=(0.5,))]

    combined = ranking(fitted.transform(scores))
    for column in scores.T:
        area = compare_models(combined, ranking(column))[0]
        # SHIFT 1.2 alone gives Φ(1.2/√2) = 0.802, both together Φ(1.2) = 0.885.
        assert area.value == pytest.approx(0.083, abs=0.02)
        assert area.significance > 5


def test_a_member_of_noise_costs_the_stack_nothing_significant() -> None:
    n = 20_000

    def with_noise(n_events: int, seed: int) -> tuple[Floats, Labels]:
        scores, label = members(n_events, seed)
        scores[:, 1] = np.random.default_rng([seed, 1]).beta(2.0, 2.0, n_events)
        return scores, label

    scores, label = with_noise(n, 23)
    bootstrap = Bootstrap(np.arange(n)[:, None], n_replicas=100)
    first, second = (
        rank(label, values, np.ones(n), bootstrap=bootstrap, signal_efficiencies=(0.5,))
        for values in (
            Stack.fit(*with_noise(600, 24), np.ones(600)).transform(scores),
            scores[:, 0],
        )
    )
    # A coefficient c on the noise costs about c^2 of what the member has; from 600 events c ~ 0.1.
    assert compare_models([first], [second])[0].value > -0.005
    assert compare_models([first], [second])[0].significance > -5


@pytest.mark.parametrize("kind", KINDS)
def test_negative_weights_give_the_map_of_the_mixture_that_they_stand_for(kind: Kind) -> None:
    n = 60_000
    scores, label = members(n, 25)
    negative_share = np.where(label == 1, 0.4 * scores[:, 0], 0.15)
    signs = np.where(np.random.default_rng(26).random(n) < negative_share, -1.0, 1.0)
    grid = np.random.default_rng(27).uniform(0.02, 0.98, (400, 2))
    signed = kind.fit(scores, label, signs).transform(grid)
    mean = kind.fit(scores, label, 1 - 2 * negative_share).transform(grid)
    magnitude = kind.fit(scores, label, np.ones(n)).transform(grid)
    # The signs stand for 1 / (1 - 2 share)^2 times as many events: noise of a few in a thousand.
    assert np.abs(signed - mean).mean() < 0.01
    assert np.abs(signed - mean).mean() < 0.5 * np.abs(magnitude - mean).mean()


def test_ranks_never_fall_whatever_the_signs() -> None:
    scores, label = members(400, 28)
    weight = np.random.default_rng(29).normal(0.5, 1.0, 400)
    found = RankAverage.fit(scores, label, weight)
    for ranks, values in zip(found.ranks, found.scores, strict=True):
        assert (np.diff(values) > 0).all()
        assert (np.diff(ranks) >= 0).all()
        assert ranks.min() >= 0
        assert ranks.max() <= 1


def test_a_pair_of_opposite_weights_is_spread_over_its_place() -> None:
    """Background at 0.2 and 0.8; signal 2 at 0.4, then -1 at 0.6: the sums are 0, 2, 1, 1."""
    scores = np.array([0.2, 0.4, 0.6, 0.8])
    found = RankAverage.fit(np.c_[scores, scores], [0, 1, 1, 0], [1.0, 2.0, -1.0, 1.0])
    # Mid-ranks: background 1/4, 1/2, 1/2, 3/4; signal 0, 1, 3/2, 1; their mean 1/8, 3/4, 1, 7/8.
    # Highest so far 1/8, 3/4, 1, 1; lowest to come 1/8, 3/4, 7/8, 7/8.
    np.testing.assert_allclose(found.ranks[0], [0, 1 / 8, 3 / 4, 15 / 16, 15 / 16, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_maps_do_not_depend_on_the_scale_of_the_weights(kind: Kind) -> None:
    scores, label = members(800, 30)
    weight = np.random.default_rng(31).uniform(0.1, 2.0, 800)
    one = kind.fit(scores, label, weight).transform(scores)
    two = kind.fit(scores, label, 1000.0 * weight).transform(scores)
    np.testing.assert_allclose(one, two, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_members_does_not_matter(kind: Kind) -> None:
    scores, label = members(300, 32)
    one = kind.fit(scores, label, np.ones(300)).transform(scores)
    other = kind.fit(scores[:, ::-1], label, np.ones(300)).transform(scores[:, ::-1])
    np.testing.assert_allclose(one, other, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_combinations_travel_as_json_and_give_one_score_a_row(kind: Kind) -> None:
    scores, label = members(300, 33)
    fitted = kind.fit(scores, label, np.ones(300))
    again = kind.from_dict(json.loads(json.dumps(fitted.as_dict())))
    found = fitted.transform(scores)
    np.testing.assert_array_equal(again.transform(scores), found)
    assert found.shape == (300,)
    assert 0 <= found.min() < found.max() <= 1
    assert fitted.transform(np.zeros((0, 2))).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("scores", "label", "weight", "message"),
    [
        ([[0.2, 0.2], [0.3, 1.3]], [0, 1], [1, 1], "score 1.3 of member 1 at entry 1 is outside"),
        ([[0.2, np.nan], [0.3, 0.3]], [0, 1], [1, 1], "scores of member 1 are not finite"),
        ([[0.2], [0.3]], [0, 1], [1, 1], "1 columns; a combination needs"),
        ([0.2, 0.3], [0, 1], [1, 1], r"shape \(2,\); \(n_events, n_members\)"),
        ([[0.2, 0.1], [0.3, 0.2]], [1, 1], [1, 1], "no background"),
        ([[0.2, 0.1], [0.3, 0.2]], [0, 1], [1, -1], "add up to -1"),
    ],
)
def test_what_cannot_be_combined_is_named(
    kind: Kind, scores: list[list[float]], label: list[int], weight: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        kind.fit(scores, label, weight)


@pytest.mark.parametrize("kind", KINDS)
def test_another_number_of_members_is_refused(kind: Kind) -> None:
    scores, label = members(100, 34)
    fitted = kind.fit(scores, label, np.ones(100))
    with pytest.raises(DataError, match=r"shape \(100, 3\); \(n_events, 2\) is needed"):
        fitted.transform(scores[:, [0, 1, 1]])
