"""Decays as data: trees, their symmetries, and what is wrong with a description."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import yaml

from hepdl.errors import ConfigError
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.tth_assignments import TTH_DECAY

ALL_HADRONIC = {
    "particles": {
        "tt": ["top1", "top2"],
        "top1": ["w1", "b1"],
        "w1": ["q1", "q2"],
        "top2": ["b2", "w2"],
        "w2": ["q3", "q4"],
    },
    "leaves": dict.fromkeys(["b1", "b2", "q1", "q2", "q3", "q4"], "jet"),
}


def test_a_decay_reads_from_yaml_with_daughters_before_mothers() -> None:
    text = """
    particles:
      higgs: {daughters: [w, w_star], mass: 125, resolution: 10}
      w: [a, b]
      w_star: [c, d]
    leaves: {a: jet, b: jet, c: lepton, d: neutrino}
    """
    decay = Decay.from_mapping(yaml.safe_load(text))
    assert [particle.name for particle in decay.particles] == ["w", "w_star", "higgs"]
    assert decay.leaves == ("a", "b", "c", "d")
    assert decay.kinds == ("jet", "jet", "lepton", "neutrino")
    assert (decay.root.name, decay.root.mass, decay.root.resolution) == ("higgs", 125, 10)
    assert decay.membership.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert decay.names == ("a", "b", "c", "d", "w", "w_star", "higgs")


def test_tth_has_the_four_symmetries_of_its_pairs_of_quarks() -> None:
    decay = Decay.from_mapping(TTH_DECAY)
    swapped = {
        tuple(name for name, i in zip(decay.leaves, row, strict=True) if decay.leaves[i] != name)
        for row in decay.symmetries
    }
    assert swapped == {(), ("q1", "q2"), ("b1", "b2"), ("q1", "q2", "b1", "b2")}


def _canonical(decay: Decay, name: str, members: dict[str, int]) -> Any:
    """The nested set of members: equal exactly for assignments that are the same."""
    particles = {particle.name: particle for particle in decay.particles}
    if name in members:
        return members[name]
    return frozenset(_canonical(decay, daughter, members) for daughter in particles[name].daughters)


def test_symmetries_are_the_permutations_that_keep_the_nested_sets() -> None:
    # All leaves are jets here, so that the sets alone decide; 6! permutations.
    decay = Decay.from_mapping(ALL_HADRONIC)

    def sets(order: tuple[int, ...]) -> Any:
        return _canonical(decay, "tt", dict(zip(decay.leaves, order, strict=True)))

    # A jet of the W and the b-jet stand at different depths, so the sets tell them apart.
    expected = {p for p in itertools.permutations(range(6)) if sets(p) == sets(tuple(range(6)))}
    assert len(expected) == 8
    assert {tuple(row.tolist()) for row in decay.symmetries} == expected
    assert decay.symmetries[0].tolist() == list(range(6))


def test_symmetries_are_a_group() -> None:
    decay = Decay.from_mapping(ALL_HADRONIC)
    rows = {tuple(row.tolist()) for row in decay.symmetries}
    for one, other in itertools.product(decay.symmetries, repeat=2):
        assert tuple(one[other].tolist()) in rows


@pytest.mark.parametrize(
    ("key", "value"), [("w2", {"daughters": ["q3", "q4"], "mass": 80.4, "resolution": 9.0})]
)
def test_branches_of_different_mass_are_not_identical(key: str, value: Any) -> None:
    particles = {**ALL_HADRONIC["particles"], key: value}
    assert len(Decay.from_mapping({**ALL_HADRONIC, "particles": particles}).symmetries) == 4


def test_three_identical_daughters_have_six_orders() -> None:
    description = {"particles": {"x": ["a", "b", "c"]}, "leaves": dict.fromkeys("abc", "jet")}
    found = Decay.from_mapping(description).symmetries
    assert sorted(map(tuple, found.tolist())) == sorted(itertools.permutations(range(3)))
    assert np.array_equal(found[0], [0, 1, 2])


@pytest.mark.parametrize(
    ("particles", "leaves", "message"),
    [
        ({"h": ["b1", "bb2"]}, ["b1", "b2"], "'bb2' is neither a particle nor a leaf; did you"),
        ({"h": ["b1", "b2"]}, ["b1", "b2", "b3"], "decay.leaves.b3 is nobody's daughter"),
        ({"h": ["b1"]}, ["b1"], "decay.particles.h has 1 daughters"),
        ({"h": ["a", "b"], "w": ["b", "c"]}, ["a", "b", "c"], "b is a daughter of h and of w"),
        ({"h": ["a", "b"], "w": ["c", "d"]}, ["a", "b", "c", "d"], "are h, w; there must be one"),
        ({"a": ["b", "x"], "b": ["a", "y"]}, ["x", "y"], "are none; there must be one"),
        ({"h": ["a", "h"]}, ["a"], "are none; there must be one"),
        (
            {"r": ["x", "y"], "a": ["b", "u"], "b": ["a", "v"]},
            ["x", "y", "u", "v"],
            "decay: a, b decay in a circle",
        ),
        ({"h": {"daughters": ["a", "b"], "mass": 125}}, ["a", "b"], "mass and resolution"),
        (
            {"h": {"daughters": ["a", "b"], "mass": 125, "resolution": 0}},
            ["a", "b"],
            "resolution is 0; it is a positive number",
        ),
        ({"h": {"daughters": ["a", "b"], "width": 4}}, ["a", "b"], "h.width is not known"),
        ({"h": "a b"}, ["a", "b"], "'a b' is neither a list of daughters nor a mapping"),
        ({"h": ["a", "b"], "a": ["b", "c"]}, ["a", "b", "c"], "a is a particle and a leaf"),
    ],
)
def test_what_is_not_one_tree_is_refused(
    particles: dict[str, Any], leaves: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Decay.from_mapping({"particles": particles, "leaves": dict.fromkeys(leaves, "jet")})


def test_all_problems_come_at_once_with_their_key() -> None:
    with pytest.raises(ConfigError) as caught:
        Decay.from_mapping(
            {"particles": {"h": {"daughters": ["a"], "mass": 3}}, "leaves": {"c": "jet"}},
            where="models.tree.options.decay",
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all("models.tree.options.decay" in line for line in lines)
    with pytest.raises(ConfigError, match=r"decay\.leaves is missing\ndecay\.leafs is not known"):
        Decay.from_mapping({"particles": {}, "leafs": {}})
    with pytest.raises(ConfigError, match="must be a mapping of names"):
        Decay.from_mapping({"particles": ["h"], "leaves": {}})
