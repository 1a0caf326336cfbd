"""The toy of "Learning to pivot" (arXiv:1611.01046), whose limits are known in closed form."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import ks_2samp, norm
from torch import Tensor, nn

from hepdl.evaluate.roc import auc
from hepdl.events import Events, Inputs
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.train import TrainOptions, predict_scores
from hepdl.train.supervised import fit

# x0 alone does not know the nuisance: two unit Gaussians one unit apart.
PIVOTAL_AUC = float(norm.cdf(1 / 2**0.5))
# Bayes classifier with the nuisance marginalised, from 2 million events.
BEST_AUC = 0.8594


class Classifier(nn.Module):
    inputs = Inputs(features=("x0", "x1"))

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Sequential(
            nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 1)
        )

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        return (events.flat,)

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.stack(tensors[0])[:, 0]


def toy(n_events: int, seed: int, nuisance: float | None = None) -> Events:
    generator = torch.Generator().manual_seed(seed)
    index = torch.arange(n_events)
    label = index % 2
    z = torch.randn(n_events, generator=generator)
    if nuisance is not None:
        z = torch.full((n_events,), nuisance)
    noise = torch.randn(n_events, 2, generator=generator)
    background = torch.stack([noise[:, 0], -0.5 * noise[:, 0] + 0.75**0.5 * noise[:, 1]], 1)
    signal = torch.stack([1 + noise[:, 0], 1 + z + noise[:, 1]], 1)
    return Events(
        event_number=index,
        run_number=torch.ones_like(index),
        process=label,
        label=label,
        event_weight=torch.ones(n_events),
        flat=torch.where(label[:, None] == 1, signal, background),
        feature_names=("x0", "x1"),
        nuisance=z[:, None],
        nuisance_names=("z",),
    )


def auc_and_dependence(penalty: GradientReversal | None, seed: int = 0) -> tuple[float, float]:
    """Return the AUC, and the KS distance between the scores at z = -1 and z = +1."""
    torch.manual_seed(seed)
    network = Classifier()
    options = TrainOptions(epochs=8, minibatch_size=256, learning_rate=3e-3, seed=seed, n_threads=1)
    fit(
        network,
        toy(20_000, 10 * seed + 1),
        toy(5_000, 10 * seed + 2),
        options=options,
        loss=BinaryCrossEntropy(),
        decorrelation=penalty,
        observe=lambda values, epoch: None,
    )
    test = toy(50_000, 9999)
    area = auc(test.label.numpy(), predict_scores(network, test))
    low, high = (predict_scores(network, toy(20_000, 77, z)) for z in (-1.0, 1.0))
    return area, float(ks_2samp(low, high).statistic)


def test_the_score_forgets_the_nuisance_and_pays_with_auc() -> None:
    plain_auc, plain_ks = auc_and_dependence(None)
    penalty = GradientReversal(strength=10, nuisances=["z"], applies_to="all", warm_up=1)
    pivotal_auc, pivotal_ks = auc_and_dependence(penalty)
    # Training without a penalty comes close to the Bayes classifier, which has KS 0.265.
    assert plain_auc == pytest.approx(BEST_AUC, abs=0.006)
    assert plain_ks == pytest.approx(0.265, abs=0.03)
    # Over seeds 0.044 to 0.055 with AUC 0.796 to 0.804.
    assert pivotal_ks < 0.4 * plain_ks
    assert PIVOTAL_AUC < pivotal_auc < plain_auc - 0.03


@pytest.mark.slow
def test_a_stronger_penalty_leaves_less_dependence() -> None:
    results = [
        [
            auc_and_dependence(
                GradientReversal(strength=strength, nuisances=["z"], applies_to="all", warm_up=1),
                seed,
            )
            for seed in range(3)
        ]
        for strength in (1.0, 3.0, 10.0, 100.0)
    ]
    means = torch.tensor(results).mean(dim=1)
    assert bool((means[:, 1].diff() < 0).all()), means
    assert bool((means[:, 0].diff() < 0).all()), means
    # The pivotal limit, with 5 sigma of 50 000 test events (0.0021 each).
    assert bool((means[:, 0] > PIVOTAL_AUC - 0.01).all()), means
    assert means[-1, 1] < 0.05
