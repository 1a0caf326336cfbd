"""The memory over the assignments of an event, against torch's own and by its counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events, select_features
from hepdl.kinematics import RECONSTRUCTION_FEATURES, TTH_FEATURES
from hepdl.models.combo_lstm import ComboLstm
from tests.unit.models.decay_toys import (
    AUC_ERROR,
    BEST_ALONE,
    assigned_events,
    assignments_of,
    peak_events,
    trained_auc,
    with_assignments,
)

FEATURES = ("mass_higgs", "delta_r_b1_b2", "mass_top_had")


def made(**options: Any) -> tuple[ComboLstm, Events]:
    torch.manual_seed(0)
    model = ComboLstm(FEATURES, n_assignments=4, **({"units": 9} | options))
    events = assigned_events(feature_names=FEATURES)
    events = select_features(events, model.inputs.features)
    model.standardise(events)
    return model.eval(), events


def logits(model: ComboLstm, events: Events) -> Tensor:
    with torch.no_grad():
        return model(*model.prepare(events))


def test_the_network_of_the_thesis_has_its_parameters() -> None:
    model = ComboLstm(preset="guo2018")
    assert 4 * ((25 + 50) * 50 + 50) + (50 + 7) + 1 == 15_258
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 15_258
    # torch has a second bias for each of four times fifty units, which stays zero.
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert [p.numel() for p in frozen] == [200]
    assert not frozen[0].any()
    assert model.inputs.assignments is not None
    assert model.inputs.assignments.features == RECONSTRUCTION_FEATURES
    assert (model.inputs.assignments.n_best, model.order) == (12, "best_first")
    assert set(model.inputs.features) <= set(TTH_FEATURES)


@pytest.mark.parametrize("order", ["best_first", "best_last"])
def test_it_reads_each_event_alone_with_torchs_own_lstm(order: str) -> None:
    model, events = made(order=order, hidden=(5,), features=("met",))
    found, result = assignments_of(events), logits(model, events)
    oracle = nn.LSTM(3, 9, batch_first=True)
    oracle.load_state_dict(model.memory.cell.state_dict())
    for event in range(len(events)):
        n_real = int(found.mask[event].sum())
        rows = model.scaling(found.features[event, :n_real])
        state = torch.zeros(1, 9)
        if n_real:
            rows = rows.flip(0) if order == "best_last" else rows
            state = oracle(rows[None])[1][0][0]
        joined = torch.cat((state, events.flat[event][None]), dim=1)
        # float32 sums in another order.
        torch.testing.assert_close(
            result[event], model.output(model.stack(joined))[0, 0], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("order", ["best_first", "best_last"])
def test_more_masked_assignments_change_nothing_whatever_stands_there(order: str) -> None:
    model, events = made(order=order)
    before, found = logits(model, events), assignments_of(events)
    n = len(events)
    assert model.inputs.assignments is not None
    model.inputs = replace(model.inputs, assignments=replace(model.inputs.assignments, n_best=7))
    hidden = torch.where(found.mask[..., None], found.features, torch.nan)
    wider = with_assignments(
        events,
        leaves=torch.zeros(n, 7, 8, 5),
        features=torch.cat((hidden, torch.full((n, 3, 3), torch.nan)), 1),
        score=torch.zeros(n, 7),
        mask=torch.cat((found.mask, torch.zeros(n, 3, dtype=torch.bool)), 1),
        truth=None,
    )
    model.standardise(wider)
    torch.testing.assert_close(logits(model, wider), before, rtol=1e-5, atol=1e-6)


def test_features_are_standardised_over_the_assignments_that_there_are() -> None:
    model, events = made()
    found = assignments_of(events)
    x = found.features[found.mask].double().numpy()
    w = np.repeat(np.abs(events.event_weight.double().numpy()), found.mask.sum(1).numpy())
    mean = np.average(x, axis=0, weights=w)
    std = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    # Kept in float32.
    np.testing.assert_allclose(model.scaling.center, mean, rtol=1e-5)
    np.testing.assert_allclose(model.scaling.scale, std, rtol=1e-5)
    values, mask, _ = model.prepare(events)
    assert not values[~mask].any()
    assert (mask.long().diff(dim=1) <= 0).all()


def test_a_feature_is_dropped_from_all_assignments_of_an_event() -> None:
    model, events = made(input_dropout=0.5)
    seen: list[Tensor] = []
    model.memory.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    tensors = model.prepare(events)
    model.train()(*tensors)
    values, mask = tensors[0][tensors[1].any(1)], tensors[1][tensors[1].any(1)]
    kept = seen[0][tensors[1].any(1)] / values
    for event, real in zip(kept, mask, strict=True):
        ratios = event[real]
        # What is kept is doubled, so that its mean stays.
        torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))
        assert set(ratios[0].round().tolist()) <= {0.0, 2.0}
    assert {0.0, 2.0} <= set(kept[mask].round().flatten().tolist())
    model.eval()(*tensors)
    assert torch.equal(seen[1], tensors[0])


def test_a_peak_in_any_of_the_assignments_is_found() -> None:
    train, test = peak_events(4000, n_best=4, seed=1), peak_events(4000, n_best=4, seed=2)
    torch.manual_seed(0)
    model = ComboLstm(("mass_higgs",), n_assignments=4, units=24, hidden=(24,))
    assert trained_auc(model, train, test) > BEST_ALONE + 5 * AUC_ERROR


def test_other_assignments_than_it_takes_are_refused() -> None:
    _, events = made()
    with pytest.raises(DataError, match=r"the best 12 assignments with \['mass_higgs'\], the"):
        ComboLstm(["mass_higgs"]).prepare(events)
    with pytest.raises(DataError, match="these events have none"):
        ComboLstm(["mass_higgs"]).standardise(replace(events, assignments=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "guo"}, "did you mean 'guo2018'"),
        ({"order": "best_frist"}, "did you mean 'best_first'"),
        ({"input_dropout": 1.0}, r"input_dropout of combo_lstm is 1\.0; it is a probability"),
        ({"assignment_features": ()}, "no assignment_features"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ComboLstm(**options)
