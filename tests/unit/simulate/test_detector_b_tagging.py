"""Tags by their stated efficiencies; truth tagging against enumeration and against hard tagging."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hepdl.errors import ConfigError
from hepdl.simulate.detector.b_tagging import (
    EFFICIENCIES,
    WORKING_POINTS,
    count_tags,
    efficiencies,
    tag_bins,
    threshold,
)
from hepdl.simulate.detector.truth_tagging import draw_tags, probability_of_tags

N = 60_000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def by_enumeration(efficiency: np.ndarray, minimum: int) -> float:
    """The same probability, summed over all patterns of tags."""
    total = 0.0
    for pattern in itertools.product((True, False), repeat=len(efficiency)):
        if sum(pattern) >= minimum:
            total += np.prod(np.where(pattern, efficiency, 1.0 - efficiency))
    return total


@pytest.mark.parametrize("flavour", [0, 4, 5])
@pytest.mark.parametrize("point", WORKING_POINTS)
def test_each_working_point_has_its_efficiency(
    flavour: int, point: int, random: np.random.Generator
) -> None:
    shape = (N, 1)
    bins = tag_bins(np.full(shape, flavour), random.random(shape), np.ones(shape, dtype=bool))
    expected = EFFICIENCIES[flavour][WORKING_POINTS.index(point)]
    found = count_tags(bins, working_point=point).mean()
    assert abs(found - expected) < 5 * np.sqrt(expected * (1 - expected) / N)


def test_working_points_are_named_by_their_efficiency_for_b_jets() -> None:
    assert [100 * value for value in EFFICIENCIES[5]] == pytest.approx(WORKING_POINTS)
    for row in EFFICIENCIES.values():
        assert list(row) == sorted(row, reverse=True)


def test_padding_is_never_tagged(random: np.random.Generator) -> None:
    shape = (100, 4)
    none = np.zeros(shape, dtype=bool)
    flavour, uniform = np.full(shape, 5), random.random(shape)
    assert not tag_bins(flavour, uniform, none).any()
    assert not draw_tags(flavour, uniform, none, minimum=0, working_point=77)[0].any()


@pytest.mark.parametrize("minimum", range(8))
def test_the_probability_is_that_of_enumeration(minimum: int, random: np.random.Generator) -> None:
    efficiency = random.random((20, 7))
    expected = [by_enumeration(row, minimum) for row in efficiency]
    np.testing.assert_allclose(probability_of_tags(efficiency, minimum), expected, rtol=1e-12)


def test_equal_jets_give_the_binomial_distribution() -> None:
    # At least three of four with 0.77: 4 p^3 (1 - p) + p^4.
    p = 0.77
    weight = probability_of_tags(np.full((1, 4), p), 3)
    np.testing.assert_allclose(weight, 4 * p**3 * (1 - p) + p**4)


def test_without_a_minimum_truth_tagging_is_hard_tagging(random: np.random.Generator) -> None:
    flavour, uniform = random.choice([0, 4, 5], (5000, 6)), random.random((5000, 6))
    is_jet = random.random((5000, 6)) < 0.9
    bins, weight = draw_tags(flavour, uniform, is_jet, minimum=0, working_point=77)
    np.testing.assert_array_equal(bins, tag_bins(flavour, uniform, is_jet))
    np.testing.assert_allclose(weight, 1.0)


@pytest.mark.parametrize(("minimum", "point"), [(3, 77), (4, 77), (2, 60)])
def test_drawn_tags_have_the_distribution_of_hard_tags_that_pass(
    minimum: int, point: int, random: np.random.Generator
) -> None:
    flavour = np.tile([5, 0, 5, 4, 5, 0, 0], (N, 1))
    is_jet = np.tile([True, True, True, True, True, True, False], (N, 1))
    bins, weight = draw_tags(
        flavour, random.random(flavour.shape), is_jet, minimum=minimum, working_point=point
    )
    assert (count_tags(bins, working_point=point) >= minimum).all()
    hard = tag_bins(flavour, random.random((N, 7)), is_jet)
    hard = hard[count_tags(hard, working_point=point) >= minimum]
    # All events are equal, so the weight is one number: the fraction that passes.
    assert np.ptp(weight) == 0.0
    passed = len(hard) / N
    assert abs(passed - weight[0]) < 5 * np.sqrt(weight[0] * (1 - weight[0]) / N)
    for jet in range(7):
        for tag in range(5):
            expected, found = (hard[:, jet] == tag).mean(), (bins[:, jet] == tag).mean()
            error = np.sqrt(expected * (1 - expected) * (1 / len(hard) + 1 / N))
            # One of 35 numbers may be further out; one count where nothing was expected.
            assert abs(found - expected) < 5 * error + 1.5 / len(hard)


def test_drawn_patterns_have_their_exact_probabilities(random: np.random.Generator) -> None:
    flavour = np.tile([5, 4, 5, 0], (N, 1))
    is_jet = np.ones(flavour.shape, dtype=bool)
    bins, weight = draw_tags(
        flavour, random.random(flavour.shape), is_jet, minimum=2, working_point=77
    )
    efficiency = efficiencies(flavour[0])[:, 1]
    for pattern in itertools.product((True, False), repeat=4):
        expected = 0.0
        if sum(pattern) >= 2:
            expected = np.prod(np.where(pattern, efficiency, 1.0 - efficiency)) / weight[0]
        found = ((bins >= 2) == pattern).all(axis=1).mean()
        assert abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / N)


def test_an_event_with_too_few_jets_has_no_weight(random: np.random.Generator) -> None:
    is_jet = np.array([[True, True, False]])
    flavour = np.full((1, 3), 5)
    bins, weight = draw_tags(flavour, random.random((1, 3)), is_jet, minimum=3, working_point=77)
    assert weight.tolist() == [0.0]
    assert (bins[is_jet] >= 2).all()


@pytest.mark.parametrize("uniform", [0.0, np.nextafter(1.0, 0.0)])
def test_the_edges_of_the_random_numbers_keep_the_minimum(uniform: float) -> None:
    flavour, is_jet = np.full((1, 6), 5), np.ones((1, 6), dtype=bool)
    bins, _ = draw_tags(flavour, np.full((1, 6), uniform), is_jet, minimum=3, working_point=70)
    assert count_tags(bins, working_point=70)[0] == (6 if uniform == 0.0 else 3)


def test_an_unknown_working_point_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"working_point = 75.*\(85, 77, 70, 60\)"):
        threshold(75)
