"""How the weights of a dense layer are drawn before the first step, by name.

With ``n_in`` inputs of second moment 1, a weight variance of ``gain^2 / n_in`` gives sums of second
moment ``gain^2``; what the activation takes away of it, the gain must give back, or ten layers
later nothing is left. Rectifiers halve it (gain sqrt 2, He); tanh has its gain of 5/3 by convention.

Reference:
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010 (Xavier); K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into
    rectifiers", ICCV 2015, arXiv:1502.01852; A. M. Saxe, J. L. McClelland, S. Ganguli, "Exact
    solutions to the nonlinear dynamics of learning in deep linear neural networks", ICLR 2014,
    arXiv:1312.6120 (orthogonal).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hepdl.errors import ConfigError, unknown_name

__all__ = ["INITIALISATIONS", "SMALL_STD", "SWIGLU_GAIN", "check_initialisation", "initialise_"]

INITIALISATIONS = ("auto", "he", "xavier", "orthogonal", "small_gaussian", "zero")

# Of ``small_gaussian``: the textbook's choice, too small for a deep network without normalisation.
SMALL_STD = 0.01
# Solves g^2 E[silu(g z)^2] = 1 for a standard normal z: the product silu(a) b then has the second
# moment of the inputs. tests/unit/layers/test_initialisation.py solves it.
SWIGLU_GAIN = 1.268_816


def check_initialisation(name: str) -> None:
    """Check that there is an initialisation of this name.

    Raises:
        ConfigError: There is none.
    """
    if name not in INITIALISATIONS:
        message = unknown_name("initialisation", name, INITIALISATIONS, where="initialisation")
        raise ConfigError(message)


def initialise_(
    weight: Tensor,
    name: str = "auto",
    *,
    activation: str = "relu",
    generator: torch.Generator | None = None,
) -> None:
    """Fill the weights of a dense layer, in place.

    Args:
        weight: The matrix.
        name: ``"auto"`` goes by the activation: He for rectifiers and their like, Xavier with gain
            5/3 for tanh and with gain 1 for no activation, a variance of ``SWIGLU_GAIN^2 / n_in``
            for swiglu. ``"he"``: normal, variance 2 / n_in. ``"xavier"``: normal, variance
            2 / (n_in + n_out). ``"orthogonal"``: singular values of 1. ``"small_gaussian"``: normal
            with standard deviation 0.01. ``"zero"``: zeros.
        activation: What follows the layer. The matrix of ``"swiglu"`` counts as two.
        generator: Where the numbers come from; None is torch's global one.

    Shapes:
        weight ``(n_out, n_in)``.
    """
    check_initialisation(name)
    # In-place functions of nn.init work on views, too.
    parts = weight.chunk(2) if activation == "swiglu" else (weight,)
    for part in parts:
        _fill(part, name, activation, generator)


def _fill(weight: Tensor, name: str, activation: str, generator: torch.Generator | None) -> None:
    if name == "auto" and activation in ("tanh", "linear"):
        gain = nn.init.calculate_gain("tanh") if activation == "tanh" else 1.0
        nn.init.xavier_normal_(weight, gain=gain, generator=generator)
    elif name == "auto" and activation == "swiglu":
        std = SWIGLU_GAIN / math.sqrt(weight.shape[1])
        nn.init.normal_(weight, std=std, generator=generator)
    elif name in ("auto", "he"):
        nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    elif name == "xavier":
        nn.init.xavier_normal_(weight, generator=generator)
    elif name == "orthogonal":
        nn.init.orthogonal_(weight, generator=generator)
    elif name == "small_gaussian":
        nn.init.normal_(weight, std=SMALL_STD, generator=generator)
    else:
        nn.init.zeros_(weight)
