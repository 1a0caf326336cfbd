"""One small sample of each process for all tests of this folder."""

from __future__ import annotations

import awkward as ak
import pytest

N_JETS = 200
N_EVENTS = 120


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


@pytest.fixture(scope="session")
def tth_events() -> dict[str, ak.Array]:
    """Nominal ttH events by truth tagging, and both variations of the jet energy scale."""
    from hepdl.simulate.pythia_tth import generate_variations

    return generate_variations(N_EVENTS, seed=7, process="tth")


@pytest.fixture(scope="session")
def tt_events() -> dict[str, ak.Array]:
    """Nominal tt events by truth tagging."""
    from hepdl.simulate.pythia_tth import generate_variations

    return generate_variations(30, seed=7, variations=(), process="tt")
