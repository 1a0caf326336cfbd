"""A long short-term memory that reads the best assignments of an event one after the other.

Each assignment of the objects to the decay is described by features (masses, distances, b-tags); they
are read in the order of their scores, and the state after the last one, with features of the event,
goes through dense layers. So reconstruction and classification are one task.

``preset: guo2018`` is the network of the thesis' code: 12 assignments with 25 features, 50 units,
7 features of the event, no dense layer in between. It has 4 · ((25 + 50) · 50 + 50) + 58 = 15 258
parameters. torch's LSTM adds a second bias of 200 to the first; here it stays 0 and is not trained,
since two biases that are only ever added up would learn as one with twice the rate. What is left
out is the dropout of 0.2 between the states of a unit, for which there is no fast kernel.

Reference:
    Z. Guo's thesis (Aix-Marseille, 2019) on ttH(bb), and the author's code tthbb_binary_lstm_plain;
    those of the memory in ``hepdl.layers.lstm``. One drop for all steps of a sequence: Y. Gal,
    Z. Ghahramani, NeurIPS 2016, arXiv:1512.05287.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepdl.errors import ConfigError, unknown_name
from hepdl.events import AssignmentInputs, Events, Inputs, flat_features
from hepdl.events.chosen_assignments import chosen_assignments, weighted_chunks
from hepdl.kinematics import RECONSTRUCTION_FEATURES
from hepdl.layers import DenseStack, Lstm
from hepdl.layers.standardisation import Standardisation

__all__ = ["ComboLstm"]

ORDERS = ("best_first", "best_last")
# ATLAS' dRbb_avg, dRbb_MaxPt, dEtajj_MaxdEta, Mbb_MindR, nHiggsbb30, Aplanarity_bjets, H1_all.
GUO_EVENT_FEATURES = (
    "delta_r_bb_mean",
    "delta_r_bb_max_pt",
    "delta_eta_jj_max",
    "mass_bb_min_delta_r",
    "n_higgs_bb_30",
    "aplanarity_b_jets",
    "h1_all",
)
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "features": (), "units": 50, "hidden": (30,), "order": "best_last", "input_dropout": 0.0,
    },
    "guo2018": {
        "features": GUO_EVENT_FEATURES, "units": 50, "hidden": (), "order": "best_first",
        "input_dropout": 0.2,
    },
}  # fmt: skip


class ComboLstm(nn.Module):
    """A long short-term memory over the best assignments of an event.

    The score is ``sigmoid(logits)``. What is None is that of the preset. An event without
    assignments has the state 0.

    Args:
        assignment_features: What is read of each assignment; by default the 25 of the thesis for
            ttH(bb).
        preset: ``default``, or ``guo2018``, the network of the thesis.
        n_assignments: How many assignments are read.
        features: Flat features of the event that join the last state.
        units: Size of cell and state.
        hidden: Size of each dense layer.
        order: ``best_first``, or ``best_last``, which ends with the best one.
        input_dropout: Probability that a feature is dropped while training, from all assignments
            of an event.
        dropout: Probability that a unit of a dense layer is dropped while training.
    """

    def __init__(
        self,
        assignment_features: Sequence[str] = RECONSTRUCTION_FEATURES,
        *,
        preset: str = "default",
        n_assignments: int = 12,
        features: Sequence[str] | None = None,
        units: int | None = None,
        hidden: Sequence[int] | None = None,
        order: str | None = None,
        input_dropout: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        given = {"features": features, "units": units, "hidden": hidden, "order": order,
                 "input_dropout": input_dropout}  # fmt: skip
        chosen = _chosen(preset, given)
        if not assignment_features:
            message = "combo_lstm has no assignment_features; name at least one, e.g. mass_higgs"
            raise ConfigError(message)
        self.inputs = Inputs(
            features=tuple(chosen["features"]),
            assignments=AssignmentInputs(n_assignments, tuple(assignment_features)),
        )
        self.order: str = chosen["order"]
        self.input_dropout: float = chosen["input_dropout"]
        self.scaling = Standardisation((len(assignment_features),))
        self.memory = Lstm(len(assignment_features), chosen["units"])
        self.memory.cell.bias_hh_l0.requires_grad_(False)
        self.stack = DenseStack(
            chosen["units"] + len(self.inputs.features),
            chosen["hidden"],
            dropout=dropout,
            batch_norm=False,
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the forget gates start open."""
        self.memory.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def standardise(self, train: Events) -> None:
        """Fit centre and scale of the features to the assignments of the training part.

        Events count with the magnitude of their weight; only assignments that there are count.

        Raises:
            DataError: No event has an assignment, or a number is not finite.
        """
        assert self.inputs.assignments is not None
        assigned = chosen_assignments(train, self.inputs.assignments)

        def rows() -> Iterator[tuple[Tensor, Tensor]]:
            for piece, weight in weighted_chunks(assigned, train.event_weight):
                yield piece.features[piece.mask], weight

        names = ", ".join(assigned.feature_names)
        self.scaling.fit(rows, what=f"standardisation of combo_lstm's features ({names})")

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the assignments in the order of reading, which there are, and flat features.

        Shapes:
            ``(n_events, n_assignments, n_assignment_features)``, ``(n_events, n_assignments)``,
            ``(n_events, n_features)``.

        Raises:
            DataError: The events have no assignments, or other ones.
        """
        assert self.inputs.assignments is not None
        assigned = chosen_assignments(events, self.inputs.assignments)
        # Those that there are come first, in the order of reading.
        rank = torch.arange(assigned.n_best, device=events.device).expand(assigned.mask.shape)
        key = -rank if self.order == "best_last" else rank
        places = key.masked_fill(~assigned.mask, assigned.n_best).argsort(dim=1)
        mask = assigned.mask.gather(1, places)
        index = places[..., None].expand(assigned.features.shape)
        values = self.scaling(assigned.features.gather(1, index))
        values = values.masked_fill(~mask[..., None], 0.0)
        return values, mask, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        values, mask, flat = tensors
        if self.training and self.input_dropout:
            kept = torch.ones_like(values[:, :1])
            values = values * functional.dropout(kept, self.input_dropout)
        state = self.memory(values, mask)
        if flat.shape[1]:
            state = torch.cat((state, flat), dim=1)
        logits: Tensor = self.output(self.stack(state))
        return logits.squeeze(1)


def _chosen(preset: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are given over those of the preset."""
    if preset not in PRESETS:
        raise ConfigError(unknown_name("preset", preset, PRESETS, where="preset of combo_lstm"))
    chosen = PRESETS[preset] | {key: value for key, value in given.items() if value is not None}
    if chosen["order"] not in ORDERS:
        message = unknown_name("order", chosen["order"], ORDERS, where="order of combo_lstm")
        raise ConfigError(message)
    if not 0 <= chosen["input_dropout"] < 1:
        message = f"input_dropout of combo_lstm is {chosen['input_dropout']}; it is a probability, "
        message += "0 <= input_dropout < 1"
        raise ConfigError(message)
    return chosen
