"""Decays of ttH(bb) whose masses are exact: what an assignment must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from hepdl.kinematics import eta, pt

Array = NDArray[np.float64]
QUARKS = ("b_lep", "q1", "q2", "b_had", "b1", "b2")


@dataclass(frozen=True)
class ExactEvents:
    """Jets by falling pT, their tags, lepton, missing momentum, and which jet is which quark."""

    jets: Array
    b_tag: NDArray[np.int64]
    mask: NDArray[np.bool_]
    lepton: Array
    neutrino: Array
    quark_of_jet: NDArray[np.int64]


def two_body(
    parent: Array, masses: tuple[float, float], random: np.random.Generator
) -> list[Array]:
    """Decay each parent isotropically in its rest frame."""
    m = np.sqrt(parent[:, 3] ** 2 - (parent[:, :3] ** 2).sum(axis=1))
    first, second = masses
    energy = (m**2 + first**2 - second**2) / (2 * m)
    size = np.sqrt(energy**2 - first**2)
    cosine, phi = random.uniform(-1, 1, len(m)), random.uniform(-np.pi, np.pi, len(m))
    sine = np.sqrt(1 - cosine**2)
    rest = size[:, None] * np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)
    beta = parent[:, :3] / parent[:, 3:]
    gamma = (parent[:, 3] / m)[:, None]
    along = (beta * rest).sum(axis=1, keepdims=True)
    boosted_energy = gamma * (energy[:, None] + along)
    momentum = rest + beta * gamma * (energy[:, None] + gamma / (gamma + 1) * along)
    daughter = np.concatenate([momentum, boosted_energy], axis=1)
    return [daughter, parent - daughter]


@pytest.fixture(scope="session")
def exact_tth() -> Callable[..., ExactEvents]:
    """A function of (n, seed): events with m_t = 172.5, m_W = 80.4, m_H = 125 GeV and n_extra jets."""

    def make(n: int, *, seed: int, n_extra: int = 1) -> ExactEvents:
        random = np.random.default_rng(seed)

        def moving(mass: float) -> Array:
            momentum = random.normal(0.0, 90.0, (n, 3))
            energy = np.sqrt((momentum**2).sum(axis=1) + mass**2)
            return np.column_stack([momentum, energy])

        w_lep, b_lep = two_body(moving(172.5), (80.4, 4.7), random)
        w_had, b_had = two_body(moving(172.5), (80.4, 4.7), random)
        lepton, neutrino = two_body(w_lep, (0.1, 0.0), random)
        q1, q2 = two_body(w_had, (0.0, 0.0), random)
        b1, b2 = two_body(moving(125.0), (4.7, 4.7), random)
        extra = random.normal(0.0, 40.0, (n, n_extra, 3))
        extra = np.concatenate([extra, np.linalg.norm(extra, axis=2)[..., None]], axis=2)
        jets = np.concatenate([np.stack([b_lep, q1, q2, b_had, b1, b2], axis=1), extra], axis=1)
        tags = np.array([4, 0, 0, 4, 4, 4] + [0] * n_extra)
        quark = np.array([*range(6)] + [-1] * n_extra)
        order = np.argsort(-pt(jets), axis=1)
        assert np.abs(eta(jets)).max() < 20.0
        return ExactEvents(
            jets=np.take_along_axis(jets, order[..., None], axis=1),
            b_tag=tags[order],
            mask=np.ones(order.shape, dtype=bool),
            lepton=lepton,
            neutrino=neutrino,
            quark_of_jet=quark[order],
        )

    return make
