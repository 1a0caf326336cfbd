"""A long short-term memory over padded sequences, whose gates can be forced and read.

With the features ``x_t`` of a step and the state ``h_{t-1}`` before it,

    i = s(W_i [x; h] + b_i)      input gate        f = s(W_f [x; h] + b_f)   forget gate
    g = tanh(W_g [x; h] + b_g)   candidate         o = s(W_o [x; h] + b_o)   output gate
    c_t = f c_{t-1} + i g        cell              h_t = o tanh(c_t)         state

A gate can be set to a number from outside: f = 1 and i = 0 keep the cell, f = 0 and i = 1 replace it,
o = 0 hides it. Steps without an entry leave cell and state as they were.

``forward`` runs torch's own kernels, cuDNN's on a GPU. Forcing and reading run the equations above,
step by step; there the products with all ``x_t`` are one matrix product before the first step.

Reference:
    S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997) 1735;
    F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget", Neural Computation 12 (2000)
    2451 (forget gate); R. Jozefowicz, W. Zaremba, I. Sutskever, "An empirical exploration of
    recurrent network architectures", ICML 2015 (a forget gate that starts open).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name

__all__ = ["GATES", "Lstm", "LstmTrace"]

GATES = ("input", "forget", "output")


@dataclass(frozen=True)
class LstmTrace:
    """What an LSTM did, step by step; every tensor is ``(n_events, n_steps, hidden)``.

    Attributes:
        gates: Values of the gates ``"input"``, ``"forget"`` and ``"output"``, in [0, 1].
        candidate: What the input gate lets in, in [-1, 1].
        cell: The cell after each step.
        state: The state after each step.
        last: The state after the last entry, ``(n_events, hidden)``.
    """

    gates: Mapping[str, Tensor]
    candidate: Tensor
    cell: Tensor
    state: Tensor
    last: Tensor


class Lstm(nn.Module):
    """One layer of long short-term memory; gives the state after the last entry of each sequence.

    Args:
        n_features: Number of features of each entry.
        hidden: Number of units of cell and state.
    """

    def __init__(self, n_features: int, hidden: int) -> None:
        super().__init__()
        if n_features < 1 or hidden < 1:
            message = (
                f"an lstm of {n_features} features and {hidden} hidden units; both must be at "
            )
            message += "least 1"
            raise ConfigError(message)
        self.out_features = hidden
        # Holds the parameters, in torch's order of the gates: i, f, g, o.
        self.cell = nn.LSTM(n_features, hidden, batch_first=True)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: Xavier, orthogonal between states, forget gate open."""
        hidden = self.out_features
        weight_in, weight_state, bias_in, bias_state = self.cell.parameters()
        for weight in weight_in.data.split(hidden):
            nn.init.xavier_uniform_(weight, generator=generator)
        for weight in weight_state.data.split(hidden):
            nn.init.orthogonal_(weight, generator=generator)
        nn.init.zeros_(bias_in)
        nn.init.zeros_(bias_state)
        nn.init.ones_(bias_in.data[hidden : 2 * hidden])

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Return the state after the last entry; 0 for a sequence without entries.

        Args:
            values: Features of the entries, the first in time first.
            mask: True for entries, which stand before the padding.

        Shapes:
            values ``(n_events, n_steps, n_features)``, mask ``(n_events, n_steps)`` →
            ``(n_events, hidden)``.
        """
        n_events, n_steps, _ = values.shape
        if n_events == 0 or n_steps == 0:
            return values.new_zeros(n_events, self.out_features)
        states: Tensor = self.cell(values)[0]
        counts = mask.sum(1)
        # The padding comes after the last entry, so it has not touched this state.
        last = (counts - 1).clamp_min(0)[:, None, None].expand(-1, 1, self.out_features)
        found = states.gather(1, last).squeeze(1)
        return torch.where((counts > 0)[:, None], found, torch.zeros_like(found))

    def trace(
        self,
        values: Tensor,
        mask: Tensor,
        *,
        forced: Mapping[str, float] | None = None,
        start: tuple[Tensor, Tensor] | None = None,
    ) -> LstmTrace:
        """Run step by step, with some gates forced if wanted, and return everything.

        Args:
            values: As in ``forward``.
            mask: As in ``forward``; here the padding may be anywhere.
            forced: Gate to the value that it has for all units and steps, in [0, 1].
            start: Cell and state before the first step, each ``(n_events, hidden)``; None is zero.

        Raises:
            ConfigError: There is no such gate, or its value is not in [0, 1].
            DataError: The mask has another shape than the sequences.
        """
        wanted = dict(forced or {})
        _check_forced(wanted)
        n_events, n_steps, n_features = values.shape
        if mask.shape != (n_events, n_steps):
            message = f"the mask has the shape {tuple(mask.shape)}, the sequences need "
            message += f"{(n_events, n_steps)}"
            raise DataError(message)
        hidden = self.out_features
        weight_in, weight_state, bias_in, bias_state = self.cell.parameters()
        rows = values.transpose(0, 1).reshape(-1, n_features)
        # Times first: each step reads one contiguous block.
        products = torch.addmm(bias_in + bias_state, rows, weight_in.t())
        recurrent = weight_state.t()
        cell, state = start or (values.new_zeros(n_events, hidden),) * 2
        steps: list[tuple[Tensor, ...]] = []
        blocks = products.view(n_steps, n_events, 4 * hidden)
        for product, is_entry in zip(blocks, mask.t()[:, :, None], strict=True):
            i, f, g, o = torch.addmm(product, state, recurrent).chunk(4, dim=1)
            gates = {"input": i.sigmoid(), "forget": f.sigmoid(), "output": o.sigmoid()}
            gates |= {name: torch.full_like(i, value) for name, value in wanted.items()}
            candidate = g.tanh()
            new_cell = gates["forget"] * cell + gates["input"] * candidate
            new_state = gates["output"] * new_cell.tanh()
            cell = torch.where(is_entry, new_cell, cell)
            state = torch.where(is_entry, new_state, state)
            steps.append((*(gates[name] for name in GATES), candidate, cell, state))
        columns = [torch.stack(column, dim=1) for column in zip(*steps, strict=True)]
        if not columns:
            columns = [values.new_zeros(n_events, 0, hidden)] * (len(GATES) + 3)
        *gate_values, candidates, cells, states = columns
        named = dict(zip(GATES, gate_values, strict=True))
        return LstmTrace(named, candidates, cells, states, state)


def _check_forced(forced: Mapping[str, float]) -> None:
    problems = [
        unknown_name("gate", name, GATES, where="forced") for name in forced if name not in GATES
    ]
    problems += [
        f"forced gate {name} is {value}; a gate is between 0 and 1"
        for name, value in forced.items()
        if not 0 <= value <= 1
    ]
    if problems:
        raise ConfigError("\n".join(problems))
