"""Jet trees of events, built from the four-vectors of a collection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hepdl.errors import DataError, unknown_name
from hepdl.events.containers import Events, Jagged, JetTrees
from hepdl.events.features import refuse_truth
from hepdl.events.inputs import TreeInputs
from hepdl.kinematics import build
from hepdl.kinematics.fourvectors import FOUR_VECTOR_NAMES, from_pt_eta_phi

__all__ = ["FOUR_VECTOR_COLUMNS", "attach_trees", "four_vectors"]

# Every column that a four-vector may be made of.
FOUR_VECTOR_COLUMNS = tuple(dict.fromkeys(name for names in FOUR_VECTOR_NAMES for name in names))


def attach_trees(events: Events, inputs: TreeInputs) -> Events:
    """Return the same events with the jet tree of each entry.

    Args:
        events: Their collection ``inputs.collection`` holds the constituents.
        inputs: Which collection, topology, preprocessing.

    Raises:
        DataError: The collection is not there, or its columns are no four-vectors.
    """
    if inputs.collection not in events.collections:
        message = unknown_name(
            "collection", inputs.collection, events.collections, where="collection of jet trees"
        )
        raise DataError(message)
    rows = events.collections[inputs.collection]
    refuse_truth(events, inputs.collection, FOUR_VECTOR_COLUMNS)
    n_threads = torch.get_num_threads()
    try:
        features, depth, is_inner, offsets = build(
            four_vectors(rows, where=inputs.collection),
            rows.offsets.cpu().numpy(),
            topology=inputs.topology,
            preprocess=inputs.preprocess,
            seed=inputs.seed,
            # Random trees then do not depend on which other events are there.
            keys=events.event_number.cpu().numpy(),
        )
    finally:
        # Numba's parallel loops set the number of threads of the OpenMP runtime that torch uses.
        torch.set_num_threads(n_threads)
    trees = JetTrees(
        torch.from_numpy(features),
        torch.from_numpy(depth.astype(np.int64, copy=False)),
        torch.from_numpy(is_inner),
        torch.from_numpy(offsets),
    )
    return replace(events, jet_trees=trees.to(events.device))


def four_vectors(rows: Jagged, *, where: str) -> npt.NDArray[np.float64]:
    """Return the four-vectors of a collection [GeV].

    Args:
        rows: With the columns pt, eta, phi and energy or mass, or px, py, pz and energy.
        where: Name of the collection, for messages.

    Shapes:
        ``(n_rows, 4)`` in the order px, py, pz, energy.

    Raises:
        DataError: The columns are others.
    """
    values = rows.values.cpu().numpy().astype(np.float64)
    for names in FOUR_VECTOR_NAMES:
        if set(names) <= set(rows.columns):
            first, second, third, fourth = (values[:, rows.columns.index(n)] for n in names)
            if names[0] == "px":
                return np.stack((first, second, third, fourth), axis=1)
            return np.asarray(from_pt_eta_phi(first, second, third, **{names[3]: fourth}))
    message = (
        f"collection {where!r} has the columns {list(rows.columns)}; a four-vector needs "
        + ", or ".join(" ".join(names) for names in FOUR_VECTOR_NAMES)
    )
    raise DataError(message)
