"""Negative weights whose share depends on phase space: the mean weight, and what learns from it.

The toy has the numbers of a generator beyond leading order: up to 42 % negative weights in the
signal where the second feature is large, 15 % in the background. The mean weights are known, so
the best possible score is too: its area under the ROC curve is 0.607, that of a classifier that
takes the magnitudes 0.565.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch
from threadpoolctl import threadpool_limits

from hepdl.errors import DataError
from hepdl.evaluate.roc import auc
from hepdl.events import Events
from hepdl.events.scaling import Scaling
from hepdl.events.weights import apply_negative_policy, balance
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.boosted_trees import BoostedTrees
from hepdl.models.mlp import Mlp
from hepdl.train import TrainOptions, boosted, predict_scores, supervised
from hepdl.train.probes import mean_weights

N_TRAIN, N_VALIDATION, N_TEST = 60_000, 20_000, 200_000
FEATURES = ("x0", "x1", "x2", "x3", "x4")
SHIFT, SLOPE = 0.235, 0.96


Scores = Callable[[Events], npt.NDArray[np.float32]]
Fit = Callable[[Events, Events], Scores]


@dataclass(frozen=True)
class Toy:
    x: npt.NDArray[np.float64]
    label: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]


def negative_share(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(0.42 / (1 + np.exp(-SLOPE * x[:, 1])))


def make_toy(n: int, seed: int) -> Toy:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, n)
    x = random.normal(size=(n, len(FEATURES)))
    x[:, 0] += SHIFT * label
    share = np.where(label == 1, negative_share(x), 0.15)
    weight = np.where(random.random(n) < share, -1.0, 1.0)
    return Toy(x, label, weight, 1 - 2 * share)


@pytest.fixture(scope="module")
def train() -> Toy:
    return make_toy(N_TRAIN, 1)


@pytest.fixture(scope="module")
def test() -> Toy:
    return make_toy(N_TEST, 2)


@pytest.fixture(scope="module")
def validation() -> Toy:
    return make_toy(N_VALIDATION, 3)


def halves(n: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(5).integers(0, 2, n)


def as_events(toy: Toy, weight: npt.NDArray[np.float64]) -> Events:
    n = len(toy.label)
    zeros = torch.zeros(n, dtype=torch.int64)
    return Events(
        event_number=torch.arange(n),
        run_number=zeros,
        process=zeros,
        label=torch.from_numpy(toy.label),
        event_weight=torch.from_numpy(weight.astype(np.float32)),
        flat=torch.from_numpy(toy.x.astype(np.float32)),
        feature_names=FEATURES,
        nuisance=torch.zeros(n, 0),
        process_names=("toy",),
    )


def weights_of(toy: Toy, policy: str) -> npt.NDArray[np.float64]:
    if policy != "reweight":
        return balance(toy.label, apply_negative_policy(toy.weight, policy))
    everything = np.ones(len(toy.label), dtype=bool)
    found = mean_weights(
        toy.x, toy.label, toy.weight, is_train=everything, half=halves(len(toy.label))
    )
    return balance(toy.label, found)


def ignore(values: dict[str, float], step: int) -> None:
    pass


def fit_trees(train: Events, validation: Events) -> Scores:
    trees = BoostedTrees(FEATURES, n_rounds=60, max_depth=3)
    boosted.fit(trees, train, validation, options=TrainOptions(n_threads=1), observe=ignore)
    return trees.scores


def fit_mlp(train: Events, validation: Events) -> Scores:
    torch.manual_seed(0)
    network = Mlp(FEATURES, hidden=[32, 32], batch_norm=False)
    scaling = Scaling.fit(train, network.inputs)
    supervised.fit(
        network,
        scaling.apply(train),
        scaling.apply(validation),
        options=TrainOptions(epochs=5, minibatch_size=512, learning_rate=5e-3, n_threads=1),
        loss=BinaryCrossEntropy(),
        observe=ignore,
    )
    return lambda some: predict_scores(network, scaling.apply(some))


def area(score: npt.ArrayLike, toy: Toy) -> float:
    """Measure with the exact mean weights, so that the test has no noise of signs."""
    return float(auc(toy.label, score, toy.mean))


def test_the_toy_is_the_one_of_the_published_comparison(test: Toy) -> None:
    oracle = SHIFT * test.x[:, 0] + np.log(1 - 2 * negative_share(test.x))
    # Three statistical errors of an area with 200 000 entries.
    assert area(oracle, test) == pytest.approx(0.607, abs=0.004)
    assert area(test.x[:, 0], test) == pytest.approx(0.565, abs=0.004)


def test_the_mean_weight_is_found_and_keeps_the_sum_of_each_class(train: Toy) -> None:
    everything = np.ones(N_TRAIN, dtype=bool)
    found = mean_weights(
        train.x, train.label, train.weight, is_train=everything, half=halves(N_TRAIN)
    )
    assert found.min() > 0
    for code in (0, 1):
        inside = train.label == code
        assert found[inside].sum() == pytest.approx(train.weight[inside].sum(), rel=1e-12)
    signal = train.label == 1
    # Single weights scatter by 0.9 around their mean; the mean itself varies by 0.17.
    error = np.sqrt(np.mean(np.square(found - train.mean)[signal]))
    assert error < 0.4 * np.std(train.mean[signal])


def test_no_training_event_is_given_the_weight_that_it_has_itself(train: Toy) -> None:
    some = slice(0, 4000)
    weight = train.weight[some].copy()
    half = halves(4000)
    everything = np.ones(4000, dtype=bool)
    before = mean_weights(train.x[some], train.label[some], weight, is_train=everything, half=half)
    weight[0] = 50.0
    after = mean_weights(train.x[some], train.label[some], weight, is_train=everything, half=half)
    same_half = (half == half[0]) & (train.label[some] == train.label[0])
    # All of its half are scaled by one factor, which keeps the sum; nothing else changes.
    ratio = after[same_half] / before[same_half]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_events_outside_of_the_training_part_change_nothing(train: Toy) -> None:
    some = slice(0, 6000)
    is_train = np.arange(6000) < 5000
    half = halves(6000)
    whole = mean_weights(
        train.x[some], train.label[some], train.weight[some], is_train=is_train, half=half
    )
    weight = np.where(is_train, train.weight[some], -3.0)
    again = mean_weights(train.x[some], train.label[some], weight, is_train=is_train, half=half)
    np.testing.assert_array_equal(whole, again)
    assert whole.min() > 0


def test_the_number_of_threads_changes_no_bit(train: Toy) -> None:
    some = slice(0, 1000)
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append(
                mean_weights(
                    train.x[some],
                    train.label[some],
                    train.weight[some],
                    is_train=np.ones(1000, dtype=bool),
                    half=halves(1000),
                )
            )
    np.testing.assert_array_equal(*found)


def test_equal_weights_stay_what_they_are(train: Toy) -> None:
    found = mean_weights(
        train.x[:1000],
        train.label[:1000],
        np.full(1000, 0.3),
        is_train=np.ones(1000, dtype=bool),
        half=halves(1000),
    )
    np.testing.assert_array_equal(found, 0.3)


@pytest.mark.parametrize(
    ("n", "factor", "message"), [(300, 1.0, "need 400 training"), (5000, -1.0, "must be positive")]
)
def test_what_has_no_mean_is_refused(train: Toy, n: int, factor: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mean_weights(
            train.x[:n],
            train.label[:n],
            factor * train.weight[:n],
            is_train=np.ones(n, dtype=bool),
            half=halves(n),
        )


@pytest.mark.parametrize("fit", [fit_trees, fit_mlp])
@pytest.mark.parametrize("policy", ["keep", "reweight"])
def test_signed_and_mean_weights_learn_what_magnitudes_hide(
    fit: Fit, policy: str, train: Toy, validation: Toy, test: Toy
) -> None:
    scores = fit(*(as_events(toy, weights_of(toy, policy)) for toy in (train, validation)))
    assert area(scores(as_events(test, test.weight)), test) >= 0.60


@pytest.mark.parametrize("fit", [fit_trees, fit_mlp])
def test_magnitudes_hide_it(fit: Fit, train: Toy, validation: Toy, test: Toy) -> None:
    scores = fit(*(as_events(toy, weights_of(toy, "absolute")) for toy in (train, validation)))
    # The area of the first feature alone, and three statistical errors.
    assert area(scores(as_events(test, test.weight)), test) < 0.569
