"""The classifier behind the mutual information, against a closed form."""

from __future__ import annotations

import numpy as np

from hepdl.evaluate.mutual_information import mutual_information
from hepdl.train.probes import fit_scores


def test_information_of_correlated_gaussians_is_close_to_the_closed_form() -> None:
    generator = np.random.default_rng(3)
    rho = 0.8
    x = generator.normal(size=20_000)
    y = rho * x + np.sqrt(1 - rho**2) * generator.normal(size=len(x))
    exact = -0.5 * np.log2(1 - rho**2)  # bit
    found = mutual_information(x, y, fit_scores=fit_scores, generator=generator)
    # A classifier of finite power understates it; 5 standard errors of about 0.01 bit above.
    assert 0.85 * exact < found.value < exact + 0.05


def test_independent_numbers_have_no_information() -> None:
    generator = np.random.default_rng(4)
    x, y = generator.normal(size=(2, 20_000))
    found = mutual_information(x, y, fit_scores=fit_scores, generator=generator)
    assert abs(found.value) < 0.01  # bit; an overfitted classifier would be far below zero


def test_scores_are_those_of_a_fit_that_did_not_see_the_row() -> None:
    generator = np.random.default_rng(5)
    noise = generator.normal(size=(4000, 2))
    label = generator.integers(0, 2, size=4000)
    scores = fit_scores(noise, label, np.ones(4000))
    difference = scores[label == 1].mean() - scores[label == 0].mean()
    # Labels are pure noise: out of fold the means agree within 5 standard errors.
    error = scores.std() * np.sqrt(4 / len(label))
    assert abs(difference) < 5 * error
