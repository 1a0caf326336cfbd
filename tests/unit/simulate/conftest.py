"""One small sample of each process for all tests of this folder."""

from __future__ import annotations

import awkward as ak
import pytest

N_JETS = 200


@pytest.fixture(autouse=True)
def simulation_is_installed(request: pytest.FixtureRequest) -> None:
    """Without the extra, tests marked `simulation` are skipped and the others still run."""
    if request.node.get_closest_marker("simulation"):
        pytest.importorskip("pythia8mc")
        pytest.importorskip("fastjet")


@pytest.fixture(scope="session")
def w_jets() -> ak.Array:
    """W jets with the default options: particle level, underlying event on."""
    from hepdl.simulate.pythia_jets import generate

    return generate(N_JETS, seed=7, process="w_jet")


@pytest.fixture(scope="session")
def qcd_jets() -> ak.Array:
    """QCD jets with the default options."""
    from hepdl.simulate.pythia_jets import generate

    return generate(N_JETS, seed=7, process="qcd")
