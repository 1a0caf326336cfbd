"""Cuts and bins that one sample chooses, and the significance of another one behind them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepdl.evaluate.bootstrap.poisson import Bootstrap
from hepdl.evaluate.significance import asimov_significance
from hepdl.pipeline.config import EvaluateConfig
from hepdl.pipeline.scores import ModelScores
from hepdl.pipeline.sensitivity import FEWEST_BACKGROUND, N_BINS, Choice, choose, measure
from hepdl.pipeline.spreads import Sample
from hepdl.pipeline.variation_numbers import Version

CONFIG = EvaluateConfig(luminosity=1.0, background_uncertainty=0.1)
Sampled = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]


def sample(n: int, seed: int) -> Sampled:
    random = np.random.default_rng(seed)
    label = np.arange(n) % 2
    scores = (1 / (1 + np.exp(-random.normal(1.5 * label, 1.0)))).astype(np.float32)
    return label, scores, np.where(random.random(n) < 0.1, -1.0, 1.0) * (2.0 - label)


def version(found: Sampled) -> Version:
    label, scores, weight = found
    index = np.arange(len(label))
    bootstrap = Bootstrap(index, n_replicas=20)
    whole = Sample("all", index, label, np.ones(len(label)), bootstrap)
    return Version(whole, {"model": ModelScores({}, scores)}, weight)


def significance(found: Sampled, passes: np.ndarray[Any, Any]) -> float:
    label, _, weight = found
    s, b = (weight[passes & (label == code)].sum() for code in (1, 0))
    return float(asimov_significance(s, b, 0.1 * b))


def test_the_cut_is_the_best_of_a_plain_loop() -> None:
    label, scores, weight = found = sample(2000, 0)
    best, cut = 0.0, 1.0
    signal = weight[label == 1].sum()
    for share in np.arange(1, 51) / 50:
        # The tightest cut that keeps the share.
        for threshold in np.unique(scores)[::-1]:
            if weight[(label == 1) & (scores >= threshold)].sum() >= share * signal - 1e-9:
                break
        passing = weight[(label == 0) & (scores >= threshold)]
        effective = passing.sum() ** 2 / max((passing**2).sum(), 1.0)
        value = significance(found, scores >= threshold)
        if effective >= FEWEST_BACKGROUND and value > best:
            best, cut = value, float(threshold)
    chosen = choose(label, scores, weight, 0.1)
    assert chosen is not None
    assert chosen.cut == cut
    assert len(chosen.inner_edges) == N_BINS - 1


def test_too_little_background_chooses_nothing() -> None:
    label = np.array([1] * 50 + [0] * 9)
    scores = np.concatenate([np.linspace(0, 1, 50), np.linspace(0.05, 0.4, 9)])
    assert choose(label, scores, np.ones(59), 0.0) is None
    more = np.append(label, 0), np.append(scores, 0.5), np.ones(60)
    chosen = choose(*more, 0.0)
    assert chosen is not None
    # All of the background must pass, whatever a tighter cut promises.
    assert chosen.cut <= 0.05
    assert chosen.is_limited


def test_the_significance_is_that_of_the_sums_behind_the_cut_of_each_fold() -> None:
    label, scores, weight = found = sample(3000, 1)
    fold = np.arange(3000) % 3
    edges = (np.array([0.3, 0.6]), np.array([0.5]), np.array([0.35, 0.65]))
    choices = [
        Choice(cut, inner, is_limited=limited)
        for cut, inner, limited in zip((0.5, 0.7, 0.6), edges, (False, True, False), strict=True)
    ]
    entry = measure(version(found), "model", choices, CONFIG, fold=fold)
    passes = scores.astype(float) >= np.array([0.5, 0.7, 0.6])[fold]
    assert entry["value"] == pytest.approx(significance(found, passes))
    assert entry["signal"] == pytest.approx(weight[passes & (label == 1)].sum())
    assert entry["background"] == pytest.approx(weight[passes & (label == 0)].sum())
    assert entry["n_background_entries"] == (passes & (label == 0)).sum()
    assert entry["is_limited_by_statistics"]
    assert (entry["cut"], entry["cuts"]) == (None, [0.5, 0.7, 0.6])
    # Bins are counted from the highest one: a fold that has two lacks the lowest.
    bins = np.zeros(3000)
    for k in range(3000):
        inner = edges[fold[k]]
        bins[k] = 2 - sum(scores[k] < edge for edge in inner)
    squares = sum(significance(found, bins == number) ** 2 for number in range(3))
    assert entry["binned"]["value"] == pytest.approx(np.sqrt(squares))
    assert entry["binned"]["n_bins"] == 3
    assert entry["low"] <= entry["value"] <= entry["high"]


def test_one_cut_for_all_folds_is_the_cut_without_folds() -> None:
    found = sample(1000, 2)
    one = Choice(0.6, np.array([0.4, 0.8]), is_limited=False)
    fold = np.arange(1000) % 2
    alone = measure(version(found), "model", [one], CONFIG)
    folded = measure(version(found), "model", [one, one], CONFIG, fold=fold)
    assert alone["cut"] == 0.6
    for key in ("value", "low", "high", "signal", "background"):
        assert folded[key] == alone[key]
    assert folded["binned"]["value"] == alone["binned"]["value"]
