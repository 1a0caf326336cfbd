"""What the detector measures of an event, before any selection and any variation.

Everything random is drawn here, once an event, so that all variations of an event share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hepdl.simulate.detector.missing_momentum import smear_soft_term
from hepdl.simulate.detector.smearing import smear_jets, smear_leptons

__all__ = ["MAX_JETS", "Measured", "TrueEvents", "measure"]

# Hardest true jets of an event that are kept. The most in 20 000 tt and 8000 ttH events is 14, and
# 13 in 1000 tt events with multi-parton interactions.
MAX_JETS = 24

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrueEvents:
    """What a perfect detector would see, and truth. Events without a lepton may have no jets.

    Attributes:
        lepton: pT [GeV], eta and phi [rad] of the lepton; zero where none was found.
        identity: Its particle number, 0 where none was found.
        jets: px, py, pz and energy of the jets [GeV] by falling pT; zero for padding.
        flavour: Their flavour: 5, 4 or 0.
        soft: px and py of what is visible and in neither [GeV].
        partons: eta and phi [rad] of the quarks, in the order of ``PARTONS``; NaN if not there.

    Shapes:
        lepton ``(n_events, 3)``, identity ``(n_events,)``, jets ``(n_events, MAX_JETS, 4)``,
        flavour ``(n_events, MAX_JETS)``, soft ``(n_events, 2)``, partons ``(n_events, 6, 2)``.
    """

    lepton: Floats
    identity: Ints
    jets: Floats
    flavour: npt.NDArray[np.int8]
    soft: Floats
    partons: Floats


@dataclass(frozen=True)
class Measured:
    """The same events with resolution, and a number for the b-tag of each jet.

    Attributes:
        truth: The events.
        lepton_pt: Measured pT of the lepton [GeV].
        jets: Measured px, py, pz and energy [GeV].
        soft: Measured soft term [GeV].
        tag: In [0, 1); small for a tight tag.

    Shapes:
        lepton_pt ``(n_events,)``, jets ``(n_events, MAX_JETS, 4)``, soft ``(n_events, 2)``, tag
        ``(n_events, MAX_JETS)``.
    """

    truth: TrueEvents
    lepton_pt: Floats
    jets: Floats
    soft: Floats
    tag: Floats


def measure(truth: TrueEvents, random: np.random.Generator) -> Measured:
    """Return what the detector measures.

    The numbers drawn depend on the count of events alone, not on what is in them.
    """
    pt = np.hypot(truth.jets[..., 0], truth.jets[..., 1])
    return Measured(
        truth=truth,
        lepton_pt=truth.lepton[:, 0] * smear_leptons(truth.lepton[:, 0], random),
        jets=truth.jets * smear_jets(pt, random)[..., None],
        soft=smear_soft_term(truth.soft, random),
        tag=random.random(pt.shape),
    )
