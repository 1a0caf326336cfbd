from __future__ import annotations

import subprocess
import sys

import pytest

from hepdl.errors import MissingExtraError
from hepdl.simulate import pythia_jets
from hepdl.simulate.showering.engines import load_fastjet, load_pythia

INSTALL = r'pip install "hepdl\[simulate\]"\n.*pip install -e "\.\[simulate\]"'


@pytest.mark.parametrize(
    ("package", "load"), [("pythia8mc", load_pythia), ("fastjet", load_fastjet)]
)
def test_an_absent_engine_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, package: str, load: object
) -> None:
    # None in sys.modules makes the import fail as if nothing was installed.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{package} is not installed.*\n.*{INSTALL}"):
        load()


@pytest.mark.parametrize("n_processes", [1, 2])
def test_absence_is_noticed_before_workers_start(
    monkeypatch: pytest.MonkeyPatch, n_processes: int
) -> None:
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(MissingExtraError, match=INSTALL):
        pythia_jets.generate(3000, seed=1, n_processes=n_processes)


def test_the_generator_can_be_asked_for_chunks_without_the_extra() -> None:
    """Importing the module and planning need neither engine, nor torch or numba."""
    code = (
        "import sys; from hepdl.simulate.pythia_jets import chunks; chunks(10, seed=1);"
        "print([m for m in ('pythia8mc', 'fastjet', 'torch', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.simulation
def test_neither_engine_prints_and_workers_stay_light() -> None:
    """FastJet's banner and Pythia's would break what reads the output of a command."""
    code = (
        "import sys; from hepdl.simulate.pythia_jets import generate;"
        "generate(2, seed=1, multi_parton_interactions=False);"
        "generate(2, seed=1, level='towers', multi_parton_interactions=False);"
        "assert not {'torch', 'numba'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == done.stderr == ""
