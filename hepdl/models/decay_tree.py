"""A network in the shape of a decay, on the best assignments of the objects of an event.

Each assignment fills the tree of the decay: four-vectors are added from the leaves to the root, the
features of each node go through one shared layer, and a cell for each particle combines the states
of its daughters (``hepdl.layers.decay_cells``). The states of the root of all assignments become one
by attention, and dense layers follow; or each assignment has a logit, of which the event's is the
logarithm of a weighted mean of exponentials (``hepdl.layers.assignment_pooling``).

What is ours against the thesis: momenta are added in GeV and only then turned into features, which
are standardised for each node by itself (a batch norm that all nodes share costs 0.07 of AUC); the
azimuth is measured from the lepton; identical daughters may be exchanged; several assignments are
read and not one. ``preset: guo2018`` is the network of the thesis' code, without any of this.

Reference:
    Z. Guo's thesis (Aix-Marseille, 2019) on ttH(bb), and the author's code tthbb_parse_tree; after
    G. Louppe, K. Cho, C. Becot, K. Cranmer, "QCD-aware recursive neural networks for jet physics",
    JHEP 01 (2019) 057, arXiv:1702.00748.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name
from hepdl.events import AssignedEvents, AssignmentInputs, Events, Inputs, flat_features
from hepdl.events.assigned import LEAF_COLUMNS
from hepdl.events.chosen_assignments import chosen_assignments, weighted_chunks
from hepdl.kinematics import TTH_DECAY, Decay
from hepdl.layers import DenseBlock, DenseStack
from hepdl.layers.assignment_pooling import AssignmentPooling, log_mean_exp
from hepdl.layers.decay_cells import DecayCells
from hepdl.layers.decay_nodes import (
    GUO_FEATURES,
    PHYSICAL_FEATURES,
    guo_features,
    identical_nodes,
    node_momenta,
    physical_features,
)
from hepdl.layers.standardisation import Standardisation

__all__ = ["DecayTree"]

POOLS = ("attention", "log_sum_exp", "best")
PRESETS: dict[str, dict[str, Any]] = {
    "default": {
        "pool": "attention",
        "hidden": 50,
        "head": (30, 30),
        "dropout": 0.1,
        "symmetric": True,
        "node_features": "physical",
    },
    # 7·50 + 50, seven times 150·50 + 50, and 50-30-30-1 with biases: 55 741 parameters (55 755 with
    # the 14 of a batch norm of the features that a copy of it makes and never uses).
    "guo2018": {
        "pool": "best",
        "hidden": 50,
        "head": (30, 30),
        "dropout": 0.0,
        "symmetric": False,
        "node_features": "guo2018",
    },
}
NODE_FEATURES = {"physical": PHYSICAL_FEATURES, "guo2018": GUO_FEATURES}
# Assignments that are read where nothing is said and more than the best one counts.
N_ASSIGNMENTS = 12


class DecayTree(nn.Module):
    """A network in the shape of a decay.

    The score is ``sigmoid(logits)``. What is None is that of the preset.

    Args:
        decay: The decay, as in ``Decay.from_mapping``: that of the section reconstruction. By
            default ttH(bb) → lepton + jets.
        preset: ``default``, or ``guo2018``, the network of the thesis.
        n_assignments: How many assignments are read, the best first; by default 12, for
            ``pool: best`` 1.
        pool: ``attention``, ``log_sum_exp`` (of a logit for each assignment) or ``best``, the first
            one alone.
        features: Flat features of the event that join before the dense layers.
        hidden: Size of the state of each node.
        head: Size of each dense layer.
        dropout: Probability that a number of a state, or of a dense layer, is dropped while training.
        symmetric: Whether the exchange of identical daughters changes nothing.
        residual: Add the embedding of a particle to its state.
        node_features: ``physical``, or ``guo2018``, made of momenta that were standardised first.
        phi_reference: The leaf or particle whose azimuth is 0; by default the only leaf of the kind
            ``lepton``, and the root if there is no such leaf. Not used by ``guo2018``.
    """

    def __init__(
        self,
        decay: Mapping[str, Any] = TTH_DECAY,
        *,
        preset: str = "default",
        n_assignments: int | None = None,
        pool: str | None = None,
        features: Sequence[str] = (),
        hidden: int | None = None,
        head: Sequence[int] | None = None,
        dropout: float | None = None,
        symmetric: bool | None = None,
        residual: bool = False,
        node_features: str | None = None,
        phi_reference: str | None = None,
    ) -> None:
        super().__init__()
        given = {"pool": pool, "hidden": hidden, "head": head, "dropout": dropout,
                 "symmetric": symmetric, "node_features": node_features}  # fmt: skip
        chosen = _chosen(preset, given)
        self.pool: str = chosen["pool"]
        self.node_features: str = chosen["node_features"]
        n_best = _n_best(self.pool, n_assignments)
        self.inputs = Inputs(features=tuple(features), assignments=AssignmentInputs(n_best))
        self.decay = Decay.from_mapping(decay, where="decay of decay_tree")
        self.phi_reference = _reference(self.decay, phi_reference)
        size, is_guo = chosen["hidden"], preset == "guo2018"
        self.initialisation = "glorot" if is_guo else "he"
        self.scaling = self._standardisation(symmetric=chosen["symmetric"])
        self.score_scaling = Standardisation(())
        self.cells = DecayCells(
            self.decay,
            size,
            symmetric=chosen["symmetric"],
            residual=residual,
            dropout=chosen["dropout"],
            initialisation=self.initialisation,
        )
        self.embed = nn.Linear(len(NODE_FEATURES[self.node_features]), size)
        self.pooling = AssignmentPooling(
            size, has_weights=self.pool != "best", learns_default=not is_guo
        )
        self.stack = DenseStack(
            size + len(features), chosen["head"], dropout=chosen["dropout"], batch_norm=False
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return what the layers do not show."""
        return (
            f"pool={self.pool}, node_features={self.node_features}, "
            f"phi_reference={self.phi_reference}, nodes={self.decay.names}"
        )

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew: He for rectifiers, with ``guo2018`` Glorot everywhere."""
        self.cells.reset_parameters(generator)
        self.pooling.reset_parameters(generator)
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        if self.initialisation == "he":
            nn.init.kaiming_normal_(self.embed.weight, nonlinearity="relu", generator=generator)
        else:
            nn.init.xavier_uniform_(self.embed.weight, generator=generator)
            for block in self.stack.blocks:
                assert isinstance(block, DenseBlock)
                nn.init.xavier_uniform_(block.linear.weight, generator=generator)
        nn.init.zeros_(self.embed.bias)
        nn.init.zeros_(self.output.bias)

    def standardise(self, train: Events) -> None:
        """Fit centre and scale of the nodes (or leaves) and of the score to the training part.

        Events count with the magnitude of their weight; only assignments that there are count.

        Raises:
            DataError: No event has an assignment, or a number is not finite.
        """
        assert self.inputs.assignments is not None
        assigned = chosen_assignments(train, self.inputs.assignments, self.decay)

        def rows() -> Iterator[tuple[Tensor, Tensor]]:
            for piece, weight in weighted_chunks(assigned, train.event_weight):
                yield self._unscaled(piece)[piece.mask], weight

        def scores() -> Iterator[tuple[Tensor, Tensor]]:
            for piece, weight in weighted_chunks(assigned, train.event_weight):
                yield piece.score[piece.mask], weight

        self.scaling.fit(rows, what="standardisation of decay_tree")
        self.score_scaling.fit(scores, what="standardisation of the scores of assignments")

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return features of the nodes, scores, which assignments there are, and flat features.

        Shapes:
            ``(n_nodes, n_events, n_assignments, n_node_features)``,
            ``(n_events, n_assignments)`` twice, ``(n_events, n_features)``.

        Raises:
            DataError: The events have other assignments, or those of another decay.
        """
        assert self.inputs.assignments is not None
        assigned = chosen_assignments(events, self.inputs.assignments, self.decay)
        mask = assigned.mask
        scaled = self.scaling(self._unscaled(assigned))
        if self.node_features == "guo2018":
            nodes = guo_features(node_momenta(scaled, self.decay))
        else:
            nodes = scaled.movedim(-2, 0)
        nodes = nodes.masked_fill(~mask[..., None], 0.0).contiguous()
        score = self.score_scaling(assigned.score).masked_fill(~mask, 0.0)
        return nodes, score, mask, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        nodes, score, mask, flat = tensors
        roots, mask = self._roots(nodes, mask)
        if self.pool == "log_sum_exp":
            assert self.pooling.logits is not None
            each = self._logits(roots, flat[:, None].expand(-1, roots.shape[1], -1))
            return log_mean_exp(each, self.pooling.logits(roots, score), mask)
        if self.pool == "best":
            return self._logits(roots[:, 0], flat)
        return self._logits(self.pooling(roots, score, mask), flat)

    def attention(self, *tensors: Tensor) -> Tensor:
        """Return how much each assignment counts, 1 in sum; 0 for masked ones.

        An event without any assignment has a 1 in the first place, where its stand-in is.

        Args:
            tensors: Those of ``prepare``.

        Shapes:
            ``(n_events, n_assignments)``.
        """
        nodes, score, mask, _ = tensors
        if self.pool == "best":
            return torch.ones_like(score)
        roots, mask = self._roots(nodes, mask)
        return self.pooling.weights(roots, score, mask)

    def _standardisation(self, *, symmetric: bool) -> Standardisation:
        """Return what scales leaves (guo2018) or nodes, identical ones alike if wanted."""
        if self.node_features == "guo2018":
            n_rows, n_columns = len(self.decay.leaves), len(LEAF_COLUMNS)
        else:
            n_rows, n_columns = len(self.decay.names), len(PHYSICAL_FEATURES)
        groups = identical_nodes(self.decay)[:n_rows] if symmetric else None
        return Standardisation((n_rows, n_columns), groups)

    def _unscaled(self, assigned: AssignedEvents) -> Tensor:
        """Return what is scaled; ``(n_events, n_assignments, n_leaves or n_nodes, n_columns)``."""
        # What stands where there is no assignment must not count, whatever it is.
        leaves = torch.where(assigned.mask[..., None, None], assigned.leaves, 0.0)
        if self.node_features == "guo2018":
            return leaves
        momenta = node_momenta(leaves, self.decay)
        return physical_features(momenta, self.decay, self.phi_reference).movedim(0, -2)

    def _roots(self, nodes: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state of the root of each assignment, and which there are, at least one."""
        n_nodes, n_events, n_assignments, n_features = nodes.shape
        rows = nodes.reshape(n_nodes, n_events * n_assignments, n_features)
        states = self.cells(torch.relu(self.embed(rows)))
        return self.pooling.filled(states.view(n_events, n_assignments, states.shape[1]), mask)

    def _logits(self, states: Tensor, flat: Tensor) -> Tensor:
        """Map ``(..., hidden)`` and ``(..., n_features)`` to ``(...)``."""
        if flat.shape[-1]:
            states = torch.cat((states, flat), dim=-1)
        logits: Tensor = self.output(self.stack(states))
        return logits.squeeze(-1)


def _chosen(preset: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given over those of the preset."""
    if preset not in PRESETS:
        raise ConfigError(unknown_name("preset", preset, PRESETS, where="preset of decay_tree"))
    chosen = PRESETS[preset] | {key: value for key, value in given.items() if value is not None}
    problems = [
        unknown_name(key, chosen[key], known, where=f"{key} of decay_tree")
        for key, known in (("pool", POOLS), ("node_features", tuple(NODE_FEATURES)))
        if chosen[key] not in known
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    return chosen


def _n_best(pool: str, n_assignments: int | None) -> int:
    if n_assignments is None:
        return 1 if pool == "best" else N_ASSIGNMENTS
    if pool == "best" and n_assignments != 1:
        message = (
            f"n_assignments of decay_tree is {n_assignments}, but pool: best reads one; leave it out, "
            "or take pool: attention or log_sum_exp"
        )
        raise ConfigError(message)
    return n_assignments


def _reference(decay: Decay, wanted: str | None) -> str:
    """Return the node whose azimuth is 0.

    Raises:
        ConfigError: There is no such node, or it is one of several that are identical.
    """
    if wanted is None:
        leptons = [
            leaf for leaf, kind in zip(decay.leaves, decay.kinds, strict=True) if kind == "lepton"
        ]
        wanted = leptons[0] if len(leptons) == 1 else decay.root.name
    where = "phi_reference of decay_tree"
    if wanted not in decay.names:
        raise ConfigError(unknown_name("node", wanted, decay.names, where=where))
    first = identical_nodes(decay)
    if first.count(first[decay.names.index(wanted)]) > 1:
        message = (
            f"{where} is {wanted}, which is identical to others of the decay: which of them comes "
            "first is chance; name another leaf or particle"
        )
        raise ConfigError(message)
    return wanted
