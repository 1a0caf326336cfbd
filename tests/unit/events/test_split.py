from __future__ import annotations

import numpy as np
import pytest

from hepdl.errors import ConfigError, DataError
from hepdl.events.split import (
    PARTS,
    fold_of,
    hash_uniform,
    in_validation,
    split_by_hash,
    split_by_value,
)

FRACTIONS = {"train": 0.5, "validation": 0.1, "test": 0.4}
N = 100_000
ONES = np.ones(N, dtype=np.int64)
NUMBERS = np.arange(N)
W = ["w"] * N


def splitmix(state: int) -> int:
    """SplitMix64 in Python's integers, as published."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


def test_splitmix_is_the_published_one() -> None:
    # First outputs for the seed 1234567, as listed with the reference implementation.
    assert splitmix(1234567) == 6457827717110365317


def test_the_number_of_an_event_never_changes() -> None:
    # Recorded; an analysis that was split with an older version must stay split that way.
    found = hash_uniform(
        ["w", "w", "w", "qcd", "qcd", "qcd"],
        np.array([0, 0, 1, 0, 0, -1]),
        np.array([0, 1, 1, 0, 1, 2**62]),
    )
    assert found.tolist() == [
        0.00660591634288632,
        0.19869820060859633,
        0.7013100766989885,
        0.5259059211869622,
        0.7181182578777193,
        0.14795487669451646,
    ]


def test_the_number_is_the_documented_hash() -> None:
    import hashlib

    key = int.from_bytes(hashlib.blake2b(b"qcd", digest_size=8).digest(), "little")
    state = splitmix(3)
    for part in (key, 362104, 2**63 - 7):
        state = splitmix(state ^ part)
    found = hash_uniform(["qcd"], np.array([362104]), np.array([2**63 - 7]), seed=3)
    assert found.tolist() == [(state >> 11) / 2**53]


def test_a_part_depends_on_nothing_but_the_event() -> None:
    all_of_them = split_by_hash(W, ONES, NUMBERS, FRACTIONS)
    some = np.random.default_rng(0).permutation(N)[:1000]
    few = split_by_hash(["w"] * 1000, ONES[some], NUMBERS[some], FRACTIONS)
    assert (few == all_of_them[some]).all()


def test_all_entries_of_one_event_share_a_part() -> None:
    codes = split_by_hash(W, ONES, NUMBERS // 3, FRACTIONS)
    assert (codes[0:-1:3][:-1] == codes[2::3][: len(codes[0:-1:3]) - 1]).all()


def test_numbers_are_uniform() -> None:
    uniform = hash_uniform(W, ONES, NUMBERS)
    counts = np.histogram(uniform, bins=100, range=(0, 1))[0]
    chi2 = ((counts - N / 100) ** 2 / (N / 100)).sum()
    # Chi squared with 99 degrees of freedom: mean 99, spread sqrt(198); 5 sigma.
    assert abs(chi2 - 99) < 5 * np.sqrt(198)


@pytest.mark.parametrize("other", ["seed", "process", "run_number", "next event"])
def test_numbers_of_different_events_are_independent(other: str) -> None:
    first = hash_uniform(W, ONES, NUMBERS)
    second = {
        "seed": lambda: hash_uniform(W, ONES, NUMBERS, seed=1),
        "process": lambda: hash_uniform(["qcd"] * N, ONES, NUMBERS),
        "run_number": lambda: hash_uniform(W, ONES + 1, NUMBERS),
        "next event": lambda: hash_uniform(W, ONES, NUMBERS + 1),
    }[other]()
    # The correlation of independent numbers has the spread 1 / sqrt(N); 5 sigma.
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(N)


def test_parts_have_their_fractions() -> None:
    codes = split_by_hash(W, ONES, NUMBERS, FRACTIONS)
    for code, part in enumerate(PARTS):
        share = FRACTIONS[part]
        # Binomial, 5 sigma.
        assert abs((codes == code).mean() - share) < 5 * np.sqrt(share * (1 - share) / N)


def test_a_part_with_fraction_zero_stays_empty() -> None:
    codes = split_by_hash(W, ONES, NUMBERS, {"train": 0.3, "validation": 0.7, "test": 0.0})
    assert set(codes.tolist()) == {0, 1}


@pytest.mark.parametrize(
    "fractions", [{"train": 0.5, "test": 0.4}, {"train": 1.5, "test": -0.5}, {"tran": 1.0}, {}]
)
def test_senseless_fractions_are_refused(fractions: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be those of train, validation, test"):
        split_by_hash(W, ONES, NUMBERS, fractions)


def test_equal_event_numbers_are_refused_with_the_process() -> None:
    names = ["w"] * 3 + ["qcd"] * 3
    with pytest.raises(DataError, match="all 3 entries of process 'qcd' have the event number 7"):
        split_by_hash(names, np.ones(6, int), np.array([1, 2, 3, 7, 7, 7]), FRACTIONS)


def test_numbers_that_went_through_floating_point_are_refused() -> None:
    with pytest.raises(DataError, match="must be integers, not float64"):
        split_by_hash(W, ONES, NUMBERS.astype(float), FRACTIONS)


def test_a_value_decides_and_a_hash_takes_the_validation_part_from_training() -> None:
    values = NUMBERS % 2
    codes = split_by_value(values, {"train": (0,), "test": (1,)}, W, ONES, NUMBERS)
    assert (codes[values == 1] == PARTS.index("test")).all()
    share = (codes[values == 0] == PARTS.index("validation")).mean()
    # Binomial of a half of N with share 0.1, 5 sigma.
    assert abs(share - 0.1) < 5 * np.sqrt(0.1 * 0.9 / (N / 2))


def test_named_validation_values_are_used() -> None:
    values = NUMBERS % 4
    parts = {"train": (0, 1), "validation": (2,), "test": (3,)}
    assert (split_by_value(values, parts, W, ONES, NUMBERS) == np.array([0, 0, 1, 2])[values]).all()


def test_a_boolean_decides_too() -> None:
    values = np.array([True, False])
    codes = split_by_value(
        values,
        {"train": (1,), "test": (0,)},
        ["w"] * 2,
        ONES[:2],
        NUMBERS[:2],
        validation_fraction=0.0,
    )
    assert codes.tolist() == [0, 2]


def test_values_of_no_part_are_named() -> None:
    with pytest.raises(
        DataError, match=r"50000 of 100000 entries .* the value 2 \(25000 entries\)"
    ):
        split_by_value(NUMBERS % 4, {"train": (0,), "test": (1,)}, W, ONES, NUMBERS)


def test_a_value_of_two_parts_is_refused() -> None:
    with pytest.raises(ConfigError, match="each value belongs to one of them"):
        split_by_value(NUMBERS % 2, {"train": (0, 1), "test": (1,)}, W, ONES, NUMBERS)


@pytest.mark.parametrize("number", [0, 7, -1, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("n_folds", [2, 3, 10])
def test_the_fold_is_the_remainder_of_the_whole_number(number: int, n_folds: int) -> None:
    # Python's remainder is never negative, and its integers have no largest one.
    assert fold_of(np.array([number]), n_folds).tolist() == [number % n_folds]


def test_unsigned_event_numbers_have_the_fold_of_their_64_bits() -> None:
    assert fold_of(np.array([2**63 + 1], dtype=np.uint64), 2).tolist() == [1]


def test_folds_of_numbers_that_went_through_floating_point_are_refused() -> None:
    with pytest.raises(DataError, match="must be integers, not float64"):
        fold_of(np.array([1.0, 2.0]), 2)


def test_a_single_fold_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 folds leave nothing"):
        fold_of(NUMBERS, 1)


def test_events_for_validation_are_those_of_a_split_by_value() -> None:
    by_value = split_by_value(
        NUMBERS % 2, {"train": [0], "test": [1]}, W, ONES, NUMBERS, validation_fraction=0.3
    )
    chosen = in_validation(W, ONES, NUMBERS, fraction=0.3)
    np.testing.assert_array_equal(
        by_value == PARTS.index("validation"), chosen & (NUMBERS % 2 == 0)
    )
