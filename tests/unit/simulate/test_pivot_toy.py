from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from scipy.stats import norm

from hepdl import load_schema
from hepdl.errors import ConfigError, SchemaError
from hepdl.evaluate.roc import auc
from hepdl.simulate.pivot_toy import CHUNK_SIZE, chunks, generate, iterate_variations

N = 60_000
SCHEMA = Path(__file__).parents[3] / "data_schemas" / "pivot_toy.yaml"


@pytest.fixture(scope="module")
def classes() -> dict[str, ak.Array]:
    return {label: generate(N, seed=3, label=label) for label in ("background", "signal")}


def test_moments_are_those_of_the_paper(classes: dict[str, ak.Array]) -> None:
    columns = {
        n: np.stack([np.asarray(t[f], dtype=float) for f in ("x0", "x1", "z")])
        for n, t in classes.items()
    }
    # 60 000 events: means to 0.004, covariances to 0.006; five sigma.
    assert columns["background"].mean(axis=1) == pytest.approx([0, 0, 0], abs=0.025)
    assert columns["signal"].mean(axis=1) == pytest.approx([1, 1, 0], abs=0.03)
    background = [[1, -0.5, 0], [-0.5, 1, 0], [0, 0, 1]]
    signal = [[1, 0, 0], [0, 2, 1], [0, 1, 1]]
    np.testing.assert_allclose(np.cov(columns["background"]), background, atol=0.03)
    np.testing.assert_allclose(np.cov(columns["signal"]), signal, atol=0.06)


def test_the_two_limits_are_those_of_the_closed_forms(classes: dict[str, ak.Array]) -> None:
    x0, x1 = (
        np.concatenate([np.asarray(classes[n][f], dtype=float) for n in classes])
        for f in ("x0", "x1")
    )
    label = np.repeat([0, 1], N)
    ones = np.ones(2 * N)
    # The area of 120 000 events is known to 0.0014 and better.
    assert auc(label, x0, ones) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.007)
    # With z averaged the signal is a Gaussian, too: x1 has variance 2.
    best = -0.5 * (x0 - 1) ** 2 - 0.25 * (x1 - 1) ** 2 + 0.5 * (x0**2 + x0 * x1 + x1**2) / 0.75
    assert auc(label, best, ones) == pytest.approx(0.8594, abs=0.005)


def test_variations_are_the_same_events_with_another_nuisance() -> None:
    (request,) = chunks(1000, seed=1, label="signal", variations=["low", "high"])
    ((_, tables),) = iterate_variations([request])
    assert list(tables) == ["nominal", "low", "high"]
    low, high = tables["low"], tables["high"]
    assert ak.all(low.event_number == high.event_number)
    np.testing.assert_allclose(high.x1 - low.x1, 2.0, atol=1e-6)
    np.testing.assert_array_equal(high.x0, low.x0)
    np.testing.assert_allclose(tables["nominal"].x1 - low.x1, tables["nominal"].z + 1, atol=1e-5)
    assert set(np.asarray(low.z)) == {-1.0}
    (background,) = chunks(1000, seed=1, label="background", variations=["low", "high"])
    ((_, tables),) = iterate_variations([background])
    np.testing.assert_array_equal(tables["low"].x1, tables["high"].x1)


def test_a_larger_sample_begins_with_a_smaller_one_across_chunks() -> None:
    few, many = generate(CHUNK_SIZE + 10, seed=5), generate(CHUNK_SIZE + 2000, seed=5)
    for field in few.fields:
        np.testing.assert_array_equal(few[field], many[field][: len(few)])
    assert len(set(np.asarray(many.event_number))) == len(many)
    assert not np.array_equal(few.x0, generate(CHUNK_SIZE + 10, seed=6).x0)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'signal'"):
        generate(10, seed=1, label="signals")
    with pytest.raises(ConfigError, match="variation 'lo'"):
        chunks(10, seed=1, variations=["lo"])
    schema = load_schema(SCHEMA)
    assert len(generate(10, seed=1, schema=schema)) == 10
    other = load_schema(SCHEMA.with_name("w_jets.yaml"))
    with pytest.raises(SchemaError, match="field of pivot_toy"):
        generate(10, seed=1, schema=other)
