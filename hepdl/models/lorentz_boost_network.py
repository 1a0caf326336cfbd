"""A network on four-momenta: a Lorentz layer makes observables of them, dense layers read these.

The objects that the best assignment of an event names (``hepdl.events.AssignedEvents``) go as
four-momenta through the layer: ``lbn``, combinations of objects in rest frames that are combinations
as well (``hepdl.layers.lorentz_boost``), or ``lola``, Minkowski squares and distances of
combinations (``hepdl.layers.lorentz_layer``). What it gives, the b-tags of the objects and features
of the assignment are normalised over the minibatch, each column for itself, since each is one
observable; features of the event join, and dense layers follow.

An event that is turned about the beam is the same physics, and so is a mirrored one: QCD conserves
parity, and both protons are alike. For this the azimuth is measured from one of the objects, the
lepton if nothing else is said, and the event is mirrored so that the sum of momenta has p_z >= 0 and
the object furthest from the plane through beam and lepton has p_y >= 0. ``lola`` sees neither of
the two in any case.

Reference:
    M. Erdmann, E. Geiser, Y. Rath, M. Rieger, "Lorentz boost networks: autonomous physics-inspired
    feature engineering", JINST 14 (2019) P06006, arXiv:1812.09722, on ttH(bb) against tt + bb;
    A. Butter, G. Kasieczka, T. Plehn, M. Russell, "Deep-learned top tagging with a Lorentz layer",
    SciPost Phys. 5 (2018) 028, arXiv:1707.08966. The frame of the event and the dense layers are
    ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events import AssignedEvents, AssignmentInputs, Events, Inputs, flat_features
from hepdl.events.chosen_assignments import chosen_assignments
from hepdl.kinematics import TTH_DECAY
from hepdl.layers import DenseStack
from hepdl.layers.lorentz_boost import LorentzBoost
from hepdl.layers.lorentz_layer import LorentzLayer

__all__ = ["LorentzBoostNetwork", "measured_from", "mirrored"]

# Combinations of each layer: as in the examples of the authors' code, and in the paper.
N_COMBINATIONS = {"lbn": 10, "lola": 15}
# The published features, with an azimuth that does not jump from π to -π.
BOOST_FEATURES = ("energy", "pt", "eta", "cos_phi", "sin_phi", "mass", "pair_cos")
# Objects of a top quark's decay have some 100 GeV; the layers want numbers of order one.
ENERGY_UNIT = 100.0


class LorentzBoostNetwork(nn.Module):
    """A Lorentz boost network, or CoLa and LoLa, on the objects of the best assignment.

    The score is ``sigmoid(logits)``. An event without an assignment has no momenta and all else 0.

    Args:
        layer: ``lbn`` or ``lola``.
        leaves: Leaves of the decay whose momenta are taken; by default those of ttH.
        b_tags: Leaves whose b-tags are taken.
        n_combinations: Number of learnt combinations; None is 10 for ``lbn``, 15 for ``lola``.
        boost_features: Of ``lbn`` only: names of ``hepdl.layers.lorentz_boost.BOOST_FEATURES``.
            None takes the published ones with cosine and sine in place of the azimuth.
        phi_reference: The leaf from which azimuths are measured; None leaves them as they are.
        mirror: Mirror each event in the plane through beam and lepton, and along the beam.
        assignment_features: Features of the assignment.
        features: Flat features of the event.
        hidden: Size of each dense layer.
        dropout: Probability that a hidden unit is dropped while training.
        batch_norm: Normalise each hidden unit over the minibatch, too.
        activation: Of the dense layers, as in ``mlp``.
    """

    def __init__(
        self,
        layer: str = "lbn",
        *,
        leaves: Sequence[str] = tuple(TTH_DECAY["leaves"]),
        b_tags: Sequence[str] = ("b_lep", "q1", "q2", "b_had", "b1", "b2"),
        n_combinations: int | None = None,
        boost_features: Sequence[str] | None = None,
        phi_reference: str | None = "lepton",
        mirror: bool = True,
        assignment_features: Sequence[str] = (),
        features: Sequence[str] = (),
        hidden: Sequence[int] = (128, 128),
        dropout: float = 0.2,
        batch_norm: bool = True,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        _check(layer, leaves, phi_reference, boost_features)
        self.inputs = Inputs(
            features=tuple(features),
            assignments=AssignmentInputs(features=tuple(assignment_features)),
        )
        self.leaves, self.b_tags = tuple(leaves), tuple(b_tags)
        self.phi_reference, self.mirror = phi_reference, mirror
        n = N_COMBINATIONS[layer] if n_combinations is None else n_combinations
        chosen = BOOST_FEATURES if boost_features is None else boost_features
        self.layer: LorentzBoost | LorentzLayer = (
            LorentzBoost(len(leaves), n, features=chosen)
            if layer == "lbn"
            else LorentzLayer(len(leaves), n)
        )
        n_normalised = self.layer.out_features + len(self.b_tags) + len(assignment_features)
        self.norm = nn.BatchNorm1d(n_normalised)
        self.stack = DenseStack(
            n_normalised + len(features),
            hidden,
            dropout=dropout,
            batch_norm=batch_norm,
            activation=activation,
        )
        self.output = nn.Linear(self.stack.out_features, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew."""
        self.layer.reset_parameters(generator)
        self.norm.reset_parameters()
        self.stack.reset_parameters(generator)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)
        nn.init.zeros_(self.output.bias)

    def prepare(self, events: Events) -> tuple[Tensor, ...]:
        """Return the momenta [100 GeV], b-tags and features of the assignment, and of the event.

        Shapes:
            ``(n_events, n_leaves, 4)``, ``(n_events, n_b_tags + n_assignment_features)``,
            ``(n_events, n_features)``.

        Raises:
            DataError: The events have no assignments, other ones, or of a decay without the leaves.
        """
        assert self.inputs.assignments is not None
        best = chosen_assignments(events, self.inputs.assignments)
        momenta = _of_leaves(best, self.leaves)[:, :, :4] / ENERGY_UNIT
        if self.phi_reference is not None:
            momenta = measured_from(momenta, self.leaves.index(self.phi_reference))
        if self.mirror:
            momenta = mirrored(momenta)
        tags = _of_leaves(best, self.b_tags)[:, :, 4]
        assigned = torch.cat((tags, best.features[:, 0]), dim=1)
        return momenta, assigned, flat_features(events, self.inputs.features)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the logits, ``(n_events,)``."""
        momenta, assigned, flat = tensors
        values = self.norm(torch.cat((self.layer(momenta), assigned), dim=1))
        logits: Tensor = self.output(self.stack(torch.cat((values, flat), dim=1)))
        return logits.squeeze(1)


def measured_from(momenta: Tensor, reference: int) -> Tensor:
    """Return the momenta turned about the beam so that the reference has the azimuth 0.

    Where it has no transverse momentum the event stays as it is.

    Args:
        momenta: px, py, pz, energy of each object.
        reference: Place of the object that the azimuth is measured from.

    Shapes:
        ``(n_events, n_objects, 4)`` → the same.
    """
    axis = momenta[:, reference, :2]
    length = axis.norm(dim=1, keepdim=True)
    is_there = length > 0
    cos = torch.where(is_there, axis[:, :1] / length, 1.0)
    sin = torch.where(is_there, axis[:, 1:] / length, 0.0)
    px, py, pz, energy = momenta.unbind(2)
    return torch.stack((cos * px + sin * py, cos * py - sin * px, pz, energy), dim=2)


def mirrored(momenta: Tensor) -> Tensor:
    """Return the momenta with p_z and p_y of the whole event of one sign.

    The sum of momenta gets p_z >= 0, the object of largest ``|p_y|`` gets p_y >= 0.

    Shapes:
        ``(n_events, n_objects, 4)`` → the same.
    """
    py, pz = momenta[:, :, 1], momenta[:, :, 2]
    furthest = py.gather(1, py.abs().argmax(dim=1, keepdim=True))
    one = torch.ones_like(furthest)
    sign_y = torch.where(furthest < 0, -one, one)
    sign_z = torch.where(pz.sum(dim=1, keepdim=True) < 0, -one, one)
    return momenta * torch.cat((one, sign_y, sign_z, one), dim=1)[:, None]


def _of_leaves(best: AssignedEvents, names: Sequence[str]) -> Tensor:
    """Return the rows of some leaves of the best assignment, ``(n_events, len(names), 5)``."""
    known = best.decay.leaves
    for name in names:
        if name not in known:
            where = "of lorentz_boost_network, in the decay of these events"
            raise DataError(unknown_name("leaf", name, known, where=where))
    if not names:
        return best.leaves[:, 0, :0]
    return torch.stack([best.leaves[:, 0, known.index(name)] for name in names], dim=1)


def _check(
    layer: str,
    leaves: Sequence[str],
    phi_reference: str | None,
    boost_features: Sequence[str] | None,
) -> None:
    where = "of lorentz_boost_network"
    problems = []
    if layer not in N_COMBINATIONS:
        problems.append(unknown_name("layer", layer, N_COMBINATIONS, where=where))
    if not leaves or len(set(leaves)) < len(leaves):
        problems.append(f"leaves {where} are {list(leaves)}; name each once, and at least one")
    if phi_reference is not None and phi_reference not in leaves:
        known = unknown_name("leaf", phi_reference, leaves, where=f"phi_reference {where}")
        problems.append(f"{known}\nor phi_reference: null, to leave azimuths as they are")
    if layer == "lola" and boost_features is not None:
        problems.append(
            f"boost_features {where} are {list(boost_features)}, but lola does not boost; leave "
            "them out or take layer: lbn"
        )
    if problems:
        raise ConfigError("\n".join(problems))
