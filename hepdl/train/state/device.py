"""Where and how torch computes during a fit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from hepdl.errors import ConfigError, unknown_name
from hepdl.train.state.options import TrainOptions

__all__ = ["choose_device", "device_of", "numerics"]

# A prime above every likely seed.
_SEEDS_PER_RANK = 1_000_003


def choose_device(name: str) -> torch.device:
    """Return the device for ``"auto"`` (a GPU if there is one), ``"cpu"`` or ``"cuda"``.

    Raises:
        ConfigError: The name is none of them, or there is no usable GPU.
    """
    known = ("auto", "cpu", "cuda")
    if name not in known:
        raise ConfigError(unknown_name("device", name, known, where="--device"))
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU is seen"
        message = f"--device cuda: {why} (torch {torch.__version__}); use --device cpu or auto"
        raise ConfigError(message)
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Return the device of the network's parameters."""
    first = next(network.parameters(), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def numerics(options: TrainOptions, device: torch.device, *, rank: int = 0) -> Iterator[None]:
    """Seed torch, set threads and determinism as asked, and put everything back at the end.

    Each of several ranks has random numbers of its own: their events are dropped independently.
    """
    threads = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    warned_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if options.n_threads is not None or options.deterministic:
        torch.set_num_threads(options.n_threads or 1)
    if options.deterministic:
        if device.type == "cuda":
            # cuBLAS reads it once, when its first handle is made.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(options.seed + _SEEDS_PER_RANK * rank)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(was_deterministic, warn_only=warned_only)
        torch.backends.cudnn.benchmark = benchmark
