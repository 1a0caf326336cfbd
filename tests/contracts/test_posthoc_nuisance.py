"""What is true of every map of hepdl.posthoc that takes nuisances out of scores, in each of its kinds."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest

from hepdl.errors import DataError
from hepdl.pipeline import parts
from hepdl.pipeline.config import PosthocMethod
from hepdl.posthoc import Flattening
from hepdl.posthoc.conditional_cdf import KINDS

Floats = npt.NDArray[np.float64]

# Few steps: what is true here does not wait for the best fit.
QUICK: dict[str, dict[str, Any]] = {"flow": {"n_steps": 20}, "quantile": {"n_events": 300}}
CASES = [(method, kind) for method in get_args(PosthocMethod) for kind in KINDS]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    method, kind = request.param
    return method, {"kind": kind, **QUICK.get(kind, {})}


def events(n: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Return scores that follow the first of two nuisances, the second one with three values."""
    random = np.random.default_rng(seed)
    nuisance = np.column_stack([random.normal(size=n), random.integers(0, 3, n)])
    scores = 1 / (1 + np.exp(-nuisance[:, 0] - 0.5 * nuisance[:, 1] - random.normal(size=n)))
    return scores, nuisance, random.uniform(0.2, 2.0, n)


def fit(case: tuple[str, dict[str, Any]], *columns: npt.ArrayLike, **options: Any) -> Flattening:
    method, own = case
    made: type[Flattening] = parts.module(
        "posthoc", method, where="posthoc.x.method"
    ).ConditionalCDF
    return made.fit(*columns, **own, **options)


def test_gives_one_number_in_0_to_1_for_each_event(case: tuple[str, dict[str, Any]]) -> None:
    fitted = fit(case, *events(800, 1))
    scores, nuisance, _ = events(500, 2)
    found = fitted.transform(scores, nuisance)
    assert found.shape == (500,)
    assert found.dtype == np.float64
    assert 0 <= found.min() < found.max() <= 1
    assert fitted.transform(np.zeros(0), np.zeros((0, 2))).shape == (0,)


def test_a_larger_score_is_never_a_smaller_one_at_the_same_nuisances(
    case: tuple[str, dict[str, Any]],
) -> None:
    """Of new scores, too, far outside of the fitted ones, and of nuisances that were not fitted."""
    fitted = fit(case, *events(800, 3))
    grid = np.concatenate([np.linspace(-0.5, 1.5, 3001), [1e6]])
    for place in ([-9.0, 0.0], [-0.7, 1.0], [0.3, 2.0], [1.2, 7.0], [40.0, 0.4]):
        found = fitted.transform(grid, np.tile(place, (len(grid), 1)))
        assert (np.diff(found) > 0).all(), place


def test_every_event_is_mapped_alone_and_in_any_order(case: tuple[str, dict[str, Any]]) -> None:
    fitted = fit(case, *events(800, 4))
    scores, nuisance, _ = events(50, 5)
    found = fitted.transform(scores, nuisance)
    np.testing.assert_allclose(
        fitted.transform(scores[::-1], nuisance[::-1]), found[::-1], atol=1e-12
    )
    alone = [fitted.transform(scores[[k]], nuisance[[k]])[0] for k in range(10)]
    np.testing.assert_allclose(alone, found[:10], atol=1e-12)


def test_travels_as_json(case: tuple[str, dict[str, Any]]) -> None:
    fitted = fit(case, *events(800, 6))
    again = type(fitted).from_dict(json.loads(json.dumps(fitted.as_dict())))
    scores, nuisance, _ = events(300, 7)
    np.testing.assert_array_equal(
        again.transform(scores, nuisance), fitted.transform(scores, nuisance)
    )


def test_the_same_seed_gives_the_same_map_whatever_was_drawn_before(
    case: tuple[str, dict[str, Any]],
) -> None:
    one = fit(case, *events(800, 8), seed=3).as_dict()
    np.random.default_rng().random(7)
    assert fit(case, *events(800, 8), seed=3).as_dict() == one


def test_does_not_depend_on_the_scale_of_the_weights(case: tuple[str, dict[str, Any]]) -> None:
    scores, nuisance, weight = events(800, 9)
    one = fit(case, scores, nuisance, weight)
    two = fit(case, scores, nuisance, 1000.0 * weight)
    # Of other events: a linear program goes exactly through some of its own, and several levels may meet
    # there. It ends where its tolerance is met.
    others = events(300, 14)[:2]
    np.testing.assert_allclose(one.transform(*others), two.transform(*others), atol=1e-5)


def test_no_weight_is_a_weight_of_one_and_weight_zero_is_no_event(
    case: tuple[str, dict[str, Any]],
) -> None:
    scores, nuisance, _ = events(600, 10)
    one = fit(case, scores, nuisance).as_dict()
    assert fit(case, scores, nuisance, np.ones(600)).as_dict() == one
    more = np.append(scores, 0.999), np.vstack([nuisance, [50.0, 2.0]]), np.append(np.ones(600), 0)
    assert fit(case, *more).as_dict() == one


def test_one_nuisance_may_be_a_column_or_a_list(case: tuple[str, dict[str, Any]]) -> None:
    scores, nuisance, weight = events(600, 11)
    one = fit(case, scores, nuisance[:, :1], weight)
    two = fit(case, scores, nuisance[:, 0], weight)
    assert one.as_dict() == two.as_dict()
    np.testing.assert_array_equal(
        one.transform(scores, nuisance[:, :1]), two.transform(scores, nuisance[:, 0])
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nuisance": [(5, 0, np.nan)]}, r"nuisance 0 is nan at entry 5 \(1 of 200 values"),
        ({"nuisance": [(slice(None), 1, 2.0)]}, "nuisance 1 is 2 for all 100 background events"),
        ({"scores": [(3, np.inf)]}, "1 of 100 scores are not finite, the first is inf at entry 3"),
        ({"weight": [(slice(None), -1.0)]}, "100 background events add up to -100"),
        ({"weight": [(slice(15, None), 0.0)]}, "15 background events with a weight; .* 20 or more"),
        ({"nuisance": [(slice(0, 3), 1, 9.0)]}, r"category 9: 3 background events .* needs 20"),
    ],
)
def test_what_cannot_be_fitted_is_named(
    case: tuple[str, dict[str, Any]], change: dict[str, list[Any]], message: str
) -> None:
    columns = dict(zip(("scores", "nuisance", "weight"), events(100, 12), strict=True))
    for name, places in change.items():
        for *place, value in places:
            columns[name][tuple(place)] = value
    with pytest.raises(DataError, match=message):
        fit(case, *columns.values())


def test_what_cannot_be_mapped_is_named(case: tuple[str, dict[str, Any]]) -> None:
    scores, nuisance, weight = events(600, 13)
    fitted = fit(case, scores, nuisance, weight)
    with pytest.raises(DataError, match=r"shape \(600, 1\) for 600 scores; \(600, 2\) is needed"):
        fitted.transform(scores, nuisance[:, :1])
    with pytest.raises(DataError, match=r"shape \(599, 2\) for 600 scores"):
        fitted.transform(scores, nuisance[:-1])
    nuisance[4, 0] = np.nan
    with pytest.raises(DataError, match="nuisance 0 is nan at entry 4"):
        fitted.transform(scores, nuisance)


def test_options_are_checked_without_events(case: tuple[str, dict[str, Any]]) -> None:
    method, own = case
    made = parts.module("posthoc", method, where="here").ConditionalCDF
    assert made.option_problems(own) == []
    (problem,) = made.option_problems({**own, "n_neighbors": 4}, where="posthoc.flat.options")
    assert "n_neighbors" in problem
    assert "posthoc.flat.options.n_neighbors" in problem
    (problem,) = made.option_problems({**own, "seed": -1}, where="here")
    assert "here.seed is -1; give a whole number >= 0" in problem
