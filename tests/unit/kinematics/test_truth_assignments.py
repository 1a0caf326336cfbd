"""Right and wrong particles of an assignment, on assignments written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from hepdl.kinematics.assignments import assign
from hepdl.kinematics.decays import Decay
from hepdl.kinematics.truth_assignments import compare_with_truth, places_of_partons
from hepdl.kinematics.tth_assignments import TTH_DECAY, TTH_PARTONS, tth_candidates

TTH = Decay.from_mapping(TTH_DECAY)
COLLECTIONS = tuple(leaf if leaf in ("lepton", "neutrino") else "jets" for leaf in TTH.leaves)
SEEN = tuple(leaf for leaf in TTH.leaves if leaf != "neutrino")


def places(**leaves: int) -> np.ndarray:
    return np.array([leaves.get(leaf, 0) for leaf in TTH.leaves])


TRUTH = places(b_lep=0, q1=1, q2=2, b_had=3, b1=4, b2=5)


def right(
    members: np.ndarray, truth: np.ndarray = TRUTH, **options: Any
) -> tuple[set[str], set[str]]:
    """The names of right particles, and of those that truth knows of."""
    found = compare_with_truth(
        TTH, members[None, None], truth[None], collections=COLLECTIONS, **options
    )
    names = [particle.name for particle in TTH.particles]
    return (
        {name for name, is_right in zip(names, found.is_right[0, 0], strict=True) if is_right},
        {name for name, is_known in zip(names, found.is_known[0], strict=True) if is_known},
    )


def test_the_truth_is_right_and_exchanged_identical_daughters_too() -> None:
    everything = {particle.name for particle in TTH.particles}
    assert right(TRUTH) == (everything, everything)
    assert right(places(b_lep=0, q1=2, q2=1, b_had=3, b1=5, b2=4))[0] == everything


def test_an_exchange_of_unlike_jets_is_wrong_where_it_is() -> None:
    # The b-jets of the two tops exchanged: the Higgs boson and both W bosons stay right.
    exchanged = places(b_lep=3, q1=1, q2=2, b_had=0, b1=4, b2=5)
    assert right(exchanged)[0] == {"w_lep", "w_had", "higgs"}
    # A jet of the W exchanged for one of the Higgs boson's.
    assert right(places(b_lep=0, q1=4, q2=2, b_had=3, b1=1, b2=5))[0] == {"w_lep", "top_lep"}


def test_a_leaf_without_match_masks_its_mothers_only() -> None:
    truth = places(b_lep=0, q1=1, q2=-1, b_had=3, b1=4, b2=5)
    is_right, is_known = right(TRUTH, truth)
    assert is_known == {"w_lep", "top_lep", "higgs"}
    assert is_right == {"w_lep", "top_lep", "higgs"}


def test_two_quarks_in_one_jet_are_not_matched_and_the_event_is_marked() -> None:
    # A jet of the W is the Higgs boson's b1 too; the lepton has place 0 in another collection.
    truth = np.stack([places(b_lep=0, q1=1, q2=4, b_had=3, b1=4, b2=5), TRUTH])
    members = np.repeat(truth[:1, None], 2, axis=0)
    found = compare_with_truth(TTH, members, truth, collections=COLLECTIONS)
    names = np.array([particle.name for particle in TTH.particles])
    assert set(names[found.is_known[0]]) == {"w_lep", "top_lep"}
    assert set(names[found.is_right[0, 0]]) == {"w_lep", "top_lep"}
    assert found.is_known[1].all()
    assert found.is_overlapping.tolist() == [True, False]


def test_an_absent_assignment_is_never_right() -> None:
    is_right, is_known = right(np.full(len(TTH.leaves), -1))
    assert is_right == set()
    assert len(is_known) == len(TTH.particles)
    assert right(np.full(8, -1), np.full(8, -1)) == (set(), set())


def test_leaves_without_truth_can_be_left_out() -> None:
    members = places(b_lep=0, neutrino=1, q1=1, q2=2, b_had=3, b1=4, b2=5)
    assert right(members)[0] == {"w_had", "top_had", "higgs"}
    assert len(right(members, leaves=SEEN)[0]) == len(TTH.particles)
    # A particle of which no leaf is compared is not known.
    assert "w_lep" not in right(members, leaves=("b1", "b2"))[1]


def test_identical_tops_may_be_exchanged_and_the_better_way_counts() -> None:
    tops = Decay.from_mapping(
        {
            "particles": {"tt": ["t1", "t2"], "t1": ["w1", "b1"], "w1": ["q1", "q2"],
                          "t2": ["w2", "b2"], "w2": ["q3", "q4"]},
            "leaves": dict.fromkeys(["b1", "b2", "q1", "q2", "q3", "q4"], "jet"),
        }
    )  # fmt: skip
    assert tops.leaves == ("q1", "q2", "b1", "q3", "q4", "b2")
    truth = np.array([[0, 1, 2, 3, 4, 5]])
    exchanged = compare_with_truth(
        tops, np.array([[[4, 3, 5, 0, 1, 2]]]), truth, collections=["jets"] * 6
    )
    assert exchanged.is_right.all()
    # The true second top stands first, and the other has a wrong b-jet.
    half = compare_with_truth(
        tops, np.array([[[3, 4, 5, 0, 1, 6]]]), truth, collections=["jets"] * 6
    )
    names = [particle.name for particle in tops.particles]
    assert {n for n, r in zip(names, half.is_right[0, 0], strict=True) if r} == {"w1", "t2", "w2"}


def test_exactly_one_of_the_assignments_of_a_full_event_is_right(
    exact_tth: Callable[..., Any],
) -> None:
    events = exact_tth(50, seed=31, n_extra=2)
    one = np.zeros(50, dtype=bool)
    found = assign(TTH, tth_candidates(events.jets, events.b_tag, events.mask, one))
    jet_of = np.stack([np.argmax(events.quark_of_jet == i, axis=1) for i in range(6)], axis=1)
    truth = np.zeros((50, len(TTH.leaves)), dtype=np.int64)
    for column, leaf in enumerate(("b_lep", "q1", "q2", "b_had", "b1", "b2")):
        truth[:, TTH.leaves.index(leaf)] = jet_of[:, column]
    compared = compare_with_truth(TTH, found.members(), truth, collections=found.collections)
    # The light candidates are the four leading of the others, and there are only four.
    assert (compared.is_right[..., -1].sum(axis=1) == 1).all()
    assert compared.is_known.all()


def test_partons_that_jets_are_marked_with_become_places() -> None:
    marks = np.array([[5, 0, 1, 2, 3, 4, 6], [1, 1, 2, 0, 0, 0, 5]])
    mask = np.ones(marks.shape, dtype=bool)
    mask[1, 6] = False
    found = places_of_partons(TTH, marks, mask, codes=TTH_PARTONS)
    expected = places(lepton=-1, neutrino=-1, b_lep=2, b_had=3, q1=4, q2=5, b1=0, b2=6)
    assert np.array_equal(found[0], expected)
    # Two jets that claim one parton are no match, and padding is none either.
    only = places(**dict.fromkeys(TTH.leaves, -1) | {"b_had": 2})
    assert np.array_equal(found[1], only)
