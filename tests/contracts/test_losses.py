"""What is true of every loss in hepdl.losses."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch
from torch import Tensor, nn

import hepdl.losses
from hepdl.losses import Penalty

NAMES = sorted(
    found.name for found in pkgutil.iter_modules(hepdl.losses.__path__) if not found.ispkg
)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def minibatch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    n_events = 64
    logits = torch.randn(n_events, generator=generator, dtype=torch.float64)
    return {
        "logits": logits,
        "label": torch.arange(n_events) % 2,
        "nuisance": (logits + torch.randn(n_events, generator=generator))[:, None],
        "event_weight": 0.5 + torch.rand(n_events, generator=generator, dtype=torch.float64),
        "mask": torch.arange(n_events) % 3 != 0,
    }


@pytest.fixture
def loss(name: str, minibatch: dict[str, Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return make(name, minibatch)


def make(name: str, minibatch: dict[str, Tensor]) -> nn.Module:
    module = importlib.import_module(f"hepdl.losses.{name}")
    part = getattr(module, module.__all__[0])
    # An unbiased estimate knows how many events there are: two halves are more than one.
    options = {"estimator": "v"} if "estimator" in inspect.signature(part).parameters else {}
    made: nn.Module = part(**options)
    if isinstance(made, Penalty):
        made.fit_nuisance(minibatch["nuisance"], minibatch["event_weight"])
        made.set_progress(10.0, 20)
    return made.double()


def test_is_a_module_whose_result_is_a_finite_scalar_with_finite_gradients(
    loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    logits = minibatch["logits"].requires_grad_()
    value = loss(**minibatch)
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert bool(logits.grad.abs().sum() > 0)


def test_does_not_change_when_all_weights_are_scaled(
    loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    scaled = minibatch | {"event_weight": 1000 * minibatch["event_weight"]}
    # Double precision, a sum of 64 terms.
    assert loss(**scaled).item() == pytest.approx(loss(**minibatch).item(), rel=1e-12)


def test_mask_means_that_the_other_events_are_not_there(
    loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    mask = minibatch["mask"]
    sliced = {key: value[mask] for key, value in minibatch.items()}
    assert loss(**minibatch).item() == pytest.approx(loss(**sliced).item(), rel=1e-12)
    logits = minibatch["logits"].requires_grad_()
    loss(**minibatch).backward()
    assert logits.grad is not None
    assert bool((logits.grad[~mask] == 0).all())


def test_does_not_depend_on_the_order_of_the_events(
    loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    turned = {key: value.flip(0) for key, value in minibatch.items()}
    assert loss(**turned).item() == pytest.approx(loss(**minibatch).item(), rel=1e-12)


def test_an_event_counts_as_often_as_its_weight_says(
    loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    halves = {key: torch.cat([value, value]) for key, value in minibatch.items()}
    halves["event_weight"] = halves["event_weight"] / 2
    assert loss(**halves).item() == pytest.approx(loss(**minibatch).item(), rel=1e-12)


@pytest.mark.parametrize("weight", [-0.5, 0.0])
def test_stays_finite_with_equal_logits_and_weights_that_are_negative_or_zero(
    loss: nn.Module, minibatch: dict[str, Tensor], weight: float
) -> None:
    same = torch.zeros_like(minibatch["logits"]).requires_grad_()
    weights = torch.full_like(minibatch["event_weight"], weight)
    value = loss(**minibatch | {"logits": same, "event_weight": weights})
    value.backward()
    assert torch.isfinite(value)
    assert same.grad is not None
    assert bool(torch.isfinite(same.grad).all())


def test_state_makes_the_round_trip(
    name: str, loss: nn.Module, minibatch: dict[str, Tensor]
) -> None:
    torch.manual_seed(1)
    other = make(name, minibatch)
    other.load_state_dict(loss.state_dict())
    assert other(**minibatch).item() == loss(**minibatch).item()


def test_the_module_names_its_reference(name: str) -> None:
    assert "Reference:" in str(importlib.import_module(f"hepdl.losses.{name}").__doc__)
