"""Flat tables that hepdl itself wrote, such as ``scores.root``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import uproot

from hepdl.errors import DataError, unknown_name

__all__ = ["read_table"]


def read_table(path: Path | str, *, ttree: str) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a flat TTree.

    Args:
        path: The file.
        ttree: Name of the TTree.

    Shapes:
        each column ``(n_rows,)``.

    Raises:
        DataError: The file cannot be opened, or has no such TTree.
    """
    try:
        with uproot.open(path) as file:
            if ttree not in file:
                names = {key.partition(";")[0] for key in file.keys()}  # noqa: SIM118 uproot's keys
                raise DataError(unknown_name("ttree", ttree, names, where=str(path)))
            arrays = file[ttree].arrays(library="np")
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read as a ROOT file ({error}); make it again"
        raise DataError(message) from error
    return {name: np.asarray(values) for name, values in arrays.items()}
