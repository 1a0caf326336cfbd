"""The network in the shape of a decay: under every symmetry, and what it is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import AssignedEvents, AssignmentInputs, Events, select_features
from hepdl.kinematics import TTH_DECAY, Decay
from hepdl.models.decay_tree import DecayTree
from tests.unit.models.decay_toys import (
    DECAYS,
    WZ,
    assigned_events,
    assignments_of,
    with_assignments,
)

POOLS = ("attention", "log_sum_exp", "best")


def made(pool: str = "attention", name: str = "tth", **options: Any) -> tuple[DecayTree, Events]:
    """Return a network that is ready to be used, and the events that it is ready for."""
    torch.manual_seed(0)
    model = DecayTree(
        DECAYS[name],
        pool=pool,
        n_assignments=1 if pool == "best" else 4,
        **({"hidden": 8} | options),
    )
    events = assigned_events(decay=DECAYS[name])
    assert model.inputs.assignments is not None
    events = replace(
        select_features(events, model.inputs.features),
        assignments=assignments_of(events).best(model.inputs.assignments.n_best),
    )
    model.standardise(events)
    # Nothing is at the value that it starts with.
    if model.pooling.logits is not None:
        nn.init.constant_(model.pooling.logits.score_factor, 0.7)
    return model.eval(), events


def logits(model: DecayTree, events: Events) -> Tensor:
    with torch.no_grad():
        return model(*model.prepare(events))


def close(one: Tensor, other: Tensor) -> None:
    """Logits of order one, after some hundred float32 operations; masses lose two digits."""
    torch.testing.assert_close(one, other, rtol=0, atol=2e-4)


def turned(events: Events, order: Any) -> Events:
    return with_assignments(events, leaves=assignments_of(events).leaves[:, :, order])


def test_the_network_of_the_thesis_has_its_parameters() -> None:
    model = DecayTree(preset="guo2018")
    embed, cell = 7 * 50 + 50, 150 * 50 + 50
    head = (50 * 30 + 30) + (30 * 30 + 30) + (30 + 1)
    # As many as the layers of the author's code; 55 755 is this with a batch norm of seven columns
    # (14) that is made but not used.
    assert embed + 7 * cell + head == 55_741 == 55_755 - 2 * 7
    assert sum(p.numel() for p in model.parameters()) == 55_741
    assert model.inputs.features == ()
    assert model.inputs.assignments is not None
    assert model.inputs.assignments.n_best == 1


def test_the_default_has_as_many_for_two_alike_as_for_two_unlike() -> None:
    # Cells as in the thesis with nine features, an attention of 50 + 1, and the default of 50.
    model = DecayTree()
    assert sum(p.numel() for p in model.parameters()) == 55_741 + 2 * 50 + 51 + 50


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("pool", POOLS)
def test_exchange_of_identical_branches_changes_nothing(pool: str, name: str) -> None:
    model, events = made(pool, name)
    decay = Decay.from_mapping(DECAYS[name])
    before = logits(model, events)
    assert before.std() > 0.01
    for symmetry in decay.symmetries:
        close(logits(model, turned(events, symmetry)), before)


def test_exchange_of_unlike_leaves_changes_the_logits() -> None:
    model, events = made()
    order = list(range(8))
    i, j = (model.decay.leaves.index(leaf) for leaf in ("b1", "b_lep"))
    order[i], order[j] = j, i
    assert (logits(model, turned(events, order)) - logits(model, events)).abs().max() > 0.01


def test_the_thesis_tells_identical_daughters_apart() -> None:
    model, events = made("best", preset="guo2018")
    order = model.decay.symmetries[1]
    assert (logits(model, turned(events, order)) - logits(model, events)).abs().max() > 0.01


@pytest.mark.parametrize("pool", POOLS)
def test_more_masked_assignments_change_nothing_whatever_stands_there(pool: str) -> None:
    model, events = made(pool)
    more = 2
    assert model.inputs.assignments is not None
    wanted = AssignmentInputs(model.inputs.assignments.n_best + more)
    model.inputs = replace(model.inputs, assignments=wanted)
    found = assignments_of(events)
    n = len(events)
    nothing = torch.full((n, more, 8, 5), float("nan"))
    hidden = with_assignments(
        events,
        leaves=torch.cat(
            (torch.where(found.mask[..., None, None], found.leaves, torch.nan), nothing), 1
        ),
        features=torch.zeros(n, found.n_best + more, 0),
        score=torch.cat((found.score, torch.full((n, more), 1e9)), 1),
        mask=torch.cat((found.mask, torch.zeros(n, more, dtype=torch.bool)), 1),
        truth=None,
    )
    model.standardise(hidden)
    after = logits(model, hidden)
    model, events = made(pool)
    close(after, logits(model, events))


@pytest.mark.parametrize("pool", ["attention", "log_sum_exp"])
def test_assignments_come_in_any_order_with_their_scores(pool: str) -> None:
    model, events = made(pool)
    found = assignments_of(events)
    order = torch.rand(found.mask.shape, generator=torch.Generator().manual_seed(0)).argsort(1)
    rows = torch.arange(len(events))[:, None]
    mixed = with_assignments(
        events,
        leaves=found.leaves[rows, order],
        features=found.features[rows, order],
        score=found.score[rows, order],
        mask=found.mask[rows, order],
        truth=None,
    )
    close(logits(model, mixed), logits(model, events))
    weights = model.attention(*model.prepare(events))
    some = found.mask.any(1)
    close(model.attention(*model.prepare(mixed))[some], weights[rows, order][some])
    assert (weights.max(1).values[found.mask.sum(1) > 1] < 0.999).any()


@pytest.mark.parametrize("name", ["tth", "wz"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_turn_about_the_beam_changes_nothing(pool: str, name: str) -> None:
    model, events = made(pool, name)
    assert model.phi_reference == ("lepton" if name == "tth" else "w_prime")
    leaves = assignments_of(events).leaves.double()
    before = logits(model, events)
    for angle in (0.3, 2.0, -1.1):
        rotated = leaves.clone()
        rotated[..., 0] = math.cos(angle) * leaves[..., 0] - math.sin(angle) * leaves[..., 1]
        rotated[..., 1] = math.sin(angle) * leaves[..., 0] + math.cos(angle) * leaves[..., 1]
        # The masses of momenta that were rounded anew: 1e-6 E² of 5 GeV.
        after = logits(model, with_assignments(events, leaves=rotated.float()))
        torch.testing.assert_close(after, before, rtol=0, atol=2e-2)
    # A turn of the lepton alone is no symmetry.
    if name == "tth":
        rotated = leaves.clone()
        rotated[:, :, 0, :2] *= -1
        after = logits(model, with_assignments(events, leaves=rotated.float()))
        assert (after - before).abs().max() > 0.1


def test_events_without_an_assignment_have_what_is_learnt_for_them() -> None:
    for pool in POOLS:
        model, events = made(pool)
        nothing = ~assignments_of(events).mask.any(1)
        assert nothing.any()
        with torch.no_grad():
            alone = model.output(model.stack(model.pooling.default[None]))[0, 0]
        close(logits(model, events)[nothing], alone.expand(int(nothing.sum())))


def test_nodes_are_standardised_each_by_itself_with_weights() -> None:
    model, events = made(name="wz")
    found = assignments_of(events)
    nodes, score, mask, _ = model.prepare(events)
    weight = events.event_weight.abs()[:, None].expand(mask.shape)[mask].double()
    alike = {"q2": "q1", "q4": "q3"}
    for name in ("w", "z", "w_prime", "q1", "q3"):
        group = [i for i, n in enumerate(model.decay.names) if alike.get(n, n) == name]
        values = torch.cat([nodes[i][mask] for i in group]).double()
        w = weight.repeat(len(group))[:, None]
        mean = (w * values).sum(0) / w.sum()
        square = (w * (values - mean).square()).sum(0) / w.sum()
        # Sums of some hundred float32 numbers of order one.
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-5)
        is_constant = square < 1e-6
        torch.testing.assert_close(
            square[~is_constant], torch.ones_like(square[~is_constant]), rtol=1e-4, atol=0
        )
        # The azimuth of the reference, and the distance of the daughters of a leaf.
        n_constant = {"w_prime": 2, "q1": 1, "q3": 1}.get(name, 0)
        assert int(is_constant.sum()) == n_constant, name
    ranked = score[mask].double()
    assert (weight * ranked).sum() / weight.sum() == pytest.approx(0, abs=1e-5)
    assert (weight * ranked.square()).sum() / weight.sum() == pytest.approx(1, rel=1e-4)
    assert not nodes[:, ~found.mask].any()


def test_the_thesis_standardises_leaves_before_it_adds_them() -> None:
    model, events = made("best", preset="guo2018")
    found = assignments_of(events)
    mask = found.mask[:, 0]
    nodes = model.prepare(events)[0][:, mask, 0].double().numpy()
    w = events.event_weight.abs()[mask].double().numpy()
    x = found.leaves[mask, 0].double().numpy()
    mean = np.average(x, axis=0, weights=w)
    x = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    for row, particle in enumerate(model.decay.particles):
        px, py, pz, energy, tag = x[:, model.decay.membership[row]].sum(1).T
        p_t = np.hypot(px, py)
        expected = np.stack(
            [np.hypot(p_t, pz), np.arcsinh(pz / p_t), np.arctan(p_t / pz), np.arctan(py / px),
             energy, p_t, tag], axis=1,
        )  # fmt: skip
        # Up to eight float32 numbers of order one, and angles of small ones.
        np.testing.assert_allclose(
            nodes[8 + row], expected, rtol=1e-3, atol=1e-4, err_msg=particle.name
        )


@pytest.mark.parametrize("options", [{}, {"pool": "log_sum_exp"}, {"preset": "guo2018"}])
def test_an_untrained_network_spreads_its_logits(options: dict[str, Any]) -> None:
    spreads = []
    for seed in range(5):
        torch.manual_seed(seed)
        model = DecayTree(**options)
        assert model.inputs.assignments is not None
        events = assigned_events(200, n_best=model.inputs.assignments.n_best)
        events = select_features(events, ())
        model.standardise(events)
        spreads.append(float(logits(model.eval(), events).std()))
    # He and Glorot keep sizes; five draws are within a factor of ten of one.
    assert min(spreads) > 0.05
    assert max(spreads) < 10


def test_any_decay_can_be_written_and_only_its_events_are_taken() -> None:
    model = DecayTree(WZ, n_assignments=4)
    assert model.decay.root.name == "w_prime"
    with pytest.raises(DataError, match=r"w_prime → w z.*of these events are of \[tth → tt higgs"):
        model.prepare(select_features(assigned_events(), ()))
    other = dict(TTH_DECAY, particles=TTH_DECAY["particles"] | {"w_lep": ["neutrino", "lepton"]})
    with pytest.raises(DataError, match="w_lep → neutrino lepton"):
        DecayTree(other, n_assignments=4).prepare(select_features(assigned_events(), ()))


def test_other_assignments_than_it_takes_are_refused() -> None:
    events = select_features(assigned_events(n_best=4), ())
    with pytest.raises(DataError, match=r"the best 12 assignments with \[\], the events have 4"):
        DecayTree().prepare(events)
    with pytest.raises(DataError, match="these events have none; add the section reconstruction"):
        DecayTree().prepare(replace(events, assignments=None))
    none = with_assignments(events, mask=torch.zeros(30, 4, dtype=torch.bool))
    with pytest.raises(DataError, match="0 rows with a total weight of 0"):
        DecayTree(n_assignments=4).standardise(none)
    leaves = assignments_of(events).leaves.clone()
    leaves[0, 0, 2, 3] = float("inf")
    with pytest.raises(DataError, match=r"decay_tree: column .* is not finite in the training"):
        DecayTree(n_assignments=4).standardise(with_assignments(events, leaves=leaves))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "guo"}, "did you mean 'guo2018'"),
        ({"pool": "attenton"}, "did you mean 'attention'"),
        ({"node_features": "physcal"}, "did you mean 'physical'"),
        ({"pool": "best", "n_assignments": 3}, "n_assignments of decay_tree is 3, but pool: best"),
        ({"phi_reference": "leptn"}, "did you mean 'lepton'"),
        ({"phi_reference": "b1"}, "is b1, which is identical to others"),
        ({"decay": {"particles": {}}}, r"decay of decay_tree\.leaves is missing"),
        ({"n_assignments": 0}, "n_best is 0"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DecayTree(**options)


def test_attention_says_which_assignment_counts() -> None:
    model, events = made()
    found: AssignedEvents = assignments_of(events)
    weights = model.attention(*model.prepare(events))
    torch.testing.assert_close(weights.sum(1), torch.ones(len(events)))
    some = found.mask.any(1)
    assert not weights[some][~found.mask[some]].any()
    best, events = made("best")
    assert torch.equal(best.attention(*best.prepare(events)), torch.ones(len(events), 1))
