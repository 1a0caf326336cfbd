from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hepdl.errors import ConfigError, DataError
from hepdl.events import Events, Inputs, Jagged, ParticleInputs, select_features
from hepdl.events import particles as room
from hepdl.events.particles import attach_particles, particle_columns
from hepdl.events.scaling import Scaling
from hepdl.events.table import concatenate

Make = Callable[..., Events]
RECIPE = ParticleInputs(features=("log_pt", "delta_eta"), unscaled=("delta_eta", "pt_fraction"))


def rows_of(events: Events, jet: int) -> torch.Tensor:
    assert events.particles is not None
    first, end = events.particles.offsets[jet : jet + 2].tolist()
    return events.particles.values[first:end]


def test_columns_are_the_features_and_then_what_stays_unscaled(toy_jets: Make) -> None:
    particles = attach_particles(toy_jets(9), RECIPE).particles
    assert particles is not None
    assert particles.columns == ("log_pt", "delta_eta", "delta_eta", "pt_fraction")
    assert particles.values.dtype == torch.float32
    assert torch.equal(particles.values[:, 1], particles.values[:, 2])


def test_a_column_of_the_collection_is_a_feature_too(toy_jets: Make) -> None:
    events = toy_jets(9)
    rows = events.collections["constituents"]
    charge = torch.arange(len(rows.values), dtype=torch.float32)[:, None]
    rows = Jagged(torch.cat((rows.values, charge), 1), rows.offsets, (*rows.columns, "charge"))
    events = replace(events, collections={"constituents": rows})
    particles = attach_particles(events, ParticleInputs(features=("pt", "charge"))).particles
    assert particles is not None
    for jet in range(9):
        first, end = rows.offsets[jet : jet + 2].tolist()
        order = rows.values[first:end, 0].sort(descending=True).indices
        expected = rows.values[first:end][order][:, [0, -1]]
        # pT comes back from px and py.
        torch.testing.assert_close(particles.take(torch.tensor([jet])).values, expected)


def test_the_order_of_the_input_does_not_matter(toy_jets: Make) -> None:
    events = toy_jets(9)
    rows = events.collections["constituents"]
    jet = torch.repeat_interleave(torch.arange(9), rows.counts)
    shuffled = torch.randperm(len(jet), generator=torch.Generator().manual_seed(2))
    shuffled = shuffled[jet[shuffled].sort(stable=True).indices]
    other = replace(
        events, collections={"constituents": replace(rows, values=rows.values[shuffled])}
    )
    one, two = (attach_particles(e, RECIPE).particles for e in (events, other))
    assert one is not None
    assert two is not None
    # Sums of momenta in another order.
    torch.testing.assert_close(one.values, two.values)


def test_the_hardest_keep_the_axis_of_all(toy_jets: Make) -> None:
    events = toy_jets(9)
    all_of_them = attach_particles(events, RECIPE)
    some = attach_particles(events, replace(RECIPE, max_particles=3))
    for jet in range(9):
        assert torch.equal(rows_of(some, jet), rows_of(all_of_them, jet)[:3])


def test_chunks_make_no_difference(toy_jets: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    events = toy_jets(23)
    whole = attach_particles(events, RECIPE).particles
    monkeypatch.setattr(room, "_ENTRIES_AT_ONCE", 5)
    parts = attach_particles(events, RECIPE).particles
    assert whole is not None
    assert parts is not None
    assert torch.equal(whole.values, parts.values)
    assert torch.equal(whole.offsets, parts.offsets)


def test_jets_of_no_and_of_one_particle_are_possible(toy_jets: Make) -> None:
    events = toy_jets(3, counts=[4, 1, 2])
    rows = events.collections["constituents"]
    rows = replace(rows, offsets=torch.tensor([0, 0, 1, 7]))
    particles = attach_particles(replace(events, collections={"constituents": rows}), RECIPE)
    assert particles.particles is not None
    assert particles.particles.counts.tolist() == [0, 1, 6]
    (alone,) = rows_of(particles, 1).tolist()
    assert alone[1:] == [0.0, 0.0, 1.0]
    nothing = attach_particles(events.take(torch.arange(0)), RECIPE).particles
    assert nothing is not None
    assert nothing.values.shape == (0, 4)
    assert nothing.offsets.tolist() == [0]


def test_particles_follow_their_events(toy_jets: Make) -> None:
    events = attach_particles(toy_jets(20), RECIPE)
    taken, part = events.take(torch.tensor([3, 17])), events.slice(3, 18)
    assert torch.equal(rows_of(taken, 0), rows_of(events, 3))
    assert torch.equal(rows_of(taken, 1), rows_of(part, 14))
    joined = concatenate([events.slice(0, 4), events.slice(4, 20)])
    assert joined.particles is not None
    assert events.particles is not None
    assert torch.equal(joined.particles.values, events.particles.values)
    assert torch.equal(joined.particles.offsets, events.particles.offsets)
    host = part.slice(2, 5).particles
    assert host is not None
    assert host.host_offsets.tolist() == host.offsets.tolist()
    with pytest.raises(DataError, match="particles None"):
        concatenate([events, replace(events, particles=None)])


def test_features_are_scaled_by_weighted_quartiles_and_the_rest_is_not(toy_jets: Make) -> None:
    inputs = Inputs(particles=RECIPE)
    events = select_features(attach_particles(toy_jets(400), RECIPE), ())
    scaled = Scaling.fit(events, inputs).apply(events)
    before, after = events.particles, scaled.particles
    assert before is not None
    assert after is not None
    assert torch.equal(after.values[:, 2:], before.values[:, 2:])
    weight = np.repeat(events.event_weight.double().numpy(), before.counts.numpy())
    for column in after.values[:, :2].double().numpy().T:
        order = np.argsort(column)
        share = np.cumsum(weight[order]) / weight.sum()
        low, middle, high = np.interp([0.25, 0.5, 0.75], share, column[order])
        # A quartile is a value of the sample; 5000 particles are that dense.
        assert abs(middle) < 5e-3
        assert high - low == pytest.approx(1.0, abs=5e-3)


def test_a_feature_that_is_mostly_one_value_is_scaled_by_its_deviation(toy_jets: Make) -> None:
    events = toy_jets(50)
    rows = events.collections["constituents"]
    charge = (torch.arange(len(rows.values)) % 8 == 0).float()[:, None]
    rows = Jagged(torch.cat((rows.values, charge), 1), rows.offsets, (*rows.columns, "charge"))
    recipe = ParticleInputs(features=("charge",))
    events = attach_particles(replace(events, collections={"constituents": rows}), recipe)
    events = events.with_event_weight(torch.ones(50))
    scaling = Scaling.fit(select_features(events, ()), Inputs(particles=recipe))
    assert scaling.particle_center.tolist() == [0.0]
    # In float64 here, in float32 there.
    assert scaling.particle_scale[0] == pytest.approx(float(charge.std(correction=0)), rel=1e-6)


def test_the_scaling_survives_json_and_models_saved_before_there_were_particles(
    toy_jets: Make,
) -> None:
    events = select_features(attach_particles(toy_jets(40), RECIPE), ())
    scaling = Scaling.fit(events, Inputs(particles=RECIPE))
    content = json.loads(json.dumps(scaling.as_dict()))
    one, other = (s.apply(events).particles for s in (scaling, Scaling.from_dict(content)))
    assert one is not None
    assert other is not None
    assert torch.equal(one.values, other.values)
    del content["particle_center"], content["particle_scale"]
    assert Scaling.from_dict(content).apply(events).particles is events.particles


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (ParticleInputs("towers"), "collection 'towers'.*constituents"),
        (ParticleInputs(features=("log_ptt",)), "particle feature 'log_ptt'.*log_pt"),
    ],
)
def test_what_is_not_there_is_refused_with_the_nearest(
    toy_jets: Make, recipe: ParticleInputs, message: str
) -> None:
    with pytest.raises(DataError, match=rf"(?s){message}"):
        attach_particles(toy_jets(3), recipe)


def test_a_model_refuses_particles_of_another_recipe(toy_jets: Make) -> None:
    events = attach_particles(toy_jets(3), RECIPE)
    with pytest.raises(DataError, match="takes particles with the columns"):
        particle_columns(events, ParticleInputs(features=("pt",)))
    with pytest.raises(DataError, match="no particles; call"):
        particle_columns(toy_jets(3), RECIPE)


def test_a_constant_or_infinite_feature_cannot_be_scaled(toy_jets: Make) -> None:
    recipe = ParticleInputs(features=("delta_r",))
    alone = select_features(attach_particles(toy_jets(3, counts=[1, 1, 1]), recipe), ())
    with pytest.raises(DataError, match="delta_r of the particles' is 0 in all 3"):
        Scaling.fit(alone, Inputs(particles=recipe))
    events = select_features(attach_particles(toy_jets(9), recipe), ())
    assert events.particles is not None
    events.particles.values[5] = torch.inf
    with pytest.raises(DataError, match="delta_r of the particles' is inf"):
        Scaling.fit(events, Inputs(particles=recipe))


def test_less_than_one_particle_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_particles is 0; it must be at least 1"):
        ParticleInputs(max_particles=0)
