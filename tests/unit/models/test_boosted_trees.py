from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xgboost

from hepdl.errors import ConfigError, DataError, StoppedError
from hepdl.evaluate.roc import auc
from hepdl.events import Events
from hepdl.models.boosted_trees import ROUNDS_PER_CHECKPOINT, BoostedTrees

FEATURES = ("a", "b", "c")
SAMPLING: list[dict[str, Any]] = [
    {},
    {"subsample": 0.6},
    {"colsample_bytree": 0.5},
    {"subsample": 0.6, "colsample_bytree": 0.5},
]


def ignore(*_: object) -> None:
    pass


def toy(n: int, *, seed: int, weight: Callable[[Any, Any], Any] | None = None) -> Events:
    """The label is a noisy function of three features, with positive weights."""
    random = np.random.default_rng(seed)
    flat = random.normal(size=(n, 3)).astype(np.float32)
    label = (flat[:, 0] + flat[:, 1] * flat[:, 2] + random.normal(size=n) > 0).astype(np.int64)
    weights = random.uniform(0.5, 1.5, n) if weight is None else weight(label, flat)
    zeros = torch.zeros(n, dtype=torch.int64)
    return Events(
        event_number=torch.arange(n),
        run_number=zeros,
        process=zeros,
        label=torch.from_numpy(label),
        event_weight=torch.from_numpy(np.asarray(weights, dtype=np.float32)),
        flat=torch.from_numpy(flat),
        feature_names=FEATURES,
        nuisance=torch.zeros(n, 0),
    )


@pytest.fixture(scope="module")
def parts() -> tuple[Events, Events]:
    return toy(4000, seed=0), toy(2000, seed=1)


def fit(parts: tuple[Events, Events], *, seed: int = 0, **options: Any) -> BoostedTrees:
    model = BoostedTrees(FEATURES, **options)
    model.fit(*parts, seed=seed, observe=ignore, n_threads=1)
    return model


def content(model: BoostedTrees, tmp_path: Path) -> bytes:
    model.save(tmp_path)
    return (tmp_path / "boosted_trees.json").read_bytes()


class Memory:
    """A checkpoint that goes through torch's safe format, as on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        return torch.load(self.path, weights_only=True) if self.path.exists() else None

    def save(self, state: dict[str, Any]) -> None:
        torch.save(state, self.path)


def test_with_positive_weights_it_is_xgboost_itself(parts: tuple[Events, Events]) -> None:
    train, validation = parts
    model = fit(parts, n_rounds=20, early_stopping_rounds=None)
    n = model.best_round + 1
    data = xgboost.QuantileDMatrix(
        train.flat.numpy(), label=train.label.numpy(), weight=train.event_weight.numpy()
    )
    oracle = xgboost.train(model.parameters | {"nthread": 1}, data, num_boost_round=n)
    expected = oracle.predict(xgboost.DMatrix(validation.flat.numpy()))
    # Gradients are rounded to float32 from other formulas.
    np.testing.assert_allclose(model.scores(validation), expected, rtol=0, atol=1e-5)


def test_what_is_observed_are_the_weighted_metrics_of_the_validation_part(
    parts: tuple[Events, Events],
) -> None:
    seen: list[tuple[dict[str, float], int]] = []
    model = BoostedTrees(FEATURES, n_rounds=10, early_stopping_rounds=None)
    model.fit(*parts, seed=0, observe=lambda v, k: seen.append((v, k)), n_threads=1)
    assert [step for _, step in seen] == list(range(10))
    assert [values for values, _ in seen] == model.history
    validation = parts[1]
    scores = model.scores(validation).astype(np.float64)
    label, weight = validation.label.numpy(), validation.event_weight.double().numpy()
    best = seen[model.best_round][0]
    # Scores are float32.
    assert best["validation_auc"] == pytest.approx(auc(label, scores, weight), abs=1e-6)
    loss = -np.log(np.where(label == 1, scores, 1 - scores))
    assert best["validation_loss"] == pytest.approx(np.average(loss, weights=weight), abs=1e-6)
    assert best["train_loss"] < seen[0][0]["train_loss"]


def test_it_stops_early_and_uses_the_best_round(parts: tuple[Events, Events]) -> None:
    model = fit(parts, n_rounds=500, early_stopping_rounds=5, learning_rate=0.5, max_depth=6)
    aucs = [entry["validation_auc"] for entry in model.history]
    assert model.best_round == int(np.argmax(aucs))
    assert len(aucs) == model.best_round + 1 + 5 < 500


@pytest.mark.parametrize("options", SAMPLING)
def test_the_seed_decides_the_trees(
    parts: tuple[Events, Events], options: dict[str, Any], tmp_path: Path
) -> None:
    runs = [content(fit(parts, n_rounds=8, seed=seed, **options), tmp_path) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert (runs[0] == runs[2]) == (options == {})


@pytest.mark.parametrize("options", SAMPLING)
@pytest.mark.parametrize("stopped_after", [1, ROUNDS_PER_CHECKPOINT + 3])
def test_a_stopped_fit_ends_in_the_same_trees(
    parts: tuple[Events, Events], options: dict[str, Any], stopped_after: int, tmp_path: Path
) -> None:
    options = {"n_rounds": 40, "early_stopping_rounds": None, **options}
    whole = fit(parts, **options)
    checkpoint, rounds = Memory(tmp_path / "c.pt"), []
    first = BoostedTrees(FEATURES, **options)
    with pytest.raises(StoppedError, match=f"before round {stopped_after} .* run again"):
        first.fit(
            *parts,
            seed=0,
            observe=lambda _, step: rounds.append(step),
            n_threads=1,
            checkpoint=checkpoint,
            stop=lambda: len(rounds) == stopped_after,
        )
    second = BoostedTrees(FEATURES, **options)
    second.fit(*parts, seed=0, observe=ignore, n_threads=1, checkpoint=checkpoint)
    assert second.history == whole.history
    assert content(second, tmp_path) == content(whole, tmp_path)


def test_a_killed_fit_continues_from_its_last_checkpoint(
    parts: tuple[Events, Events], tmp_path: Path
) -> None:
    class KilledError(Exception):
        pass

    def die(_: object, step: int) -> None:
        if step == ROUNDS_PER_CHECKPOINT + 7:
            raise KilledError

    options: dict[str, Any] = {"n_rounds": 200, "early_stopping_rounds": 12, "subsample": 0.7}
    checkpoint, seen = Memory(tmp_path / "c.pt"), []
    with pytest.raises(KilledError, match=r"^$"):
        BoostedTrees(FEATURES, **options).fit(
            *parts, seed=0, observe=die, n_threads=1, checkpoint=checkpoint
        )
    model = BoostedTrees(FEATURES, **options)
    model.fit(
        *parts,
        seed=0,
        observe=lambda _, step: seen.append(step),
        n_threads=1,
        checkpoint=checkpoint,
    )
    whole = fit(parts, **options)
    assert seen[0] == ROUNDS_PER_CHECKPOINT
    assert model.history == whole.history
    assert content(model, tmp_path) == content(whole, tmp_path)


def test_the_file_is_xgboosts_own_with_the_names_of_the_features(
    parts: tuple[Events, Events], tmp_path: Path
) -> None:
    model = fit(parts, n_rounds=10)
    stored = json.loads(content(model, tmp_path))
    assert stored["learner"]["feature_names"] == list(FEATURES)
    booster = xgboost.Booster(model_file=tmp_path / "boosted_trees.json")
    data = xgboost.DMatrix(parts[1].flat.numpy(), feature_names=list(FEATURES))
    assert (booster.predict(data) == model.scores(parts[1])).all()
    assert booster.num_boosted_rounds() == model.best_round + 1


def test_parameters_are_the_nodes_of_the_trees(parts: tuple[Events, Events]) -> None:
    model = fit(parts, n_rounds=1, max_depth=1)
    # One split, two leaves.
    assert model.n_parameters == 3


def test_a_pair_of_opposite_weights_changes_nothing(parts: tuple[Events, Events]) -> None:
    train, validation = parts
    half = train.take(torch.arange(1000))
    pairs = replace(half, flat=half.flat + 0.01)
    pieces = [train, pairs, pairs.with_event_weight(-pairs.event_weight)]
    doubled = replace(
        train,
        label=torch.cat([piece.label for piece in pieces]),
        event_weight=torch.cat([piece.event_weight for piece in pieces]),
        flat=torch.cat([piece.flat for piece in pieces]),
        event_number=torch.cat([piece.event_number for piece in pieces]),
    )
    # One tree of one split without regularisation: only the signed sums of gradients matter for
    # the sign of each leaf, and the size is that of |w|.
    options: dict[str, Any] = {"n_rounds": 1, "max_depth": 1, "reg_lambda": 0.0}
    plain = fit(parts, **options).scores(validation)
    signed = fit((doubled, validation), **options).scores(validation)
    assert ((plain > 0.5) == (signed > 0.5)).mean() > 0.95


def test_negative_weights_are_worth_more_than_their_magnitude() -> None:
    # Label 1 has the density 2a on [0, 1), drawn uniformly with weights 1 and, for a < 0.4, mostly
    # -1, so that the signed sum is small where the plain count is as large as elsewhere.
    def draw(n: int, seed: int) -> Events:
        random = np.random.default_rng(seed)
        events = toy(n, seed=seed, weight=lambda label, _: np.ones(len(label)))
        a = random.random(n).astype(np.float32)
        label = random.integers(0, 2, n)
        sign = np.where((label == 1) & (random.random(n) < (1 - a) / 2), -1.0, 1.0)
        flat = events.flat.clone()
        flat[:, 0] = torch.from_numpy(a)
        return replace(
            events,
            flat=flat,
            label=torch.from_numpy(label),
            event_weight=torch.from_numpy(sign.astype(np.float32)),
        )

    train, validation = draw(20_000, 0), draw(20_000, 1)
    options: dict[str, Any] = {"n_rounds": 40, "max_depth": 2}
    label, weight = validation.label.numpy(), validation.event_weight.numpy()
    signed = auc(label, fit((train, validation), **options).scores(validation), weight)
    magnitude = [
        events.with_event_weight(events.event_weight.abs()) for events in (train, validation)
    ]
    absolute = auc(label, fit((magnitude[0], magnitude[1]), **options).scores(validation), weight)
    # The signed density of label 1 over that of label 0 grows as a: the area is 2/3. With |w| there
    # is nothing to learn. The spread with 20 000 signed events is 0.005; 5 sigma.
    assert signed == pytest.approx(2 / 3, abs=0.025)
    assert absolute < signed - 0.025


def test_weights_that_do_not_sum_to_something_positive_are_refused(
    parts: tuple[Events, Events],
) -> None:
    train, validation = parts
    negative = validation.with_event_weight(torch.where(validation.label == 1, -1.0, 1.0))
    with pytest.raises(DataError, match="signal entries of the validation part sum to -"):
        fit((train, negative))


def test_a_checkpoint_of_other_events_is_refused(
    parts: tuple[Events, Events], tmp_path: Path
) -> None:
    checkpoint = Memory(tmp_path / "c.pt")
    options: dict[str, Any] = {"n_rounds": ROUNDS_PER_CHECKPOINT, "early_stopping_rounds": None}
    model = BoostedTrees(FEATURES, **options)
    model.fit(*parts, seed=0, observe=ignore, n_threads=1, checkpoint=checkpoint)
    fewer = parts[0].take(torch.arange(100))
    with pytest.raises(ConfigError, match=r"4000 training and 2000 .* here are 100 and 2000"):
        model.fit(fewer, parts[1], seed=0, observe=ignore, n_threads=1, checkpoint=checkpoint)


def test_trees_of_other_features_or_damaged_ones_are_refused(
    parts: tuple[Events, Events], tmp_path: Path
) -> None:
    fit(parts, n_rounds=2).save(tmp_path)
    with pytest.raises(DataError, match=r"trees of the features \['a', 'b', 'c'\]"):
        BoostedTrees(["a", "b"]).load(tmp_path)
    path = tmp_path / "boosted_trees.json"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="cannot read the boosted trees"):
        BoostedTrees(FEATURES).load(tmp_path)
    with pytest.raises(DataError, match="cannot read the boosted trees"):
        BoostedTrees(FEATURES).load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": []}, "name at least one flat feature"),
        ({"subsample": 0.0}, "subsample is 0.0"),
        ({"n_rounds": 0}, "n_rounds is 0"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BoostedTrees(**({"features": FEATURES} | options))


def test_unfitted_trees_have_no_scores() -> None:
    with pytest.raises(DataError, match="not fitted: call fit or load first"):
        BoostedTrees(FEATURES).scores(toy(3, seed=0))
