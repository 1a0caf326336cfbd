"""Time one rank and two, beside one matrix product and two; both ranks of test_ranks_speed.py run it.

Usage: ranks_speed_script.py WIDTH DEPTH MINIBATCH STEPS REPEATS
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch

from hepdl.events import Events
from hepdl.losses.binary_cross_entropy import BinaryCrossEntropy
from hepdl.models.mlp import Mlp
from hepdl.train import TrainOptions
from hepdl.train.state.ranks import Ranks
from hepdl.train.supervised import fit

N_FEATURES = 28
# About the time of one small minibatch; two matrices fit into a core's cache.
MATRIX, PRODUCTS = 256, 200


def events(n: int) -> Events:
    generator = torch.Generator().manual_seed(1)
    label = torch.arange(n) % 2
    return Events(
        event_number=torch.arange(n),
        run_number=torch.ones(n, dtype=torch.int64),
        process=label,
        label=label,
        event_weight=0.5 + torch.rand(n, generator=generator),
        flat=torch.randn(n, N_FEATURES, generator=generator) + 0.2 * label[:, None],
        feature_names=tuple(f"x{i}" for i in range(N_FEATURES)),
        nuisance=torch.zeros(n, 0),
    )


def products() -> float:
    """Return matrix products per second."""
    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)
    out = torch.empty(MATRIX, MATRIX)
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        torch.mm(left, right, out=out)
    return PRODUCTS / (time.perf_counter() - start)


def training(train: Events, validation: Events, ranks: Ranks) -> float:
    """Return training events per second, of all ranks together."""
    width, depth, minibatch = (int(value) for value in sys.argv[1:4])
    torch.manual_seed(1)
    model = Mlp(train.feature_names, hidden=[width] * depth, batch_norm=False)
    result = fit(
        model,
        train,
        validation,
        options=TrainOptions(epochs=1, minibatch_size=minibatch, n_threads=1),
        loss=BinaryCrossEntropy(),
        ranks=ranks,
        observe=lambda values, epoch: None,
    )
    return result.events_per_second


def alone(ranks: Ranks, call: Callable[[], float]) -> float:
    """Return what rank 0 reaches while the other one waits."""
    ranks.barrier()
    found = call() if ranks.is_first else 0.0
    ranks.barrier()
    return found


def together(ranks: Ranks, call: Callable[[], float]) -> list[float]:
    ranks.barrier()
    return [float(value) for value in ranks.gather(call())]


def main() -> None:
    torch.set_num_threads(1)
    ranks = Ranks.from_environment()
    train = events(int(sys.argv[3]) * int(sys.argv[4]))
    validation = events(64)
    one = Ranks.alone()
    rows = []
    for _ in range(1 + int(sys.argv[5])):
        row = {
            "one product": alone(ranks, products),
            "two products": sum(together(ranks, products)),
            "one rank": alone(ranks, lambda: training(train, validation, one)),
            "two ranks": together(ranks, lambda: training(train, validation, ranks))[0],
        }
        rows.append(row)
    if ranks.is_first:
        # The first round warms up.
        sys.stdout.write(json.dumps(rows[1:]))
    ranks.leave()


if __name__ == "__main__":
    main()
