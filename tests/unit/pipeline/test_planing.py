from __future__ import annotations

import numpy as np
import pytest
import torch

from hepdl.events import Events
from hepdl.events.split import PARTS
from hepdl.pipeline.dataset import Dataset
from hepdl.pipeline.planing import planed


@pytest.fixture
def base() -> Dataset:
    random = np.random.default_rng(0)
    n = 20_000
    label = np.arange(n) % 2
    mass = np.where(label == 1, random.normal(80, 15, n), random.exponential(40, n) + 30)
    part = random.choice(3, n, p=[0.6, 0.2, 0.2]).astype(np.int8)
    events = Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=torch.from_numpy(label),
        label=torch.from_numpy(label),
        event_weight=torch.ones(n),
        flat=torch.zeros(n, 0),
        feature_names=(),
        nuisance=torch.zeros(n, 0),
        nuisance_names=(),
        observers={"mass": torch.from_numpy(mass)},
    )
    return Dataset(events, part, 0.5 + random.random(n))


def spectra(dataset: Dataset, part: str) -> list[np.ndarray]:
    found = []
    for code in (0, 1):
        inside = (dataset.part == PARTS.index(part)) & (dataset.label == code)
        counts, _ = np.histogram(
            dataset.column("mass")[inside],
            np.linspace(50, 110, 7),
            weights=dataset.training_weight[inside],
        )
        found.append(counts / counts.sum())
    return found


def test_both_classes_have_one_spectrum_afterwards(base: Dataset) -> None:
    before, after = spectra(base, "train"), spectra(planed(base, ("mass",), 1.0), "train")
    assert np.abs(before[0] - before[1]).max() > 0.1
    # Fifty fine bins against six coarse ones.
    assert np.abs(after[0] - after[1]).max() < 0.02
    # Fitted on the training part: the validation part follows within its statistics (300 entries a bin).
    after = spectra(planed(base, ("mass",), 1.0), "validation")
    assert np.abs(after[0] - after[1]).max() < 0.06


def test_the_strength_is_a_power(base: Dataset) -> None:
    whole, half = (
        planed(base, ("mass",), s).training_weight / base.training_weight for s in (1.0, 0.5)
    )
    inside = (base.part == 0) & (base.label == 0) & (whole > 0)
    ratio = half[inside] ** 2 / whole[inside]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    none = planed(base, ("mass",), 0.0).training_weight
    np.testing.assert_allclose(none, base.training_weight, rtol=1e-12)


def test_sums_of_classes_and_test_weights_stay(base: Dataset) -> None:
    found = planed(base, ("mass",), 1.0)
    for part in ("train", "validation"):
        for code in (0, 1):
            inside = (base.part == PARTS.index(part)) & (base.label == code)
            assert found.training_weight[inside].sum() == pytest.approx(
                base.training_weight[inside].sum()
            )
