"""Particles and jet trees as torch-geometric graphs, for networks that are built with it.

Reference:
    M. Fey, J. E. Lenssen, "Fast graph representation learning with PyTorch Geometric", ICLR
    workshop 2019, arXiv:1903.02428.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hepdl.errors import ConfigError, DataError, unknown_name
from hepdl.events.containers import Events, JetTrees

if TYPE_CHECKING:
    from torch_geometric.data import Batch

__all__ = ["KINDS", "to_pyg", "tree_edges"]

KINDS = ("particles", "jet_trees")


def to_pyg(events: Events, kind: str) -> Batch:
    """Return a graph for each event, all in one ``torch_geometric.data.Batch``.

    Every graph has ``y`` (label), ``event_weight`` and ``event_number``. Of ``"particles"`` the nodes
    ``x`` are the rows of ``events.particles``, without edges; of ``"jet_trees"`` they are the nodes
    of the trees, ``edge_index`` leads from each child to its parent, and ``depth`` is there.

    Args:
        events: With particles or jet trees.
        kind: ``"particles"`` or ``"jet_trees"``.

    Shapes:
        x ``(n_nodes, n_features)``, edge_index ``(2, n_edges)``, batch ``(n_nodes,)``.

    Raises:
        ConfigError: There is no such kind.
        DataError: The events have none of it.
    """
    if kind not in KINDS:
        raise ConfigError(unknown_name("kind of graph", kind, KINDS, where="to_pyg"))
    # Takes a second and a half; only who wants graphs should wait.
    from torch_geometric.data import Batch, Data

    found = getattr(events, kind)
    if found is None:
        attach = "particles.attach_particles" if kind == "particles" else "trees.attach_trees"
        message = f"these events have no {kind}; call hepdl.events.{attach} first"
        raise DataError(message)
    columns = {
        "y": events.label,
        "event_weight": events.event_weight,
        "event_number": events.event_number,
    }
    ones = torch.arange(len(events) + 1)
    slices = dict.fromkeys(columns, ones)
    nodes = torch.from_numpy(found.host_offsets)
    shifts = torch.zeros(len(events), dtype=torch.int64)
    if isinstance(found, JetTrees):
        edges = tree_edges(found)
        columns |= {"x": found.features, "edge_index": edges, "depth": found.depth}
        # A binary tree of n nodes has n - 1 edges.
        n_edges = (nodes.diff() - 1).clamp(min=0)
        slices |= {"edge_index": torch.cat((torch.zeros(1, dtype=torch.int64), n_edges.cumsum(0)))}
        slices |= {"depth": nodes}
    else:
        columns |= {"x": found.values}
    slices |= {"x": nodes}
    counts = found.offsets.diff()
    batch = torch.repeat_interleave(
        torch.arange(len(events), device=events.device), counts, output_size=int(nodes[-1])
    )
    graphs = Batch(_base_cls=Data, batch=batch, ptr=found.offsets, **columns)
    # What torch-geometric's own collation notes down to take single graphs out again.
    graphs._num_graphs = len(events)
    graphs._slice_dict = slices
    graphs._inc_dict = {name: nodes[:-1] if name == "edge_index" else shifts for name in columns}
    return graphs


def tree_edges(trees: JetTrees) -> Tensor:
    """Return child and parent of each edge of the trees.

    Shapes:
        ``(2, n_edges)``, rows of the nodes of all trees.
    """
    # Within a jet the children stand in the order of their parents, two for each.
    children = (trees.depth > 0).nonzero().squeeze(1)
    parents = trees.is_inner.nonzero().squeeze(1).repeat_interleave(2)
    return torch.stack((children, parents))
