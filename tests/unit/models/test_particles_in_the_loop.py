"""The loop with networks on particles: pieces of a minibatch, streaming, stopped and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hepdl.errors import StoppedError
from hepdl.events import Events, select_features
from hepdl.events.particles import attach_particles
from hepdl.events.scaling import Scaling
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.deep_sets import DeepSets
from hepdl.models.lstm import Lstm
from hepdl.models.particle_net import ParticleNet
from hepdl.train import CheckpointFolder, StepView, StopRequest, TrainOptions
from hepdl.train.supervised import fit

Make = Callable[..., Events]
MODELS: dict[str, Callable[[], Any]] = {
    "deep_sets": lambda: DeepSets(particle_hidden=(8, 8), hidden=(8,)),
    "lstm": lambda: Lstm(units=6, hidden=(8,)),
    "particle_net": lambda: ParticleNet(blocks=((8,), (8,)), n_neighbours=3, hidden=(8,)),
}


def trained(name: str, toy_jets: Make, **options: Any) -> tuple[torch.Tensor, float]:
    names = ("checkpoint", "resume", "stop", "hooks")
    extra = {key: options.pop(key) for key in names if key in options}
    torch.manual_seed(3)
    model = MODELS[name]()
    events = attach_particles(select_features(toy_jets(150), ()), model.inputs.particles)
    events = Scaling.fit(events, model.inputs).apply(events)
    wanted = TrainOptions(
        **{"epochs": 2, "minibatch_size": 32, "learning_rate": 3e-3, "deterministic": True}
        | options
    )
    result = fit(
        model,
        events.slice(0, 120),
        events.slice(120, 150),
        options=wanted,
        loss=BinaryCrossEntropy(),
        observe=lambda *_: None,
        **extra,
    )
    return nn.utils.parameters_to_vector(model.parameters()).detach(), result.best_validation_auc


@pytest.mark.parametrize("name", ["deep_sets", "lstm"])
def test_minibatches_cut_into_pieces_give_the_same_network(name: str, toy_jets: Make) -> None:
    whole, _ = trained(name, toy_jets)
    pieces, _ = trained(name, toy_jets, accumulate=3)
    # Sums of gradients in another order, through eight steps of Adam.
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_streaming_trains_as_well(name: str, toy_jets: Make) -> None:
    parameters, auc = trained(
        name, toy_jets, stream=64, minibatch_size=16, epochs=12, learning_rate=0.01
    )
    assert torch.isfinite(parameters).all()
    # Two prongs against one; without a relation it would be 0.5 ± 0.11 for 15 on 15 jets.
    assert auc > 0.5 + 3 * math.sqrt(31 / (12 * 15 * 15))


@pytest.mark.parametrize("name", MODELS)
def test_a_fit_that_was_stopped_goes_on_to_the_same_bits(
    name: str, toy_jets: Make, tmp_path: Path
) -> None:
    whole, auc = trained(name, toy_jets)
    stop, folder = StopRequest(), CheckpointFolder(tmp_path)

    def in_the_second_epoch(view: StepView) -> None:
        if view.step == 5:
            stop.request("SIGTERM")

    with pytest.raises(StoppedError, match="SIGTERM in epoch 1"):
        trained(name, toy_jets, checkpoint=folder, stop=stop, hooks=[in_the_second_epoch])
    again, again_auc = trained(name, toy_jets, checkpoint=folder, resume=True)
    assert torch.equal(again, whole)
    assert again_auc == auc
