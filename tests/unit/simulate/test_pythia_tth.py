from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from hepdl.errors import ConfigError, SchemaError
from hepdl.io import read, write_root
from hepdl.schema import Schema, load_schema
from hepdl.simulate.pythia_tth import (
    chunks,
    generate,
    generate_chunk,
    generate_variations,
    iterate_variations,
)
from hepdl.simulate.showering.top_selection import FIELDS

pytestmark = pytest.mark.simulation

SCHEMA = Path(__file__).parents[3] / "data_schemas" / "tth.yaml"


def column(events: ak.Array, name: str) -> np.ndarray:
    return ak.to_numpy(events[name])


def comes_from(events: ak.Array, *codes: int) -> ak.Array:
    """Which jets have one of these partons."""
    parton = events.jets.truth_parton
    return sum(parton == code for code in codes) > 0


def by_number(events: ak.Array) -> dict[int, ak.Record]:
    return {int(event.event_number): event for event in events}


@pytest.fixture
def tth(tth_events: dict[str, ak.Array]) -> ak.Array:
    return tth_events["nominal"]


@pytest.fixture(params=["tth_events", "tt_events"])
def events(request: pytest.FixtureRequest) -> ak.Array:
    return request.getfixturevalue(request.param)["nominal"]


def test_fields_are_those_that_are_announced(tth: ak.Array) -> None:
    inner = [f"jets.{name}" for name in tth.jets.fields]
    assert tuple(tth.fields[:-1] + inner) == FIELDS
    assert len(tth) == 120


def test_a_file_gives_back_what_was_written(tth: ak.Array, tmp_path: Path) -> None:
    schema = load_schema(SCHEMA)
    write_root(tth, tmp_path / "tth.root", schema)
    found = read(tmp_path / "tth.root", schema)
    assert ak.to_list(found[tth.fields]) == ak.to_list(tth)


def test_every_event_passes_the_selection(events: ak.Array) -> None:
    assert ak.all(events.n_jets == ak.num(events.jets, axis=1))
    assert ak.min(events.n_jets) >= 6
    assert ak.min(events.jets.pt) > 25.0
    assert ak.max(np.abs(events.jets.eta)) < 2.5
    assert ak.min(events.lepton_pt) > 27.0
    assert ak.max(np.abs(events.lepton_eta)) < 2.5
    pt = events.jets.pt
    assert ak.all(pt[:, 1:] <= pt[:, :-1])
    assert ak.all(events.n_b_tags == ak.sum(events.jets.b_tag >= 2, axis=1))
    assert ak.min(events.n_b_tags) >= 3
    phi = np.remainder(events.jets.phi - events.lepton_phi + np.pi, 2 * np.pi) - np.pi
    distance = np.hypot(events.jets.eta - events.lepton_eta, phi)
    # Stored in single precision.
    assert ak.min(distance) > 0.4 - 1e-5


def test_jets_have_a_mass_and_leptons_none(events: ak.Array) -> None:
    jets = ak.values_astype(events.jets, np.float64)
    momentum = jets.pt * np.cosh(jets.eta)
    # A jet of one photon is massless, to single precision.
    assert ak.min(jets.energy / momentum) > 1.0 - 1e-6
    assert 0.05 < ak.mean(np.sqrt(np.maximum(jets.energy**2 - momentum**2, 0.0)) / jets.pt) < 0.25
    energy = column(events, "lepton_pt") * np.cosh(column(events, "lepton_eta"))
    np.testing.assert_allclose(column(events, "lepton_energy"), energy, rtol=1e-6)


def test_numbers_tell_events_processes_and_seeds_apart(
    tth: ak.Array, tt_events: dict[str, ak.Array]
) -> None:
    for sample in (tth, tt_events["nominal"]):
        assert (np.diff(column(sample, "event_number")) > 0).all()
    assert set(column(tth, "run_number")) == {11_000_007}
    assert set(column(tt_events["nominal"], "run_number")) == {12_000_007}


def test_weights_are_probabilities_times_generator_weights(events: ak.Array) -> None:
    tag = column(events, "tag_weight")
    assert (tag > 0.0).all()
    assert (tag <= 1.0).all()
    assert np.median(column(events, "mc_weight")) == 1.0
    assert column(events, "mc_weight").min() > 0.0


def test_generated_weight_counts_every_collision_once(tt_events: dict[str, ak.Array]) -> None:
    # All weights of tt are 1: the sum is the number of collisions up to the last event.
    sample = tt_events["nominal"]
    assert column(sample, "generated_weight").sum() == column(sample, "event_number")[-1] + 1


def test_charges_and_flavours_of_leptons_come_equally(tth: ak.Array) -> None:
    # Binomial: 120 events, standard error 0.046; muons are found 92 / 85 times as often.
    assert abs((column(tth, "lepton_charge") > 0).mean() - 0.5) < 5 * 0.046
    electrons = column(tth, "lepton_is_electron")
    assert abs(electrons.mean() - 0.85 / (0.85 + 0.92)) < 5 * 0.046
    assert set(column(tth, "lepton_charge")) == {-1, 1}


def test_truth_names_each_parton_at_most_once(events: ak.Array) -> None:
    for code in range(1, 7):
        assert ak.max(ak.sum(events.jets.truth_parton == code, axis=1)) <= 1
    assert ak.max(events.jets.truth_parton) <= 6
    assert set(ak.to_numpy(ak.flatten(events.jets.truth_flavour))) == {0, 4, 5}
    is_b = events.jets.truth_flavour == 5
    assert ak.all(events.truth_n_b_jets == ak.sum(is_b, axis=1))


def test_partons_of_the_higgs_boson_only_exist_with_one(
    tth: ak.Array, tt_events: dict[str, ak.Array]
) -> None:
    assert ak.max(tt_events["nominal"].jets.truth_parton) == 4
    # Jets of b-quarks from the hard process are b-jets, but for soft hadrons.
    from_b = ak.flatten(tth.jets.truth_flavour[comes_from(tth, 1, 2, 5, 6)])
    assert ak.mean(from_b == 5) > 0.9
    # An independent program matches all six partons in 31.5 % of such events.
    matched = ak.sum(tth.jets.truth_parton > 0, axis=1) == 6
    weight = tth.tag_weight
    assert abs(ak.sum(weight * matched) / ak.sum(weight) - 0.315) < 5 * 0.05


def resonance(events: ak.Array, *codes: int) -> np.ndarray:
    """Masses [GeV] of the jets with these partons, where all are there."""
    jets = ak.values_astype(events.jets, np.float64)
    chosen = jets[comes_from(events, *codes)]
    chosen = chosen[ak.num(chosen) == len(codes)]
    px, py = chosen.pt * np.cos(chosen.phi), chosen.pt * np.sin(chosen.phi)
    pz = chosen.pt * np.sinh(chosen.eta)
    squares = (ak.to_numpy(ak.sum(x, axis=1)) ** 2 for x in (px, py, pz))
    return np.sqrt(ak.to_numpy(ak.sum(chosen.energy, axis=1)) ** 2 - sum(squares))


def test_matched_jets_make_the_particles_they_come_from(tth: ak.Array) -> None:
    w, top, higgs = (resonance(tth, *codes) for codes in ((3, 4), (2, 3, 4), (5, 6)))
    # Widths of 12, 20 and 18 GeV, and radiation out of the jets and neutrinos of b-hadrons.
    for masses, expected, width in ((w, 80.4, 12.0), (top, 168.0, 20.0), (higgs, 113.0, 18.0)):
        assert abs(np.median(masses) - expected) < 5 + 5 * 1.25 * width / np.sqrt(len(masses))
    wrong = resonance(tth, 1, 3, 4)
    assert np.std(wrong) > 2 * np.std(top[np.abs(top - 172.0) < 60.0])


def test_missing_momentum_is_that_of_the_neutrino_within_its_resolution(tth: ak.Array) -> None:
    """The transverse mass of lepton and missing pT ends at the W mass, but for resolution."""
    angle = column(tth, "lepton_phi") - column(tth, "met_phi")
    pair = 2.0 * column(tth, "lepton_pt") * column(tth, "met") * (1.0 - np.cos(angle))
    mass = np.sqrt(pair)
    assert 45.0 < np.median(mass) < 85.0
    assert (mass < 120.0).mean() > 0.8


def test_variations_share_event_numbers_and_everything_but_the_scale(
    tth_events: dict[str, ak.Array],
) -> None:
    assert list(tth_events) == ["nominal", "jes_up", "jes_down"]
    nominal = by_number(tth_events["nominal"])
    for name, sign in (("jes_up", 1.0), ("jes_down", -1.0)):
        varied = by_number(tth_events[name])
        common = sorted(nominal.keys() & varied.keys())
        assert len(common) > 0.8 * len(nominal)
        for number in common:
            before, after = nominal[number], varied[number]
            for field in ("lepton_pt", "lepton_phi", "run_number", "mc_weight", "lepton_charge"):
                assert before[field] == after[field]
            # Hardest jet: the same one, with the energy scaled by 1 + uncertainty.
            ratio = after.jets.pt[0] / before.jets.pt[0] - 1.0
            expected = sign * np.hypot(0.01, 0.9 / before.jets.pt[0])
            assert ratio == pytest.approx(expected, rel=1e-3)
            assert before.jets.eta[0] == pytest.approx(after.jets.eta[0], abs=1e-6)
            if before.n_jets == after.n_jets:
                assert before.tag_weight == pytest.approx(after.tag_weight)
                assert sorted(before.jets.b_tag) == sorted(after.jets.b_tag)
    n_events = {name: len(table) for name, table in tth_events.items()}
    assert n_events["jes_down"] < n_events["nominal"] < n_events["jes_up"]


def test_missing_momentum_moves_against_the_jets(tth_events: dict[str, ak.Array]) -> None:
    nominal, up = by_number(tth_events["nominal"]), by_number(tth_events["jes_up"])
    moved = [
        abs(
            up[number].met * np.exp(1j * up[number].met_phi)
            - event.met * np.exp(1j * event.met_phi)
        )
        for number, event in nominal.items()
        if number in up
    ]
    # About six jets, each shifted by 1 to 2 GeV, partly against each other.
    assert 0.5 < np.median(moved) < 6.0


def test_nominal_events_do_not_depend_on_the_variations(tth: ak.Array) -> None:
    assert ak.to_list(generate(20, seed=7)) == ak.to_list(tth[:20])


def test_another_seed_gives_other_events(tth: ak.Array) -> None:
    other = generate(20, seed=8)
    assert not np.intersect1d(column(other, "lepton_pt"), column(tth, "lepton_pt")).size


def test_two_processes_give_the_events_of_one_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hepdl.simulate.pythia_tth.CHUNK_SIZE", 10)
    seen: list[int] = []
    one = generate_variations(25, seed=2)
    two = generate_variations(25, seed=2, n_processes=2, progress=seen.append)
    assert len(two["nominal"]) == sum(seen) == 25
    for name, table in one.items():
        assert ak.to_list(two[name]) == ak.to_list(table)
    third = chunks(25, seed=2)[2]
    assert ak.to_list(generate_chunk(third)) == ak.to_list(one["nominal"][20:])
    assert ak.to_list(generate(12, seed=2)) == ak.to_list(one["nominal"][:12])
    numbers = column(one["nominal"], "event_number")
    assert [numbers[0] // 10**7, numbers[10] // 10**7, numbers[20] // 10**7] == [0, 1, 2]


def test_hard_tagging_cuts_where_truth_tagging_weights() -> None:
    """Both have the same collisions: hard tags are drawn from the same numbers."""
    options = {"seed": 7, "process": "tth"}
    hard = generate(25, b_tagging="hard", **options)
    assert set(column(hard, "tag_weight")) == {1.0}
    assert ak.min(hard.n_b_tags) >= 3
    loose = generate(45, minimum_b_tags=0, **options)
    assert set(column(loose, "tag_weight")) == {1.0}
    passed = loose[loose.n_b_tags >= 3]
    n_common = min(len(passed), len(hard))
    assert n_common > 15
    fields = [name for name in hard.fields if name != "generated_weight"]
    assert ak.to_list(passed[fields][:n_common]) == ak.to_list(hard[fields][:n_common])


def test_a_second_region_and_other_working_points_can_be_asked_for() -> None:
    tight = generate(10, seed=3, minimum_b_tags=4, working_point=85, minimum_jets=7)
    assert ak.min(tight.n_jets) >= 7
    assert ak.min(tight.n_b_tags) >= 4
    assert ak.all(tight.n_b_tags == ak.sum(tight.jets.b_tag >= 1, axis=1))


def test_the_underlying_event_adds_jets(tth: ak.Array) -> None:
    events = generate(20, seed=7, multi_parton_interactions=True)
    per_event = len(events) / column(events, "generated_weight").sum()
    bare = len(tth) / column(tth, "generated_weight").sum()
    assert per_event > 0.8 * bare
    assert ak.to_list(events.jets.pt) != ak.to_list(tth[:20].jets.pt)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"process": "tthh"}, "unknown process 'tthh'.*did you mean 'tth'"),
        ({"b_tagging": "truthful"}, "did you mean 'truth'"),
        ({"working_point": 75}, "working_point = 75"),
        ({"minimum_b_tags": 7}, r"minimum_b_tags = 7 must be .* 0 to 6 \(minimum_jets\)"),
        ({"minimum_b_tags": 2.5}, "minimum_b_tags = 2.5 must be a whole number"),
        ({"minimum_jets": 20}, "minimum_jets = 20 must be a whole number from 0 to 12"),
        ({"jet_pt": 10.0}, r"jet_pt = 10.0 GeV lies outside \[20, 200\]"),
        ({"seed": -1}, "seed = -1"),
        ({"n_processes": 0}, "n_processes = 0 must be >= 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(10, **{"seed": 1, **options})


@pytest.mark.parametrize(
    ("variations", "message"),
    [
        (["jes_upp"], "unknown variation 'jes_upp'.*did you mean 'jes_up'"),
        (["nominal"], "unknown variation 'nominal'"),
        ("jes_up", "variations = 'jes_up' must be a list"),
    ],
)
def test_unknown_variations_are_refused(variations: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chunks(10, seed=1, variations=variations)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown option 'minimum_btags'.*minimum_b_tags"):
        chunks(10, seed=1, minimum_btags=3)


def test_cuts_without_events_end_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hepdl.simulate.showering.top_chunks.HOPELESS", 100)
    with pytest.raises(ConfigError, match=r"gave 0 events .* lower these"):
        generate(10, seed=1, process="tt", minimum_jets=12, jet_pt=150.0)


def test_a_schema_that_asks_for_more_is_refused_before_hours_of_simulation() -> None:
    content = {"format_version": 1, "name": "other", "ttree": "events"}
    schema = Schema.from_dict({**content, "branches": {"lepton_pts": {}}})
    with pytest.raises(SchemaError, match=r"'lepton_pts' .*did you mean 'lepton_pt'"):
        chunks(10, seed=1, schema=schema)
    assert len(chunks(1200, seed=1, schema=load_schema(SCHEMA))) == 3


def test_chunks_of_variations_come_by_name() -> None:
    requests = chunks(3, seed=5, variations=["jes_down"])
    ((request, tables),) = iterate_variations(requests)
    assert request == requests[0]
    assert list(tables) == ["nominal", "jes_down"]


def test_workers_stay_light_and_silent() -> None:
    code = (
        "import sys; from hepdl.simulate.pythia_tth import chunks; chunks(10, seed=1);"
        "assert not {'pythia8mc', 'fastjet', 'torch', 'numba'} & set(sys.modules);"
        "from hepdl.simulate.pythia_tth import generate; generate(2, seed=1);"
        "assert not {'torch', 'numba'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
