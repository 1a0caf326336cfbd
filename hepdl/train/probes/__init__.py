"""Fits beside the training: classifiers that look at finished scores, means of event weights."""

from __future__ import annotations

from hepdl.train.probes.mean_weight import mean_weights
from hepdl.train.probes.out_of_fold import fit_scores

__all__ = ["fit_scores", "mean_weights"]
