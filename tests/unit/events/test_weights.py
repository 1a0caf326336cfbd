from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hepdl.errors import ConfigError, DataError
from hepdl.events.weights import Flattener, apply_negative_policy, balance

Array = np.ndarray


@pytest.fixture(scope="module")
def jets() -> tuple[dict[str, Array], Array, Array]:
    """Two classes with different, correlated pt and eta."""
    random = np.random.default_rng(0)
    label = random.integers(0, 2, 40_000)
    pt = 250 + random.exponential(np.where(label, 40.0, 25.0))
    eta = random.normal(0.0, np.where(label, 0.8, 1.1)) + 0.003 * (pt - 280) * label
    weight = random.uniform(0.5, 1.5, len(label)) * np.where(label, 3.0, 0.2)
    return {"pt": pt, "eta": eta}, label, weight


def spectra(column: Array, label: Array, weight: Array, edges: Array) -> list[Array]:
    bins = np.digitize(column, edges)
    sums = [
        np.bincount(bins[label == c], weights=weight[label == c], minlength=len(edges) + 1)
        for c in (0, 1)
    ]
    return [s / s.sum() for s in sums]


def test_both_classes_get_one_spectrum_in_every_column(
    jets: tuple[dict[str, Array], Array, Array],
) -> None:
    columns, label, weight = jets
    flattener = Flattener.fit(columns, label, weight)
    flat = weight * flattener.weights(columns, label)
    for name, column in columns.items():
        before = [spectra(column, label, weight, flattener.edges[name])[c] for c in (0, 1)]
        after = spectra(column, label, flat, flattener.edges[name])
        # Proportional fitting ends when no bin is off by more than 1e-9.
        np.testing.assert_allclose(after[0], after[1], rtol=0, atol=3e-9)
        assert abs(before[0] - before[1]).max() > 1e-3


def test_one_column_is_the_ratio_of_the_common_to_the_own_spectrum(
    jets: tuple[dict[str, Array], Array, Array],
) -> None:
    columns, label, weight = jets
    flattener = Flattener.fit({"pt": columns["pt"]}, label, weight)
    own = spectra(columns["pt"], label, weight, flattener.edges["pt"])
    for c in (0, 1):
        # A closed form, up to rounding.
        np.testing.assert_allclose(
            flattener.factors["pt"][c], (own[0] + own[1]) / 2 / own[c], rtol=1e-10
        )


def test_the_sum_of_weights_of_each_class_stays(
    jets: tuple[dict[str, Array], Array, Array],
) -> None:
    columns, label, weight = jets
    flat = weight * Flattener.fit(columns, label, weight).weights(columns, label)
    for c in (0, 1):
        # Only rounding.
        assert flat[label == c].sum() == pytest.approx(weight[label == c].sum(), rel=1e-9)


def test_classes_that_agree_already_keep_their_weights() -> None:
    pt = np.tile(np.linspace(250, 300, 5000), 2)
    label = np.repeat([0, 1], 5000)
    factors = Flattener.fit({"pt": pt}, label, np.ones(10_000)).weights({"pt": pt}, label)
    # Only rounding.
    np.testing.assert_allclose(factors, 1.0, rtol=1e-12)


def test_a_common_factor_of_the_columns_is_no_matter(
    jets: tuple[dict[str, Array], Array, Array],
) -> None:
    columns, label, weight = jets
    factors = Flattener.fit(columns, label, weight).weights(columns, label)
    scaled = {"pt": 1000 * columns["pt"], "eta": columns["eta"]}
    again = Flattener.fit(scaled, label, 7 * weight).weights(scaled, label)
    # Bins are quantiles; only rounding is left.
    np.testing.assert_allclose(again, factors, rtol=1e-6)


def test_bins_are_capped_by_statistics() -> None:
    random = np.random.default_rng(1)
    label = np.arange(1000) % 2
    flattener = Flattener.fit({"pt": random.normal(size=1000)}, label, np.ones(1000))
    assert flattener.factors["pt"].shape == (2, 10)


def test_where_one_class_is_absent_both_get_weight_zero(caplog: pytest.LogCaptureFixture) -> None:
    # Signal above 0, background below 10, both between: uniform, 5000 each.
    grid = np.linspace(0.0, 20.0, 5000)
    pt = np.concatenate((grid - 10, grid))
    label = np.repeat([0, 1], 5000)
    with caplog.at_level(logging.INFO):
        flattener = Flattener.fit({"pt": pt}, label, np.ones(10_000))
    factors = flattener.weights({"pt": pt}, label)
    lonely = (pt < -0.5) | (pt > 10.5)
    assert (factors[lonely] == 0).all()
    assert (factors[(pt > 0.5) & (pt < 9.5)] > 0).all()
    lost = int((factors == 0).sum())
    assert f"{lost} of 10000 entries are in bins that only one class fills" in caplog.text


def test_values_outside_the_range_of_the_fit_belong_to_the_edge_bins() -> None:
    pt = np.tile(np.linspace(250, 300, 5000), 2)
    label = np.repeat([0, 1], 5000)
    weight = np.where(label, pt, 1.0)
    flattener = Flattener.fit({"pt": pt}, label, weight)
    found = flattener.weights({"pt": np.array([-1e9, 250.0, 300.0, 1e9])}, np.ones(4, int))
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_a_flattener_survives_json(jets: tuple[dict[str, Array], Array, Array]) -> None:
    columns, label, weight = jets
    flattener = Flattener.fit(columns, label, weight)
    again = Flattener.from_dict(json.loads(json.dumps(flattener.as_dict())))
    assert (again.weights(columns, label) == flattener.weights(columns, label)).all()


def test_integer_columns_have_as_many_bins_as_values() -> None:
    multiplicity = np.arange(10_000) % 3
    label = np.arange(10_000) % 2
    flattener = Flattener.fit({"n": multiplicity}, label, np.ones(10_000))
    assert flattener.edges["n"].tolist() == [1.0, 2.0]


def test_negative_weights_flatten_too(jets: tuple[dict[str, Array], Array, Array]) -> None:
    columns, label, weight = jets
    signs = np.where(np.random.default_rng(2).random(len(weight)) < 0.2, -1.0, 1.0)
    flattener = Flattener.fit(columns, label, signs * weight)
    flat = signs * weight * flattener.weights(columns, label)
    for name in columns:
        one, other = spectra(columns[name], label, flat, flattener.edges[name])
        # As above.
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-9)


def test_classes_without_a_common_range_are_refused() -> None:
    pt = np.concatenate((np.linspace(0, 1, 500), np.linspace(2, 3, 500)))
    with pytest.raises(DataError, match="no range of pt in common"):
        Flattener.fit({"pt": pt}, np.repeat([0, 1], 500), np.ones(1000))


def test_a_value_that_is_not_finite_is_named() -> None:
    with pytest.raises(DataError, match=r"pt is nan at entry 1 \(1 such entries\)"):
        Flattener.fit({"pt": np.array([1.0, np.nan])}, [0, 1], [1.0, 1.0])


def test_a_missing_column_is_named() -> None:
    flattener = Flattener({"jet_pt": np.array([1.0])}, {"jet_pt": np.ones((2, 2))})
    with pytest.raises(DataError, match=r"unknown column 'jet_pt' .* did you mean 'jet_pt_raw'"):
        flattener.weights({"jet_pt_raw": np.ones(1)}, [1])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0.01, 100.0)), min_size=2, max_size=50).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_balanced_classes_have_equal_sums_and_mean_weight_one(
    pairs: list[tuple[int, float]],
) -> None:
    label, weight = map(np.array, zip(*pairs, strict=True))
    balanced = balance(label, weight)
    # Only rounding.
    assert balanced[label == 1].sum() == pytest.approx(balanced[label == 0].sum(), rel=1e-12)
    assert balanced.mean() == pytest.approx(1.0, rel=1e-12)
    ratio = balanced / weight
    np.testing.assert_allclose(ratio[label == 1], ratio[label == 1][0], rtol=1e-12)


@pytest.mark.parametrize(
    ("label", "weight", "message"),
    [
        ([1, 1], [1.0, 1.0], "weights of the 0 background entries sum to 0"),
        ([1, 0, 0], [1.0, 1.0, -2.0], "weights of the 2 background entries sum to -1"),
        ([1, 0], [0.0, 1.0], "weights of the 1 signal entries sum to 0"),
    ],
)
def test_a_class_without_positive_weight_is_refused(
    label: list[int], weight: list[float], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        balance(label, weight)
    with pytest.raises(DataError, match=message):
        Flattener.fit({"pt": np.arange(float(len(label)))}, label, weight)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("keep", [2.0, -1.0]), ("absolute", [2.0, 1.0]), ("drop", [2.0, 0.0])],
)
def test_negative_weights_follow_the_policy(policy: str, expected: list[float]) -> None:
    weight = np.array([2.0, -1.0])
    assert apply_negative_policy(weight, policy).tolist() == expected
    assert weight.tolist() == [2.0, -1.0]


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="available: absolute, drop, keep"):
        apply_negative_policy([1.0], "reweight")
