"""What three ranks do together; each process of test_ranks.py runs it and prints what it got."""

from __future__ import annotations

import json
import os
import signal
import sys

import torch

from hepdl.errors import HepdlError
from hepdl.train.state.gradient_sum import GradientSum
from hepdl.train.state.ranks import Ranks


def everything(ranks: Ranks) -> dict[str, object]:
    own = torch.full((2,), float(10**ranks.rank))
    ranks.sum_(own)
    first, end = ranks.share(0, 7)
    rows = torch.arange(first, end, dtype=torch.float64)[:, None] * torch.tensor([1.0, 1e-3])
    found = {
        "rank": [ranks.rank, ranks.size, ranks.is_first, ranks.is_alone],
        "sum": own.tolist(),
        "whole": ranks.whole(rows, first=first, n_rows=7).tolist(),
        "any": [ranks.any(ranks.rank == 2), ranks.any(False)],
        "gather": ranks.gather({"rank": ranks.rank, "text": "x" * 1000 * ranks.rank}),
        "broadcast": ranks.broadcast({"task": ["mlp", 0, None]} if ranks.is_first else "ignored"),
    }
    ranks.barrier()
    return found


def gradients(ranks: Ranks) -> dict[str, object]:
    """One step of batch norm and a layer on five events; the third rank has none of them."""
    torch.manual_seed(1)
    values, target = torch.randn(5, 3), torch.randn(5)
    norm, layer = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)
    add_up = GradientSum(
        layer.parameters(), ranks, statistics=[norm.running_mean, norm.running_var]
    )
    first, end = ranks.share(0, 5)
    stopped = []
    for step in range(2):
        layer.zero_grad()
        if first < end:
            norm(values[first:end])
            own = layer(values[first:end])[:, 0] - target[first:end]
            (own.square().sum() / 5).backward()
        share = (end - first) / 5
        stopped.append(add_up(share=share, stop=ranks.rank == 2 and step == 1))
    return {
        "gradients": [parameter.grad.flatten().tolist() for parameter in layer.parameters()],
        "statistics": [norm.running_mean.tolist(), norm.running_var.tolist()],
        "stopped": stopped,
    }


if __name__ == "__main__":
    joined = Ranks.from_environment()
    if sys.argv[1] == "die" and joined.rank == 1:
        joined.barrier()
        os.kill(os.getpid(), signal.SIGKILL)
    if sys.argv[1] == "die":
        joined.barrier()
        try:
            joined.broadcast(1)
            joined.barrier()
        except HepdlError as error:
            sys.stdout.write(json.dumps({"status": error.exit_status, "message": str(error)}))
            sys.stdout.flush()
            os._exit(0)
    answer = gradients if sys.argv[1] == "gradients" else everything
    sys.stdout.write(json.dumps(answer(joined)))
    joined.leave()
