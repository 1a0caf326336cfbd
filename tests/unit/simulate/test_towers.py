from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from hepdl.simulate.showering.towers import build_towers, grid


def particles(n_events: int = 3, n_particles: int = 200) -> ak.Array:
    """Massive particles all over the detector, some of them muons."""
    draw = np.random.default_rng(4)
    n = n_events * n_particles
    pt, eta, phi = draw.exponential(2.0, n), draw.uniform(-4, 4, n), draw.uniform(-np.pi, np.pi, n)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    columns = {"px": px, "py": py, "pz": pz, "E": np.sqrt(pt**2 + pz**2 + 0.14**2)}
    columns["id"] = np.where(np.arange(n) % 20 == 0, 13, 211)
    return ak.unflatten(ak.zip(columns), np.full(n_events, n_particles))


def test_towers_hold_all_the_energy_but_that_of_muons() -> None:
    seen = particles()
    towers = build_towers(seen, tower_size=0.1, threshold=0.0)
    expected = ak.sum(seen.E[seen.id != 13], axis=1)
    # Sums of 200 numbers in another order.
    np.testing.assert_allclose(ak.sum(towers.E, axis=1), expected, rtol=1e-12)


def test_towers_are_massless_on_the_grid_and_one_to_a_cell() -> None:
    towers = build_towers(particles(), tower_size=0.25, threshold=0.0)
    n_eta, eta_width, n_phi, phi_width = grid(0.25)
    assert n_eta * eta_width == pytest.approx(8.0)
    assert n_phi * phi_width == pytest.approx(2 * np.pi)
    for event in towers:
        px, py, pz, energy = (ak.to_numpy(event[name]) for name in ("px", "py", "pz", "E"))
        # Rounding of cosh and sinh.
        np.testing.assert_allclose(np.sqrt(px**2 + py**2 + pz**2), energy, rtol=1e-12)
        row = (np.arcsinh(pz / np.hypot(px, py)) + 4.0) / eta_width - 0.5
        column = (np.arctan2(py, px) + np.pi) / phi_width - 0.5
        np.testing.assert_allclose([row, column], np.round([row, column]), atol=1e-9)
        cells = np.round(np.stack([row, column], axis=1))
        assert len(np.unique(cells, axis=0)) == len(cells)


def test_a_tower_is_near_the_particles_that_made_it() -> None:
    columns = {"px": [10.0, 20.0], "py": [0.52, 1.04], "pz": [0.32, 0.64], "E": [11.0, 21.0]}
    pair = ak.unflatten(ak.zip({**columns, "id": [22, 211]}), [2])
    (tower,) = build_towers(pair, tower_size=0.1, threshold=0.2)[0]
    assert tower.E == 32.0
    # Half a cell at most.
    assert abs(np.arcsinh(tower.pz / np.hypot(tower.px, tower.py)) - 0.032) <= 0.05
    assert abs(np.arctan2(tower.py, tower.px) - 0.052) <= 0.05


def test_weak_towers_are_dropped_and_events_stay_in_place() -> None:
    seen = particles()
    everything = build_towers(seen, tower_size=0.1, threshold=0.0)
    strong = build_towers(seen, tower_size=0.1, threshold=1.5)
    kept = everything[np.hypot(everything.px, everything.py) >= 1.5]
    assert ak.to_list(strong) == ak.to_list(kept)
    nothing = build_towers(seen, tower_size=0.1, threshold=1e6)
    assert ak.num(nothing).tolist() == [0, 0, 0]
