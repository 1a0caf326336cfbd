"""The only door to Pythia 8 and FastJet, the packages of the extra ``simulate`` (both GPL)."""

from __future__ import annotations

from types import ModuleType

from hepdl.errors import MissingExtraError

__all__ = ["load_fastjet", "load_pythia"]

_INSTALL = (
    "{package} is not installed; it comes with the extra `simulate`:\n"
    '    pip install "hepdl[simulate]"\n'
    'or, in a checkout:  pip install -e ".[simulate]"'
)


def load_pythia() -> ModuleType:
    """Return the module ``pythia8mc``.

    Raises:
        MissingExtraError: It is not installed; the message is the install command.
    """
    try:
        import pythia8mc
    except ImportError as error:
        message = _INSTALL.format(package="pythia8mc")
        raise MissingExtraError(message) from error
    return pythia8mc  # type: ignore[no-any-return]


def load_fastjet() -> ModuleType:
    """Return the module ``fastjet``, its banner switched off.

    FastJet prints the banner on standard output at the first clustering, where it would break
    everything that reads the output of a command.

    Raises:
        MissingExtraError: It is not installed; the message is the install command.
    """
    try:
        import fastjet
    except ImportError as error:
        message = _INSTALL.format(package="fastjet")
        raise MissingExtraError(message) from error
    # The awkward ClusterSequence hides this static method; a wrapped C++ subclass still has it.
    fastjet.ClusterSequenceArea.set_fastjet_banner_stream(None)
    return fastjet  # type: ignore[no-any-return]
