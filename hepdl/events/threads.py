"""How many cores there are, and what Numba's parallel loops do to torch on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["available_cores", "keeps_threads"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use: a batch job has not all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keeps_threads(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Give torch back the number of threads it had, whatever the function does.

    Parallel loops of Numba set the number of threads of the OpenMP runtime that both share, which
    torch takes for its own: two threads on cores that others use too can be ten times slower than one.
    """

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        n_threads = torch.get_num_threads()
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(n_threads)

    return called
