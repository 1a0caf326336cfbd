"""A penalty against nuisances in the rounds of a boosting: its derivatives for every training entry.

A round minimises the sum over the entries of their cross-entropy; the penalty is of all of them together. Networks
minimise the mean cross-entropy plus ``strength`` times the penalty, and so do the trees: the penalty's gradient is taken
times the sum of |w|, and a strength means the same for both.

A tree needs a second derivative, too, to know how far to go; that of a penalty is not known event by event. The penalty
is one of the margin divided by its spread s, so that it changes over distances of about s: `CURVATURE` / s^2 times the strength, for the entries
that take part. More makes more rounds necessary, less makes the score swing around the flat one. In the
first rounds, where all margins are nearly equal and their spread means nothing, the penalty is weakened by the square of
s over `LEAST_SPREAD`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events
from hepdl.losses import Penalty
from hepdl.losses.penalties.terms import nuisance_columns, terms_of

__all__ = ["Penalised", "refuse_adversary"]

CURVATURE = 0.1
LEAST_SPREAD = 0.3

Floats = npt.NDArray[np.float32]


def refuse_adversary(penalty: Penalty) -> None:
    """Refuse a penalty with parameters of its own: nobody would train them.

    Raises:
        ConfigError: It has parameters.
    """
    if any(True for _ in penalty.parameters()):
        name = type(penalty).__module__.rpartition(".")[2]
        message = f"decorrelation.loss is {name}, an adversary, which boosted trees cannot train; "
        message += "use flatness, distance_correlation or moment_decomposition"
        raise ConfigError(message)


class Penalised:
    """The derivatives of a penalty on all training entries.

    Args:
        penalty: Without parameters.
        train: The training part, with its nuisances.

    Raises:
        ConfigError: The penalty is an adversary, or a nuisance is not there.
        DataError: The entries that take part cannot fix what the penalty needs.
    """

    def __init__(self, penalty: Penalty, train: Events) -> None:
        refuse_adversary(penalty)
        columns = nuisance_columns(penalty.nuisances, train.nuisance_names)
        nuisance = train.nuisance if columns is None else train.nuisance[:, columns]
        self._nuisance = nuisance.cpu().double()
        self._label = train.label.cpu()
        self._weight = train.event_weight.cpu().double()
        self._total = float(self._weight.abs().sum())
        self._terms = terms_of(penalty)
        for term in self._terms:
            term.module.double()
            mask = term.mask(self._label)
            if not bool(mask.any()):
                message = "decorrelation: no entry of the training part takes part "
                message += f"(applies_to: {term.applies_to})"
                raise DataError(message)
            term.penalty.fit_nuisance(self._nuisance[mask], self._weight[mask])

    def derivatives(
        self, margin: Floats, *, done: int, n_rounds: int
    ) -> tuple[Floats, Floats, float]:
        """Return gradient and curvature of each entry, and the value of the penalty.

        Args:
            margin: Sum of the trees of each training entry.
            done: Rounds that are done.
            n_rounds: Of the whole training; the penalty's epochs are rounds.

        Shapes:
            margin ``(n_entries,)`` → twice ``(n_entries,)``.
        """
        logits = torch.from_numpy(margin).double().requires_grad_()
        gradient, curvature = torch.zeros_like(logits), torch.zeros_like(logits)
        total = 0.0
        for term in self._terms:
            term.penalty.set_progress(float(done), n_rounds)
            mask = term.mask(self._label)
            value = term.penalty(logits, self._label, self._nuisance, self._weight, mask)
            total += float(value.detach())
            share = torch.where(mask, self._weight.abs(), 0.0)
            share = share / share.sum().clamp_min(1e-300)
            mean = share @ logits.detach()
            variance = float(share @ (logits.detach() - mean).square())
            if variance <= 0 or not value.requires_grad:
                continue
            (slope,) = torch.autograd.grad(value, logits)
            damping = variance / (variance + LEAST_SPREAD**2)
            gradient += damping * self._total * slope
            strength = float(getattr(term.penalty, "current_strength", term.penalty.strength))
            curvature += damping * self._total * CURVATURE * strength * share / variance
        return (
            gradient.numpy().astype(np.float32),
            curvature.numpy().astype(np.float32),
            total,
        )
