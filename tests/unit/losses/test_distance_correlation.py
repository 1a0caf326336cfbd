"""Squared distance correlation as a penalty: golden values, dcor as oracle, gradients."""

from __future__ import annotations

import math
from itertools import pairwise

import dcor
import numpy as np
import pytest
import torch
from torch import Tensor

from hepdl.errors import ConfigError, DataError
from hepdl.losses.distance_correlation import DistanceCorrelation
from hepdl.losses.penalties import pairs
from hepdl.losses.penalties.pairs import squared_correlation

# i = 0 ... 49; values of dcor 0.7, the weighted ones with rows replicated.
INDEX = np.arange(50.0)
X = np.sin(INDEX)
Y = X**2 + 0.3 * np.cos(2.3 * INDEX)
Z = np.cos(0.7 * INDEX + 0.2)
WEIGHT = 1 + INDEX % 3
GOLDEN = {
    "x, y": (X, Y, 0.13994044797578062, 0.09533355773090037, 0.14744710847052084),
    "x, z": (X, Z, 0.018239332123674415, -0.025279611718769905, 0.019707861375055626),
    "x, x^3": (X, X**3, 0.9039446533361173, 0.9023872699485943, 0.9010983915184703),
}


def tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def equal(n: int) -> Tensor:
    return torch.full((n,), 1 / n, dtype=torch.float64)


@pytest.fixture(params=["sorted", "paired"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Compute by sorting, as on a CPU, or from all pairs, as on a GPU."""
    if request.param == "paired":

        def from_pairs(x: Tensor, z: Tensor, w: Tensor, unbiased: bool, category: bool) -> object:
            return pairs._paired(x, z, w, unbiased, category, 7)

        monkeypatch.setattr(pairs, "_sorted", from_pairs)
    return str(request.param)


@pytest.mark.parametrize("name", GOLDEN)
def test_gives_the_values_of_an_independent_package(name: str, way: str) -> None:
    x, y, v_statistic, u_statistic, weighted = GOLDEN[name]
    shares = tensor(WEIGHT / WEIGHT.sum())
    found = [
        squared_correlation(tensor(x), tensor(y), equal(50), unbiased=False).item(),
        squared_correlation(tensor(x), tensor(y), equal(50), unbiased=True).item(),
        squared_correlation(tensor(x), tensor(y), shares, unbiased=False).item(),
    ]
    # Fifty doubles, differences of sums of order one.
    assert found == pytest.approx([v_statistic, u_statistic, weighted], abs=1e-13)


def test_agrees_with_dcor_on_ties_and_large_offsets(way: str) -> None:
    random = np.random.default_rng(1)
    x = np.round(random.normal(size=400), 1)
    y = np.round(x * random.normal(size=400), 1) + 1e4
    expected = (dcor.distance_correlation_sqr(x, y), dcor.u_distance_correlation_sqr(x, y))
    found = [
        squared_correlation(tensor(x), tensor(y), equal(400), unbiased=u).item()
        for u in (False, True)
    ]
    # dcor itself loses digits to the offset.
    assert found == pytest.approx(expected, abs=1e-9)


def test_distances_of_categories_are_zero_or_one(way: str) -> None:
    random = np.random.default_rng(2)
    category = random.integers(0, 4, 200).astype(float)
    x = random.normal(size=200) + np.array([0.0, 2.0, -1.0, 0.5])[category.astype(int)]
    apart = (category[:, None] != category[None, :]).astype(float)

    def centred(distances: np.ndarray) -> np.ndarray:
        rows = distances.mean(axis=0)
        return distances - rows[:, None] - rows[None, :] + distances.mean()

    a, b = centred(np.abs(x[:, None] - x[None, :])), centred(apart)
    expected = (a * b).mean() / math.sqrt((a * a).mean() * (b * b).mean())
    found = squared_correlation(
        tensor(x), tensor(category), equal(200), unbiased=False, is_categorical=True
    )
    assert found.item() == pytest.approx(expected, abs=1e-13)
    # Names of categories have no order.
    renamed = tensor(np.array([3.0, 10.0, -2.0, 0.0])[category.astype(int)])
    again = squared_correlation(tensor(x), renamed, equal(200), unbiased=False, is_categorical=True)
    assert again.item() == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("is_categorical", [False, True])
def test_the_gradient_is_that_of_the_value(way: str, unbiased: bool, is_categorical: bool) -> None:
    random = np.random.default_rng(3)
    x = tensor(random.normal(size=30)).requires_grad_()
    z = tensor(
        random.integers(0, 3, 30).astype(float) if is_categorical else random.normal(size=30)
    )
    weight = tensor(random.random(30))
    weight = weight / weight.sum()
    assert torch.autograd.gradcheck(
        lambda scores: squared_correlation(
            scores, z, weight, unbiased=unbiased, is_categorical=is_categorical
        ),
        (x,),
    )


def test_both_ways_give_equal_scores_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    x, z = np.round(random.normal(size=100)), random.normal(size=100)
    gradients = []
    for _ in range(2):
        scores = tensor(x).requires_grad_()
        squared_correlation(scores, tensor(z), equal(100), unbiased=False).backward()
        gradients.append(scores.grad)
        monkeypatch.setattr(pairs, "_sorted", lambda *given: pairs._paired(*given, 13))
    assert gradients[0] is not None
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8])
def test_two_gaussians_have_the_value_of_the_closed_form(rho: float) -> None:
    expected = {0.1: 0.007944419699727515, 0.5: 0.20623088203511827, 0.8: 0.5698691901354817}
    random = np.random.default_rng(5)
    n = 40_000
    x = random.normal(size=n)
    y = rho * x + math.sqrt(1 - rho**2) * random.normal(size=n)
    found = squared_correlation(tensor(x), tensor(y), equal(n), unbiased=True).item()
    # The correlation coefficient is known to 1 / sqrt(n) = 0.005; its square moves by 2 rho that, and by the null
    # of 1e-4 at rho = 0; five sigma.
    assert found == pytest.approx(expected[rho], abs=5 * (2 * rho * 0.005 + 1e-4))


def test_the_unbiased_form_averages_to_zero_for_independent_numbers() -> None:
    random = np.random.default_rng(6)
    found = {}
    for unbiased in (False, True):
        found[unbiased] = [
            squared_correlation(
                tensor(random.normal(size=64)),
                tensor(random.normal(size=64)),
                equal(64),
                unbiased=unbiased,
            ).item()
            for _ in range(300)
        ]
    # The biased form has nearly 0.05 at 64 events.
    assert np.mean(found[False]) > 0.04
    error = np.std(found[True]) / math.sqrt(300)
    assert abs(np.mean(found[True])) < 5 * error
    assert error < 0.002


def test_the_unbiased_form_knows_weights_to_first_order() -> None:
    random = np.random.default_rng(7)
    found = []
    for _ in range(300):
        weight = tensor(random.exponential(size=128))
        found.append(
            squared_correlation(
                tensor(random.normal(size=128)),
                tensor(random.normal(size=128)),
                weight / weight.sum(),
                unbiased=True,
            ).item()
        )
    # 64 effective events: uncorrected it would be nearly 0.05.
    assert abs(np.mean(found)) < 0.004


def fitted(**options: object) -> DistanceCorrelation:
    penalty = DistanceCorrelation(**options)  # type: ignore[arg-type]
    penalty.set_progress(1.0, 2)
    return penalty


def test_nuisances_add_up_and_the_strength_multiplies() -> None:
    random = np.random.default_rng(8)
    logits, nuisance = tensor(random.normal(size=60)), tensor(random.normal(size=(60, 2)))
    weight = torch.ones(60, dtype=torch.float64)
    each = [fitted()(logits, None, nuisance[:, k : k + 1], weight).item() for k in (0, 1)]
    both = fitted(strength=3.0)(logits, None, nuisance, weight).item()
    assert both == pytest.approx(3 * sum(each), rel=1e-12)


def test_reads_the_score_or_the_logits() -> None:
    random = np.random.default_rng(9)
    logits, nuisance = tensor(3 * random.normal(size=60)), tensor(random.normal(size=(60, 1)))
    weight = torch.ones(60, dtype=torch.float64)
    found = [fitted(of=of)(logits, None, nuisance, weight).item() for of in ("score", "logits")]
    expected = [
        dcor.distance_correlation_sqr(values.numpy(), nuisance[:, 0].numpy())
        for values in (torch.sigmoid(logits), logits)
    ]
    assert found == pytest.approx(expected, rel=1e-10)
    assert found[0] != pytest.approx(found[1], rel=1e-2)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_is_exactly_zero_where_nothing_can_be_measured(count: int) -> None:
    logits = torch.randn(10, requires_grad=True)
    nuisance, weight = torch.randn(10, 1), torch.ones(10)
    mask = torch.arange(10) < count
    cases = [
        (nuisance, weight, mask),
        (torch.ones(10, 1), weight, None),
        (nuisance, torch.zeros(10), None),
    ]
    for values, weights, chosen in cases:
        value = fitted()(logits, None, values, weights, chosen)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.item() == 0
        assert not gradient.any()


def test_more_strength_at_each_step_of_a_linear_schedule() -> None:
    penalty = DistanceCorrelation(strength=2.0, warm_up=1.0, schedule="linear")
    found = []
    for epoch in (0.5, 1.0, 2.0, 3.0):
        penalty.set_progress(epoch, 3)
        found.append(penalty.current_strength)
    assert found == [0.0, 0.0, 1.0, 2.0]
    assert all(a <= b for a, b in pairwise(found))


def test_options_that_do_not_exist_are_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"did you mean 'u'[\s\S]*score[\s\S]*chunk must be at least 1"
    ):
        DistanceCorrelation(estimator="uu", of="scores", chunk=0)
    with pytest.raises(ConfigError, match="nuisance 'mass'"):
        DistanceCorrelation(nuisances=["jet_mass"], categorical=["mass"])


def test_a_constant_nuisance_is_refused_before_the_training() -> None:
    with pytest.raises(DataError, match="nuisance 'jet_mass' is 80 for all 5 training events"):
        DistanceCorrelation(nuisances=["jet_mass"]).fit_nuisance(
            torch.full((5, 1), 80.0), torch.ones(5)
        )
