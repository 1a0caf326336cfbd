"""Boosted trees with a penalty against a nuisance."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.evaluate.roc import auc
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.losses.distance_correlation import DistanceCorrelation
from hepdl.losses.flatness import Flatness
from hepdl.losses.gradient_reversal import GradientReversal
from hepdl.losses.moment_decomposition import MomentDecomposition
from hepdl.models.boosted_trees import BoostedTrees
from hepdl.models.boosting.penalised import Penalised
from hepdl.train import CheckpointFolder, TrainOptions, boosted
from hepdl.train.state.decorrelator import Decorrelation


def toy(n: int, seed: int = 0) -> Events:
    """Return events whose first feature knows label and nuisance, the second the label alone."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    nuisance = torch.rand(n, generator=generator)
    noise = torch.randn(2, n, generator=generator)
    flat = torch.stack([2 * label + 3 * nuisance + noise[0], label + noise[1]], dim=1)
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=0.5 + torch.rand(n, generator=generator),
        flat=flat,
        feature_names=("a", "b"),
        nuisance=nuisance[:, None],
        nuisance_names=("mass",),
    )


def grown(
    penalty: Any, *, n_rounds: int = 60, train: Events | None = None, **given: Any
) -> BoostedTrees:
    model = BoostedTrees(["a", "b"], n_rounds=n_rounds, max_depth=3, early_stopping_rounds=5)
    boosted.fit(
        model,
        toy(4000) if train is None else train,
        toy(1000, seed=1),
        options=TrainOptions(n_threads=1),
        observe=lambda values, step: None,
        decorrelation=penalty,
        **given,
    )
    return model


def measured(model: BoostedTrees) -> tuple[float, float]:
    """Return AUC, and the distance of the background's scores at small and large nuisance."""
    test = toy(20_000, seed=2)
    scores, label, nuisance = model.scores(test), test.label.numpy(), test.nuisance[:, 0].numpy()
    low, high = ((label == 0) & chosen for chosen in (nuisance < 0.3, nuisance > 0.7))
    return float(auc(label, scores, test.event_weight.numpy())), float(
        ks_2samp(scores[low], scores[high]).statistic
    )


def test_a_stronger_flatness_leaves_less_dependence_and_pays_with_auc() -> None:
    found = [measured(grown(None))]
    found += [
        measured(grown(Flatness(strength=s, warm_up=10.0), n_rounds=120)) for s in (2.0, 20.0)
    ]
    areas, distances = zip(*found, strict=True)
    # 3000 events on each side know a distance to 0.02.
    assert distances[0] > 0.4
    assert distances[1] < 0.6 * distances[0]
    assert distances[2] < 0.3 * distances[0]
    assert areas[0] > areas[1] > areas[2] > 0.68


@pytest.mark.parametrize("kind", [DistanceCorrelation, MomentDecomposition])
def test_every_penalty_without_parameters_can_train_trees(kind: type) -> None:
    _, before = measured(grown(None))
    _, after = measured(grown(kind(strength=20.0, warm_up=10.0), n_rounds=100))
    assert after < 0.6 * before


def test_the_gradient_is_that_of_the_sum_of_weights_times_the_penalty() -> None:
    train = toy(300)
    margin = np.random.default_rng(0).normal(size=300).astype(np.float32)
    penalty = DistanceCorrelation(strength=3.0, nuisances=["mass"])
    gradient, curvature, value = Penalised(penalty, train).derivatives(margin, done=1, n_rounds=2)
    fresh = DistanceCorrelation(strength=3.0).double()
    fresh.set_progress(1.0, 2)
    logits = torch.from_numpy(margin).double().requires_grad_()
    background = train.label == 0
    expected = fresh(logits, None, train.nuisance.double(), train.event_weight.double(), background)
    (slope,) = torch.autograd.grad(expected, logits)
    spread = np.average(
        (margin - np.average(margin[background], weights=train.event_weight[background])) ** 2,
        weights=train.event_weight * background,
    )
    damping = spread / (spread + 0.3**2)
    assert value == pytest.approx(float(expected.detach()), rel=1e-9)
    wanted = damping * float(train.event_weight.sum()) * slope
    assert gradient.tolist() == pytest.approx(wanted.tolist(), rel=1e-4, abs=1e-7)
    assert (curvature[background] > 0).all()
    assert not curvature[~background].any()


def test_with_a_penalty_all_rounds_are_kept() -> None:
    assert grown(Flatness(strength=1.0), n_rounds=40).best_round == 39


def test_a_killed_and_resumed_fit_grows_the_same_trees(tmp_path: Path) -> None:
    def penalty() -> Penalty:
        return Flatness(strength=5.0, warm_up=5.0, schedule="linear", applies_to="each_class")

    whole = grown(penalty(), n_rounds=60)
    folder = CheckpointFolder(tmp_path / "checkpoint")
    model = BoostedTrees(["a", "b"], n_rounds=60, max_depth=3, early_stopping_rounds=5)

    def kill(values: dict[str, float], step: int) -> None:
        if step == 31:
            raise StoppedError("killed")

    with pytest.raises(StoppedError):
        boosted.fit(
            model,
            toy(4000),
            toy(1000, seed=1),
            options=TrainOptions(n_threads=1),
            observe=kill,
            checkpoint=folder,
            decorrelation=penalty(),
        )
    again = grown(penalty(), n_rounds=60, checkpoint=folder, resume=True)
    test = toy(500, seed=3)
    np.testing.assert_array_equal(whole.scores(test), again.scores(test))
    with pytest.raises(ConfigError, match="decorrelation"):
        grown(Flatness(strength=6.0), n_rounds=60, checkpoint=folder, resume=True)


def test_what_trees_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gradient_reversal, an adversary.*use flatness"):
        grown(GradientReversal(nuisances=["mass"]))
    with pytest.raises(ConfigError, match=r"decorrelation\.target is 0\.1: it is for networks"):
        grown(Decorrelation(Flatness(), target=0.1))
    with pytest.raises(ConfigError, match="nuisance 'mas'"):
        grown(Flatness(nuisances=["mas"]))
    constant = dataclasses.replace(toy(400), nuisance=torch.ones(400, 1))
    with pytest.raises(DataError, match="is 1 for all"):
        grown(Flatness(), train=constant)
