"""Fresh classifiers that look at finished scores; no part of any training."""

from __future__ import annotations

from hepdl.train.probes.out_of_fold import fit_scores

__all__ = ["fit_scores"]
