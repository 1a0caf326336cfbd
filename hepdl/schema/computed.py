"""Fields that a function of ``hepdl.kinematics`` computes from whole events, when they are read.

They are computed for the selected entries only: a cut cannot use them, and what a function cannot
do (an event with too few jets) is for the selection to remove.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

__all__ = ["FUNCTIONS", "Function"]

Columns = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Function:
    """A function that computes fields.

    Attributes:
        names: The names of the fields, without importing what computes them.
        units: Unit of each field that has one, in memory.
        call: Takes the table and the keys of the section.
    """

    names: Callable[[], tuple[str, ...]]
    units: Callable[[], Mapping[str, str]]
    call: Callable[[ak.Array, Mapping[str, Any]], Columns]


def _tth_names() -> tuple[str, ...]:
    from hepdl.kinematics.tth_features import TTH_FEATURES

    return TTH_FEATURES


def _tth_units() -> dict[str, str]:
    momenta = ("mass_", "pt_", "scalar_pt_sum")
    return {name: "GeV" for name in _tth_names() if name.startswith(momenta)}


def _tth_call(table: ak.Array, keys: Mapping[str, Any]) -> Columns:
    from hepdl.kinematics import FOUR_VECTOR_NAMES, from_pt_eta_phi, pad, tth_features

    jets = table[keys["jets"]]
    counts = ak.to_numpy(ak.num(jets, axis=1))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def column(name: str) -> npt.NDArray[np.float64]:
        return np.asarray(ak.to_numpy(ak.flatten(jets[name], axis=1)), dtype=np.float64)

    (names,) = [names for names in FOUR_VECTOR_NAMES if set(names) <= set(jets.fields)][:1]
    first, second, third, fourth = (column(name) for name in names)
    if names[0] == "px":
        p4 = np.stack([first, second, third, fourth], axis=1)
    else:
        p4 = np.asarray(from_pt_eta_phi(first, second, third, **{names[3]: fourth}))
    padded, mask = pad(p4, offsets)
    tags, _ = pad(column(keys["b_tag"]), offsets)
    pt, eta, phi, energy = (ak.to_numpy(table[name]).astype(float) for name in keys["lepton"])
    lepton = np.asarray(from_pt_eta_phi(pt, eta, phi, energy=energy))
    return tth_features(padded, tags, mask, lepton)


FUNCTIONS: dict[str, Function] = {"tth_features": Function(_tth_names, _tth_units, _tth_call)}
