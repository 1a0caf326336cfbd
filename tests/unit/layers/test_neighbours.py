from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from hepdl.layers.neighbours import (
    Neighbourhood,
    arrange_neighbourhood,
    nearest_neighbours,
    padded_rows,
)


@pytest.fixture(params=["numba", "torch"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to search: the one of the CPU, and the one of every other device."""
    if request.param == "torch":
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    return str(request.param)


COUNTS = [5, 1, 0, 12, 3, 2, 40]


def arrange(counts: list[int], k: int, n_max: int | None = None) -> Neighbourhood:
    offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    return arrange_neighbourhood(torch.from_numpy(offsets), offsets, n_neighbours=k, n_max=n_max)


def edges_of(points: torch.Tensor, counts: list[int], k: int, n_max: int | None = None) -> set:
    edges = nearest_neighbours(points, arrange(counts, k, n_max), n_neighbours=k)
    return set(map(tuple, edges.t().tolist()))


def cloud(n_coordinates: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(COUNTS), n_coordinates, generator=generator)


@pytest.mark.parametrize("n_coordinates", [2, 64])
@pytest.mark.parametrize("k", [1, 4, 16, 100])
def test_they_are_those_of_scipys_tree(n_coordinates: int, k: int) -> None:
    points = cloud(n_coordinates)
    expected = set()
    first = 0
    for count in COUNTS:
        own = points[first : first + count].numpy()
        wanted = min(k, count - 1)
        if wanted > 0:
            _, near = cKDTree(own).query(own, k=wanted + 1)
            # The nearest of all is the particle itself.
            expected |= {
                (first + int(j), first + i) for i, row in enumerate(near) for j in row if j != i
            }
        first += count
    assert edges_of(points, COUNTS, k) == expected


def test_edges_are_sorted_by_target_and_then_by_distance() -> None:
    points = cloud(2)
    source, target = nearest_neighbours(points, arrange(COUNTS, 4), n_neighbours=4)
    distance = (points[source] - points[target]).norm(dim=1)
    same = target[1:] == target[:-1]
    assert (target.diff() >= 0).all()
    assert (distance.diff()[same] >= 0).all()


def test_more_padding_changes_nothing() -> None:
    points = cloud(3)
    few = nearest_neighbours(points, arrange(COUNTS, 4), n_neighbours=4)
    many = nearest_neighbours(points, arrange(COUNTS, 4, n_max=55), n_neighbours=4)
    assert torch.equal(few, many)


def test_other_jets_change_nothing() -> None:
    points = cloud(64)
    together = edges_of(points, COUNTS, 7)
    alone = edges_of(points[6:18], [12], 7)
    assert {(s - 6, t - 6) for s, t in together if 6 <= t < 18} == alone


def test_of_equally_near_particles_the_earlier_ones_are_taken() -> None:
    # A grid of towers: four neighbours at distance 1 of the one in the middle.
    grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    for n_max in (9, 10, 33):
        edges = edges_of(grid, [9], 2, n_max)
        assert {s for s, t in edges if t == 4} == {1, 3}
    # All in one place.
    assert edges_of(torch.zeros(5, 2), [5], 2) == {
        (1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4)
    }  # fmt: skip


def test_near_particles_far_from_the_origin_are_told_apart() -> None:
    # |a|² + |b|² - 2ab in float32 has no digit left of distances of 1e-3 at 100.
    points = torch.tensor([[100.0, 0.0], [100.001, 0.0], [100.003, 0.0]])
    assert edges_of(points, [3], 1) == {(1, 0), (0, 1), (1, 2)}


def test_single_particles_and_empty_jets_have_no_edges() -> None:
    for counts in ([], [0, 0], [1, 1, 0], [1]):
        edges = nearest_neighbours(torch.zeros(sum(counts), 2), arrange(counts, 4), n_neighbours=4)
        assert edges.shape == (2, 0)


def test_the_number_of_edges_is_known_beforehand() -> None:
    layout = arrange(COUNTS, 4)
    assert len(layout.slots) == sum(n * min(4, n - 1) for n in COUNTS if n)
    assert torch.equal(layout.targets.bincount(minlength=sum(COUNTS)),
                       torch.cat([torch.full((n,), min(4, n - 1)) for n in COUNTS]))  # fmt: skip


def test_a_rectangle_holds_every_row_once() -> None:
    offsets = torch.tensor([0, 5, 6, 6, 18])
    rows, is_real = padded_rows(offsets, 14)
    assert rows[is_real].tolist() == list(range(18))
    assert is_real.sum(1).tolist() == [5, 1, 0, 12]
    assert not rows[~is_real].any()
