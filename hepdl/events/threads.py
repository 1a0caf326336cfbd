"""Numba's parallel loops and torch share one OpenMP runtime; this keeps torch's share as it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

__all__ = ["keeps_threads"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def keeps_threads(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Give torch back the number of threads it had, whatever the function does.

    Each parallel loop of Numba sets the number of threads of the OpenMP runtime, which torch takes
    for its own: two threads on cores that others use too can be ten times slower than one.
    """

    @wraps(function)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        n_threads = torch.get_num_threads()
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_num_threads(n_threads)

    return called
