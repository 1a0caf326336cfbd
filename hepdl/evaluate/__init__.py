"""Numbers from scores, on numpy arrays: no torch, no files.

A metric is a file of pure functions on arrays of one entry per event; labels are 1 for signal and
0 for background, scores grow with the belief in signal, event weights may have either sign unless
the docstring says otherwise, and None means 1 for all. A number comes with its 68 % interval, and a
distance beside its null: what noise alone gives. A metric that needs a fit takes
``fit_scores: (X, y, w) -> scores``. What helps metrics lives in sub-packages: ``inputs`` (checked
columns, bins) and ``bootstrap`` (replicas, intervals, rankings).
"""

from __future__ import annotations
